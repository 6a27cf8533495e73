#pragma once

#include <functional>
#include <memory>

#include "base/loop.h"
#include "link.pb.h"
#include "net/grpc.h"
#include "worker/agent_link.h"

namespace gridiron::worker {

// The session with control as bytes on a connection: does what AgentLink decides, and tells it what came of it. Loop
// thread only.
class Uplink final : public Line {
 public:
  struct Hooks {
    std::function<link::WorkerHello()> hello;  // first message of each session
    std::function<void()> connected;
    std::function<void(link::ToWorker)> heard;
    std::function<void()> written;
    std::function<void()> disconnected;
  };
  // No hook is called from within a call of Line's functions, nor after the end of the Uplink.
  Uplink(asio::io_context& io, net::GrpcChannel& channel, net::Headers credentials, Hooks hooks);
  ~Uplink() override;  // at once; what is on its way may be lost

  void dial() override;
  void write(link::FromWorker message) override;
  void writesDone() override;
  void hangUp() override;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
