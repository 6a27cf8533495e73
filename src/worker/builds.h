#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/loop.h"
#include "link.pb.h"
#include "worker/image_shelf.h"
#include "worker/mounts.h"

namespace gridiron::worker {

// Image builds as control orders them: their output and their end go up the link. As many at once as `pool` has
// threads, the others wait. Loop thread only. Everything given outlives it.
class Builds {
 public:
  using Send = std::function<void(link::FromWorker)>;  // to control, in order
  Builds(asio::io_context& io, asio::thread_pool& pool, ImageShelf& images, MountCache& mounts, Send send);
  ~Builds();  // cancels what runs

  // Cancels what runs and refuses what comes.
  void stop();

  // A build of an image that is being built already changes nothing; of a finished one says so at once.
  void begin(link::BuildImage order);
  void cancel(const std::string& imageId);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
