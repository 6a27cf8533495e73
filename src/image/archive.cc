#include "image/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>

#include "base/fd.h"
#include "image/stack.h"

namespace gridiron::image {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kBlock = 256 * 1024;
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";

struct CloseReader {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
struct CloseWriter {
  void operator()(archive* writer) const { archive_write_free(writer); }
};
using Reader = std::unique_ptr<archive, CloseReader>;
using Writer = std::unique_ptr<archive, CloseWriter>;

Error archiveError(archive* which, const std::string& attempt) {
  const char* text = archive_error_string(which);
  return makeError(Code::dataLoss, "{}: {}", attempt, text == nullptr ? "unknown error" : text);
}

Result<Reader> openArchive(const std::string& path) {
  Reader reader(archive_read_new());
  archive_read_support_filter_all(reader.get());
  archive_read_support_format_tar(reader.get());
  archive_read_support_format_gnutar(reader.get());
  if (archive_read_open_filename(reader.get(), path.c_str(), kBlock) != ARCHIVE_OK) {
    return archiveError(reader.get(), "open archive " + path);
  }
  return reader;
}

// The entry's name below the directory; "" for one that would leave it.
std::string insideName(const char* name) {
  if (name == nullptr) return "";
  const fs::path normal = (fs::path("/") / fs::path(name).relative_path()).lexically_normal();
  std::string inside = normal.relative_path().string();
  while (inside.ends_with('/')) inside.pop_back();
  return inside;
}

Result<void> whiteOut(const std::string& directory, const std::string& inside, const std::string& name) {
  const std::string parent = fs::path(directory + "/" + inside).parent_path().string();
  RETURN_IF_ERROR(makeDirectories(parent));
  if (name == kOpaque) {
    if (::lsetxattr(parent.c_str(), "user.overlay.opaque", "y", 1, 0) != 0) return errnoError("mark opaque " + parent);
    return {};
  }
  const std::string gone = parent + "/" + name.substr(kWhiteout.size());
  removeTree(gone);
  if (::mknod(gone.c_str(), S_IFCHR | 0600, makedev(0, 0)) != 0) return errnoError("mknod " + gone);
  return {};
}

Result<void> copyData(archive* reader, archive* writer, const std::string& what) {
  for (;;) {
    const void* block = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int status = archive_read_data_block(reader, &block, &size, &offset);
    if (status == ARCHIVE_EOF) return {};
    if (status < ARCHIVE_WARN) return archiveError(reader, "read " + what);
    if (archive_write_data_block(writer, block, size, offset) < ARCHIVE_WARN) {
      return archiveError(writer, "write " + what);
    }
  }
}

Result<void> unpackEntry(archive* reader, archive* writer, archive_entry* entry, const std::string& directory,
                         Whiteouts whiteouts) {
  const std::string inside = insideName(archive_entry_pathname(entry));
  const std::string name = fs::path(inside).filename().string();
  if (whiteouts == Whiteouts::overlaid && name.starts_with(kWhiteout)) return whiteOut(directory, inside, name);
  if (inside.empty()) return {};
  // Followed inside the directory only; what is there already (of an earlier entry) gives way.
  const Stack view({directory});
  const std::string parent = view.resolve(fs::path("/" + inside).parent_path().string(), Stack::Last::follow);
  RETURN_IF_ERROR(makeDirectories(directory + parent));
  const std::string target = directory + (parent == "/" ? "" : parent) + "/" + name;
  archive_entry_set_pathname(entry, target.c_str());
  if (const char* link = archive_entry_hardlink(entry); link != nullptr) {
    const std::string to = directory + view.resolve("/" + insideName(link), Stack::Last::keep);
    archive_entry_set_hardlink(entry, to.c_str());
  }
  if (archive_write_header(writer, entry) < ARCHIVE_WARN) return archiveError(writer, "make " + inside);
  if (archive_entry_size(entry) > 0) RETURN_IF_ERROR(copyData(reader, writer, inside));
  if (archive_write_finish_entry(writer) < ARCHIVE_WARN) return archiveError(writer, "finish " + inside);
  return {};
}

}  // namespace

bool isArchive(const std::string& path) {
  auto reader = openArchive(path);
  if (!reader.ok()) return false;
  archive_entry* entry = nullptr;
  return archive_read_next_header(reader->get(), &entry) == ARCHIVE_OK;
}

Result<void> unpackArchive(const std::string& archivePath, const std::string& directory, Whiteouts whiteouts) {
  ASSIGN_OR_RETURN(const Reader reader, openArchive(archivePath));
  const Writer writer(archive_write_disk_new());
  int flags = ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_UNLINK;
  if (::geteuid() == 0) flags |= ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_XATTR;
  archive_write_disk_set_options(writer.get(), flags);
  for (;;) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) break;
    if (status < ARCHIVE_WARN) return archiveError(reader.get(), "read " + archivePath);
    RETURN_IF_ERROR(unpackEntry(reader.get(), writer.get(), entry, directory, whiteouts));
  }
  // Directories get their times and modes at the end.
  if (archive_write_close(writer.get()) < ARCHIVE_WARN) return archiveError(writer.get(), "finish " + directory);
  return {};
}

Result<std::string> readFromArchive(const std::string& archivePath, const std::string& wanted) {
  ASSIGN_OR_RETURN(const Reader reader, openArchive(archivePath));
  for (;;) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) return makeError(Code::notFound, "{} has no {}", archivePath, wanted);
    if (status < ARCHIVE_WARN) return archiveError(reader.get(), "read " + archivePath);
    if (insideName(archive_entry_pathname(entry)) != insideName(wanted.c_str())) continue;
    std::string text(static_cast<std::size_t>(archive_entry_size(entry)), '\0');
    const auto got = archive_read_data(reader.get(), text.data(), text.size());
    if (got < 0) return archiveError(reader.get(), "read " + wanted);
    text.resize(static_cast<std::size_t>(got));
    return text;
  }
}

}  // namespace gridiron::image
