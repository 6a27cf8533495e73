#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gridiron::image {

// What an overlay mount of layer directories would show, without mounting it: whiteouts (character device 0:0),
// opaque directories (user.overlay.opaque) and symbolic links are honoured. Paths are absolute and of the image; ".."
// never leaves it. Cheap to make; looks at the disk on every call.
class Stack {
 public:
  explicit Stack(std::vector<std::string> layersTopmostFirst) : layers_(std::move(layersTopmostFirst)) {}

  struct Entry {
    std::string path;  // of the image, symbolic links on the way replaced
    std::string host;  // the file on the host
    struct stat status {};
    bool isDirectory() const { return S_ISDIR(status.st_mode); }
  };
  enum class Last { follow, keep };  // a symbolic link as the last part of the path

  std::optional<Entry> find(std::string_view path, Last last = Last::follow) const;
  bool isDirectory(std::string_view path) const;
  // Names in a directory of the image, sorted; empty when it is none.
  std::vector<std::string> list(std::string_view directory) const;
  // The paths that match a pattern of *, ? and [], sorted; a pattern without those matches itself if it is there.
  std::vector<std::string> glob(std::string_view pattern) const;
  // A whole file's bytes, or notFound.
  Result<std::string> read(std::string_view path) const;
  // Where `path` would lie: existing links on the way are followed, what is missing is taken as written.
  std::string resolve(std::string_view path, Last last) const;

  const std::vector<std::string>& layers() const { return layers_; }

 private:
  std::optional<Entry> locate(const std::string& path) const;  // no links on the way
  std::vector<std::string> layers_;
};

// Owner for what is copied; unset = root.
struct Owner {
  uid_t user = 0;
  gid_t group = 0;
};

// Writes what COPY brings into a layer directory, over what is below it: directories that exist below keep their mode
// and owner, links on the way are followed.
class LayerWriter {
 public:
  LayerWriter(std::string layer, std::vector<std::string> below);

  Result<void> makeDirectory(const std::string& path, std::optional<mode_t> mode, Owner owner);
  // Copies the file, link or directory (its contents) at `source` of `from` to exactly `target`.
  Result<void> copy(const Stack& from, const std::string& source, const std::string& target, Owner owner,
                    std::optional<mode_t> mode);
  const Stack& view() const { return view_; }

 private:
  Result<void> copyFile(const Stack::Entry& source, const std::string& target, Owner owner, std::optional<mode_t> mode);
  std::string layer_;
  Stack view_;  // the layer over what is below
};

// A hash of everything under `path`: names, types, modes, link targets and bytes.
Result<std::string> hashTree(const Stack& stack, const std::string& path);

// One holder at a time, over threads and processes. Waits. The file stays.
class FileLock {
 public:
  static Result<FileLock> take(const std::string& path);
  FileLock(FileLock&&) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

// A directory that is removed at the end of its life unless it was moved into place.
class WorkDirectory {
 public:
  // <parent>/.work-<random>; `parent` is made.
  static Result<WorkDirectory> make(const std::string& parent);
  WorkDirectory(WorkDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  WorkDirectory& operator=(WorkDirectory&&) = delete;
  ~WorkDirectory();
  const std::string& path() const { return path_; }

 private:
  explicit WorkDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

Result<void> renamePath(const std::string& from, const std::string& to);
void removeTree(const std::string& path);

}  // namespace gridiron::image
