#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "base/loop.h"
#include "link.pb.h"
#include "net/grpc.h"

namespace gridiron::worker {

// The session with control: opens it, opens it again with back-off whenever it is lost, carries events up and commands
// down. Events queue while there is no session; lines of output beyond a bound are then dropped, and that is said in
// their place. Loop thread only.
class Uplink {
 public:
  struct Hooks {
    std::function<link::WorkerHello()> hello;  // first message of each session
    std::function<void(link::ToWorker)> command;
  };
  Uplink(asio::io_context& io, net::GrpcChannel& channel, net::Headers credentials, Hooks hooks);
  ~Uplink();

  Task<void> run();  // until leave() or stop()
  // Ends the session in good order: what was given to send() before has been read by control when this returns, or
  // `most` has passed. Nothing is sent afterwards.
  Task<void> leave(Nanos most);
  void stop();  // at once; what is on its way may be lost

  // Sent in the order of the calls.
  void send(link::FromWorker message);
  // Returns when everything given to send() before has been handed to the connection, or there is none.
  Task<void> flushed();
  // Returns when there is room for more output. Who reads output waits here, so that a busy link holds the writer back.
  Task<void> room();
  bool connected() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
