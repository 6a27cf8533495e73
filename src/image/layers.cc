#include "image/layers.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/fd.h"
#include "image/stack.h"

namespace gridiron::image {

std::string layerKey(std::initializer_list<std::string_view> parts) {
  Hasher hasher;
  for (const std::string_view part : parts) {
    hasher.update(std::to_string(part.size()) + ":");
    hasher.update(part);
  }
  // Short, for the mount options that carry a hundred of them.
  return hexEncode(hasher.finish()).substr(0, 32);
}

namespace {

// `error`, with what to do when it is the disk's: nothing can be written near `path`.
Error explainFullDisk(Error error, const std::string& path) {
  constexpr std::uint64_t kFull = 4u << 20;
  struct statvfs disk {};
  if (::statvfs(path.c_str(), &disk) != 0) return error;
  const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  if (free >= kFull && disk.f_favail > 0) return error;
  error.code = Code::exhausted;
  error.message += fmt::format(
      "\nThe disk that images are kept on is full ({} MiB free in {}): make room there, then do the same again. "
      "What this step had written is removed.",
      free >> 20, path);
  return error;
}

}  // namespace

bool Layers::has(const std::string& key) const { return ::access(path(key).c_str(), F_OK) == 0; }

Result<Layers::Made> Layers::make(const std::string& key, const std::function<Result<void>(const std::string&)>& fill) {
  if (has(key)) return Made{path(key), true};
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(directory_ + "/locks/" + key));
  if (has(key)) return Made{path(key), true};
  ASSIGN_OR_RETURN(const WorkDirectory work, WorkDirectory::make(directory_ + "/layers"));
  const std::string upper = work.path() + "/upper";
  RETURN_IF_ERROR(makeDirectories(upper));
  if (::chmod(upper.c_str(), 0755) != 0) return errnoError("chmod " + upper);
  if (Result<void> filled = fill(upper); !filled.ok()) return explainFullDisk(filled.error(), directory_);
  RETURN_IF_ERROR(renamePath(upper, path(key)));
  return Made{path(key), false};
}

Result<std::string> Layers::adopt(const std::string& key, const std::string& finished) {
  RETURN_IF_ERROR(makeDirectories(directory_ + "/layers"));
  if (has(key)) removeTree(path(key));
  RETURN_IF_ERROR(renamePath(finished, path(key)));
  return path(key);
}

}  // namespace gridiron::image
