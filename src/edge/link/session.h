#pragma once

#include <chrono>
#include <deque>
#include <memory>

#include "base/loop.h"
#include "fleet/fleet.h"
#include "link.pb.h"
#include "net/grpc.h"

namespace gridiron::edge {

// One worker's session: the commands that go down it. Loop thread only.
class LinkSession final : public WorkerPort, public std::enable_shared_from_this<LinkSession> {
 public:
  LinkSession(asio::io_context& io, std::shared_ptr<net::GrpcServerCall> call, std::shared_ptr<net::Exchange> exchange,
              Nanos silence);

  // Begins to write what is sent and to listen for silence.
  void begin();
  void send(link::ToWorker command);  // in order; lost when the session is
  void heard();                       // the worker has said something
  // Cuts it: whoever reads from the call gets an error. Repeatable.
  void close();
  bool isClosed() const { return closed_; }

  void start(const StartOrder& order) override;
  void stop(const InstanceId& instance, Nanos grace) override;
  void signal(const InstanceId& instance, int signo) override;
  void prepare(const Function& function) override;
  void forgetOlder(const FunctionId& function, const DefinitionId& inForce) override;
  void forgetApp(const AppId& app) override;
  void retire(const FunctionId& function) override;

 private:
  static Task<void> write(std::shared_ptr<LinkSession> self);
  static Task<void> watch(std::shared_ptr<LinkSession> self);

  asio::io_context& io_;
  std::shared_ptr<net::GrpcServerCall> call_;
  std::shared_ptr<net::Exchange> exchange_;
  const Nanos silence_;
  std::chrono::steady_clock::time_point heard_;
  std::deque<link::ToWorker> queue_;
  Notifier changed_;
  bool closed_ = false;
};

}  // namespace gridiron::edge
