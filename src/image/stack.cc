#include "image/stack.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>

#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"

namespace gridiron::image {

namespace fs = std::filesystem;

namespace {

constexpr int kMostLinks = 40;

std::vector<std::string> partsOf(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const auto slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return parts;
}

bool isWhiteout(const struct stat& status) { return S_ISCHR(status.st_mode) && status.st_rdev == 0; }

bool isOpaque(const std::string& directory) {
  char value = 0;
  for (const char* name : {"user.overlay.opaque", "trusted.overlay.opaque"}) {
    if (::lgetxattr(directory.c_str(), name, &value, 1) == 1 && value == 'y') return true;
  }
  return false;
}

std::string linkTarget(const std::string& host) {
  std::error_code failed;
  return fs::read_symlink(host, failed).string();
}

// What one layer says about a path.
struct Look {
  std::optional<struct stat> found;
  bool hidesBelow = false;
};

Look lookIn(const std::string& layer, const std::vector<std::string>& parts) {
  Look look;
  std::string host = layer;
  struct stat status {};
  if (::lstat(host.c_str(), &status) != 0) return look;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    host += "/" + parts[i];
    if (::lstat(host.c_str(), &status) != 0) return look;
    const bool last = i + 1 == parts.size();
    if (isWhiteout(status) || (!last && !S_ISDIR(status.st_mode))) {
      look.hidesBelow = true;
      return look;
    }
    if (!S_ISDIR(status.st_mode) || isOpaque(host)) look.hidesBelow = true;
  }
  look.found = status;
  return look;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string path;
  for (const std::string& part : parts) path += "/" + part;
  return path.empty() ? "/" : path;
}

}  // namespace

std::optional<Stack::Entry> Stack::locate(const std::string& path) const {
  const std::vector<std::string> parts = partsOf(path);
  for (const std::string& layer : layers_) {
    const Look look = lookIn(layer, parts);
    if (look.found) return Entry{joined(parts), parts.empty() ? layer : layer + joined(parts), *look.found};
    if (look.hidesBelow) return std::nullopt;
  }
  return std::nullopt;
}

std::string Stack::resolve(std::string_view path, Last last) const {
  std::vector<std::string> todo = partsOf(path);
  std::reverse(todo.begin(), todo.end());
  std::vector<std::string> done;
  for (int links = 0; !todo.empty();) {
    const std::string part = todo.back();
    todo.pop_back();
    if (part == "..") {
      if (!done.empty()) done.pop_back();
      continue;
    }
    done.push_back(part);
    const auto entry = locate(joined(done));
    if (!entry || !S_ISLNK(entry->status.st_mode) || (todo.empty() && last == Last::keep)) continue;
    if (++links > kMostLinks) break;
    const std::string target = linkTarget(entry->host);
    done.pop_back();
    if (target.starts_with('/')) done.clear();
    std::vector<std::string> more = partsOf(target);
    todo.insert(todo.end(), more.rbegin(), more.rend());
  }
  return joined(done);
}

std::optional<Stack::Entry> Stack::find(std::string_view path, Last last) const { return locate(resolve(path, last)); }

bool Stack::isDirectory(std::string_view path) const {
  const auto entry = find(path);
  return entry && entry->isDirectory();
}

std::vector<std::string> Stack::list(std::string_view directory) const {
  const auto entry = find(directory);
  if (!entry || !entry->isDirectory()) return {};
  const std::vector<std::string> parts = partsOf(entry->path);
  std::map<std::string, bool> names;  // → is there
  for (const std::string& layer : layers_) {
    const Look look = lookIn(layer, parts);
    if (look.found) {
      std::error_code failed;
      for (const auto& item : fs::directory_iterator(layer + joined(parts), failed)) {
        struct stat status {};
        if (::lstat(item.path().c_str(), &status) != 0) continue;
        names.emplace(item.path().filename().string(), !isWhiteout(status));
      }
    }
    if (look.hidesBelow) break;
  }
  std::vector<std::string> out;
  for (const auto& [name, there] : names) {
    if (there) out.push_back(name);
  }
  return out;
}

std::vector<std::string> Stack::glob(std::string_view pattern) const {
  std::vector<std::string> paths{"/"};
  for (const std::string& part : partsOf(pattern)) {
    std::vector<std::string> next;
    for (const std::string& path : paths) {
      const std::string prefix = path == "/" ? "" : path;
      if (part == ".." || part.find_first_of("*?[") == std::string::npos) {
        if (find(prefix + "/" + part, Last::keep)) next.push_back(prefix + "/" + part);
        continue;
      }
      for (const std::string& name : list(path)) {
        if (::fnmatch(part.c_str(), name.c_str(), 0) == 0) next.push_back(prefix + "/" + name);
      }
    }
    paths = std::move(next);
  }
  return paths;
}

Result<std::string> Stack::read(std::string_view path) const {
  const auto entry = find(path);
  if (!entry || !S_ISREG(entry->status.st_mode)) return makeError(Code::notFound, "no file {} in the image", path);
  return readFile(entry->host);
}

LayerWriter::LayerWriter(std::string layer, std::vector<std::string> below)
    : layer_(std::move(layer)), view_([&] {
        below.insert(below.begin(), layer_);
        return Stack(std::move(below));
      }()) {}

Result<void> LayerWriter::makeDirectory(const std::string& path, std::optional<mode_t> mode, Owner owner) {
  std::string inside;
  for (const std::string& part : partsOf(view_.resolve(path, Stack::Last::follow))) {
    inside += "/" + part;
    const std::string host = layer_ + inside;
    const auto there = view_.find(inside, Stack::Last::keep);
    if (there && !there->isDirectory()) {
      return makeError(Code::failedPrecondition, "{} is no directory in the image", inside);
    }
    if (there && there->host == host) continue;
    if (::mkdir(host.c_str(), 0755) != 0) return errnoError("mkdir " + inside);
    const mode_t wanted = there ? there->status.st_mode & 07777 : mode.value_or(0755);
    const Owner who = there ? Owner{there->status.st_uid, there->status.st_gid} : owner;
    if ((who.user != 0 || who.group != 0) && ::lchown(host.c_str(), who.user, who.group) != 0) {
      return errnoError("chown " + inside);
    }
    if (::chmod(host.c_str(), wanted) != 0) return errnoError("chmod " + inside);
  }
  return {};
}

Result<void> LayerWriter::copyFile(const Stack::Entry& source, const std::string& target, Owner owner,
                                   std::optional<mode_t> mode) {
  const std::string host = layer_ + target;
  if (const auto there = view_.find(target, Stack::Last::keep); there && there->isDirectory()) {
    return makeError(Code::failedPrecondition, "cannot copy the file {} over the directory {}", source.path, target);
  }
  ::unlink(host.c_str());
  std::error_code failed;
  if (S_ISLNK(source.status.st_mode)) {
    fs::create_symlink(linkTarget(source.host), host, failed);
  } else if (S_ISREG(source.status.st_mode)) {
    fs::copy_file(source.host, host, failed);
  } else {
    return makeError(Code::invalidArgument, "{} is neither a file, a link nor a directory", source.path);
  }
  if (failed) return errnoError("copy " + source.path + " to " + target, failed.value());
  if ((owner.user != 0 || owner.group != 0) && ::lchown(host.c_str(), owner.user, owner.group) != 0) {
    return errnoError("chown " + target);
  }
  const mode_t wanted = mode.value_or(source.status.st_mode & 07777);
  if (S_ISREG(source.status.st_mode) && ::chmod(host.c_str(), wanted) != 0) return errnoError("chmod " + target);
  const timespec times[2] = {source.status.st_atim, source.status.st_mtim};
  (void)::utimensat(AT_FDCWD, host.c_str(), times, AT_SYMLINK_NOFOLLOW);
  return {};
}

Result<void> LayerWriter::copy(const Stack& from, const std::string& source, const std::string& target, Owner owner,
                               std::optional<mode_t> mode) {
  const auto entry = from.find(source, Stack::Last::keep);
  if (!entry) return makeError(Code::notFound, "{} is not there", source);
  if (!entry->isDirectory()) {
    const std::string parent = fs::path(target).parent_path().string();
    RETURN_IF_ERROR(makeDirectory(parent, std::nullopt, owner));
    const std::string folder = view_.resolve(parent, Stack::Last::follow);
    return copyFile(*entry, (folder == "/" ? "" : folder) + "/" + fs::path(target).filename().string(), owner, mode);
  }
  RETURN_IF_ERROR(makeDirectory(target, mode.value_or(entry->status.st_mode & 07777), owner));
  for (const std::string& name : from.list(source)) {
    RETURN_IF_ERROR(copy(from, (entry->path == "/" ? "" : entry->path) + "/" + name,
                         (target == "/" ? "" : target) + "/" + name, owner, mode));
  }
  return {};
}

Result<std::string> hashTree(const Stack& stack, const std::string& path) {
  const auto entry = stack.find(path, Stack::Last::keep);
  if (!entry) return makeError(Code::notFound, "{} is not there", path);
  Hasher hasher;
  const mode_t mode = entry->status.st_mode;
  hasher.update(fmt::format("{:o} ", mode & (S_IFMT | 07777)));
  if (S_ISREG(mode)) {
    const Fd file(::open(entry->host.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return errnoError("open " + path);
    std::string piece(256 * 1024, '\0');
    for (;;) {
      const ssize_t got = ::read(file.get(), piece.data(), piece.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errnoError("read " + path);
      if (got == 0) break;
      hasher.update(std::string_view(piece).substr(0, static_cast<std::size_t>(got)));
    }
  } else if (S_ISLNK(mode)) {
    hasher.update(linkTarget(entry->host));
  } else if (S_ISDIR(mode)) {
    for (const std::string& name : stack.list(path)) {
      ASSIGN_OR_RETURN(const std::string part, hashTree(stack, (entry->path == "/" ? "" : entry->path) + "/" + name));
      hasher.update(name + '\0' + part + '\n');
    }
  }
  return hexEncode(hasher.finish());
}

Result<FileLock> FileLock::take(const std::string& path) {
  RETURN_IF_ERROR(makeDirectories(fs::path(path).parent_path().string()));
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return errnoError("open " + path);
  FileLock lock(fd);
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) return errnoError("lock " + path);
  }
  return lock;
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<WorkDirectory> WorkDirectory::make(const std::string& parent) {
  const std::string path = parent + "/.work-" + randomAlnum(12);
  RETURN_IF_ERROR(makeDirectories(path));
  return WorkDirectory(path);
}

WorkDirectory::~WorkDirectory() {
  if (!path_.empty()) removeTree(path_);
}

Result<void> renamePath(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return errnoError("rename " + from + " to " + to);
  return {};
}

void removeTree(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace gridiron::image
