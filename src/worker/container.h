#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/loop.h"
#include "link.pb.h"
#include "worker/mounts.h"
#include "worker/relay.h"
#include "worker/start_steps.h"

namespace gridiron::worker {

// What all containers of a worker share. Outlives them.
struct ContainerSetting {
  asio::io_context& io;
  asio::thread_pool& pool;  // for what blocks
  StartSetting start;
  MountCache& mounts;
  std::function<void(link::FromWorker)> send;  // to control, in order
  std::function<Task<void>()> flushed;         // what was sent before has been handed to the session, or there is none
  std::function<Task<void>()> room;            // there is room for more output
  net::GrpcChannel& channel;                   // that of the session
  std::string controlUrl;
  std::string caFile;
  net::Headers credentials;
};

// What the agent's decisions do to one container: started, its door relayed, its output sent on, removed. Loop thread
// only.
class Container {
 public:
  Container(const ContainerSetting& setting, std::shared_ptr<const link::StartInstance> order);
  ~Container();

  // The steps it took. On an Error, and after kill(), only remove() is left to do.
  Task<Result<std::vector<sandbox::Phase>>> start();
  // After start: how it ended. Its last output has been sent when this returns.
  Task<sandbox::Exit> ended();
  // After its end: what it changed becomes the image that its order names.
  Task<Result<link::ImageFacts>> commit();
  Task<void> remove();  // nothing of it is left when this returns

  void kill();              // at once; a start on its way comes to nothing
  void signal(int number);  // nothing happens before the start and after the end

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
