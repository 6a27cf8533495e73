#pragma once

#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "blob/blob.h"
#include "model/ids.h"
#include "store/store.h"

namespace gridiron {

struct MountFile {
  std::string path;  // absolute, without ".."
  Sha256 content;
  std::uint32_t mode = 0644;
  std::uint64_t size = 0;
  bool operator==(const MountFile&) const = default;
};

// Files to be laid over a container's. A mount that the worker itself has (the client package, a standalone Python) has
// a global name and no files.
struct Mount {
  MountId id;
  std::string globalName;  // "modal-client-mount-1.6.4"
  std::vector<MountFile> files;
};

// File lists by content: equal lists are one mount. Loop thread only.
class Mounts {
 public:
  Mounts(Store& store, blob::Blobs& blobs, const Clock& clock, std::string workspace);

  // invalidArgument for paths that are not absolute or leave the root; failedPrecondition when a file's content is not
  // here yet. Sizes are taken from the content.
  Result<Mount> put(std::vector<MountFile> files);
  // Of the names that workers know, else notFound.
  Result<Mount> global(const std::string& name);
  Result<std::shared_ptr<const Mount>> get(const MountId& id);

 private:
  Result<void> keep(const Mount& mount);
  Store& store_;
  blob::Blobs& blobs_;
  const Clock& clock_;
  const std::string workspace_;
  std::unordered_map<MountId, std::shared_ptr<const Mount>> cache_;
};

// One for all the bytes of a mount, as clients show it.
Sha256 checksumOf(const Mount& mount);

}  // namespace gridiron
