#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/loop.h"
#include "link.pb.h"

namespace gridiron::worker {

// Mounts as directories: the files of a mount laid out at their absolute paths, ready to be a lower layer of an overlay
// (so /root/app.py does not hide the rest of /root) or a build's context. Files and layouts are kept by content under
// one directory; equal mounts share one layout. Loop thread only; the disk work is done on `pool`.
class MountCache {
 public:
  // Brings the bytes of content `sha256Hex` into the file `path`.
  using Fetch = std::function<Task<Result<void>>(std::string sha256Hex, std::string path)>;

  MountCache(asio::io_context& io, asio::thread_pool& pool, std::string directory, Fetch fetch);

  // The directory of `mount`. Its files are fetched when they are not here yet, a few at a time, and checked against
  // their hashes. Asking for the same again costs nothing. Errors name the file.
  Task<Result<std::string>> layout(link::Mount mount);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
