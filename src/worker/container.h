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
#include "worker/uplink.h"

namespace gridiron::worker {

// What all containers of a worker share. Outlives them.
struct ContainerSetting {
  asio::io_context& io;
  asio::thread_pool& pool;  // for what blocks
  StartSetting start;
  MountCache& mounts;
  Uplink& uplink;
  net::GrpcChannel& channel;  // that of the session
  std::string controlUrl;
  std::string caFile;
  net::Headers credentials;
};

// One container from the order to its removal: started, its door relayed, its output sent on, its end reported. Loop
// thread only.
class Container {
 public:
  Container(const ContainerSetting& setting, link::StartInstance order);
  ~Container();

  // Its whole life; returns when nothing of it is left.
  Task<void> run();
  // SIGTERM now and SIGKILL after `grace` (at once when that is zero). Before it runs: it never will. Repeatable.
  void stop(Nanos grace);
  void signal(int number);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
