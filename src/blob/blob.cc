#include "blob/blob.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>

#include "base/id.h"

namespace gridiron::blob {

namespace fs = std::filesystem;

namespace {

constexpr auto kAbandonedAfter = std::chrono::hours(24);

Error absent(const Sha256& hash) { return makeError(Code::notFound, "no bytes {} here", hash.hex()); }

void removeAbandoned(const std::string& incoming) {
  std::error_code ignored;
  const auto now = fs::file_time_type::clock::now();
  for (const auto& entry : fs::directory_iterator(incoming, ignored)) {
    const auto written = fs::last_write_time(entry.path(), ignored);
    if (!ignored && now - written > kAbandonedAfter) fs::remove(entry.path(), ignored);
  }
}

}  // namespace

struct Writer::State {
  std::string directory, path;
  Fd file;
  Hasher sha{Hasher::Kind::sha256};
  Hasher md5Hasher{Hasher::Kind::md5};
  std::uint64_t size = 0;
  std::string md5;

  ~State() {
    if (!path.empty()) ::unlink(path.c_str());
  }
};

Writer::Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Writer::~Writer() = default;
Writer::Writer(Writer&&) noexcept = default;
Writer& Writer::operator=(Writer&&) noexcept = default;

std::uint64_t Writer::size() const { return state_->size; }
const std::string& Writer::md5() const { return state_->md5; }

Result<void> Writer::write(std::string_view piece) {
  GRID_CHECK(state_->file.valid());
  state_->sha.update(piece);
  state_->md5Hasher.update(piece);
  state_->size += piece.size();
  while (!piece.empty()) {
    const ssize_t wrote = ::write(state_->file.get(), piece.data(), piece.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errnoError("write " + state_->path);
    piece.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

Result<Sha256> Writer::finish(const std::optional<Sha256>& expected) {
  GRID_CHECK(state_->file.valid());
  Sha256 hash;
  const std::string raw = state_->sha.finish();
  std::copy(raw.begin(), raw.end(), hash.bytes.begin());
  state_->md5 = state_->md5Hasher.finish();
  if (expected && *expected != hash) {
    return makeError(Code::dataLoss, "bytes announced as {} are {}", expected->hex(), hash.hex());
  }
  const std::string folder = state_->directory + "/" + hash.hex().substr(0, 2);
  const std::string target = folder + "/" + hash.hex();
  if (::fchmod(state_->file.get(), 0644) != 0) return errnoError("chmod " + state_->path);
  if (::fdatasync(state_->file.get()) != 0) return errnoError("fdatasync " + state_->path);
  state_->file.reset();
  RETURN_IF_ERROR(makeDirectories(folder));
  if (::rename(state_->path.c_str(), target.c_str()) != 0) return errnoError("rename to " + target);
  state_->path.clear();
  return hash;
}

Result<Blobs> Blobs::open(std::string directory) {
  RETURN_IF_ERROR(makeDirectories(directory + "/incoming", 0700));
  removeAbandoned(directory + "/incoming");
  return Blobs(std::move(directory));
}

Result<Writer> Blobs::writer() {
  auto state = std::make_unique<Writer::State>();
  state->directory = directory_;
  const std::string path = directory_ + "/incoming/" + randomAlnum(22);
  state->file = Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!state->file.valid()) return errnoError("create " + path);
  state->path = path;
  return Writer(std::move(state));
}

Result<Sha256> Blobs::put(std::string_view bytes) {
  const Sha256 hash = sha256(bytes);
  if (has(hash)) return hash;
  ASSIGN_OR_RETURN(Writer writer, this->writer());
  RETURN_IF_ERROR(writer.write(bytes));
  return writer.finish();
}

std::string Blobs::path(const Sha256& hash) const {
  const std::string hex = hash.hex();
  return directory_ + "/" + hex.substr(0, 2) + "/" + hex;
}

bool Blobs::has(const Sha256& hash) const { return ::access(path(hash).c_str(), F_OK) == 0; }

std::optional<std::uint64_t> Blobs::size(const Sha256& hash) const {
  struct stat found {};
  if (::stat(path(hash).c_str(), &found) != 0) return std::nullopt;
  return static_cast<std::uint64_t>(found.st_size);
}

Result<Fd> Blobs::open(const Sha256& hash) const {
  const std::string file = path(hash);
  Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.valid()) return fd;
  if (errno == ENOENT) return absent(hash);
  return errnoError("open " + file);
}

Result<std::string> Blobs::read(const Sha256& hash) const {
  const auto length = size(hash);
  if (!length) return absent(hash);
  return readRange(hash, 0, *length);
}

Result<std::string> Blobs::readRange(const Sha256& hash, std::uint64_t offset, std::uint64_t length) const {
  ASSIGN_OR_RETURN(const Fd file, open(hash));
  struct stat found {};
  if (::fstat(file.get(), &found) != 0) return errnoError("stat " + path(hash));
  const auto total = static_cast<std::uint64_t>(found.st_size);
  if (offset >= total) return std::string();
  std::string bytes(std::min(length, total - offset), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got =
        ::pread(file.get(), bytes.data() + have, bytes.size() - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errnoError("read " + path(hash));
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

Result<void> Blobs::remove(const Sha256& hash) {
  const std::string file = path(hash);
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) return errnoError("unlink " + file);
  return {};
}

Result<void> Blobs::visit(const std::function<void(const Sha256&, std::uint64_t)>& each) const {
  std::error_code failed;
  for (const auto& folder : fs::directory_iterator(directory_, failed)) {
    if (folder.path().filename().string().size() != 2) continue;
    std::error_code unreadable;
    for (const auto& file : fs::directory_iterator(folder.path(), unreadable)) {
      const auto hash = Sha256::fromHex(file.path().filename().string());
      const auto bytes = file.file_size(unreadable);
      if (hash && !unreadable) each(*hash, bytes);
    }
  }
  if (failed) return errnoError("read " + directory_, failed.value());
  return {};
}

}  // namespace gridiron::blob
