#include "image/layers.h"

#include <sys/stat.h>
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

bool Layers::has(const std::string& key) const { return ::access(path(key).c_str(), F_OK) == 0; }

Result<Layers::Made> Layers::make(const std::string& key, const std::function<Result<void>(const std::string&)>& fill) {
  if (has(key)) return Made{path(key), true};
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(directory_ + "/locks/" + key));
  if (has(key)) return Made{path(key), true};
  ASSIGN_OR_RETURN(const WorkDirectory work, WorkDirectory::make(directory_ + "/layers"));
  const std::string upper = work.path() + "/upper";
  RETURN_IF_ERROR(makeDirectories(upper));
  if (::chmod(upper.c_str(), 0755) != 0) return errnoError("chmod " + upper);
  RETURN_IF_ERROR(fill(upper));
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
