#include "edge/link/session.h"

#include <spdlog/spdlog.h>

#include "wire/link.h"

namespace gridiron::edge {

using namespace std::chrono_literals;

LinkSession::LinkSession(asio::io_context& io, std::shared_ptr<net::GrpcServerCall> call,
                         std::shared_ptr<net::Exchange> exchange, Nanos silence)
    : io_(io),
      call_(std::move(call)),
      exchange_(std::move(exchange)),
      silence_(silence),
      heard_(std::chrono::steady_clock::now()),
      changed_(io) {}

void LinkSession::begin() {
  spawn(io_, write(shared_from_this()));
  spawn(io_, watch(shared_from_this()));
}

void LinkSession::send(link::ToWorker command) {
  if (closed_) return;
  queue_.push_back(std::move(command));
  changed_.notifyAll();
}

void LinkSession::heard() { heard_ = std::chrono::steady_clock::now(); }

void LinkSession::close() {
  if (closed_) return;
  closed_ = true;
  exchange_->abort();
  changed_.notifyAll();
}

Task<void> LinkSession::write(std::shared_ptr<LinkSession> self) {
  while (!self->closed_) {
    if (self->queue_.empty()) {
      co_await self->changed_.wait(1h);
      continue;
    }
    std::string bytes = self->queue_.front().SerializeAsString();
    self->queue_.pop_front();
    Result<void> sent = co_await self->call_->write(std::move(bytes));
    if (!sent.ok()) self->close();
  }
}

Task<void> LinkSession::watch(std::shared_ptr<LinkSession> self) {
  while (!self->closed_) {
    const Nanos left = self->heard_ + self->silence_ - std::chrono::steady_clock::now();
    if (left <= 0ns) {
      spdlog::warn("link: a worker has been silent for too long");
      self->close();
      co_return;
    }
    // Woken by every command as well; it only looks again.
    co_await self->changed_.wait(left);
  }
}

void LinkSession::start(const StartOrder& order) {
  link::ToWorker command;
  *command.mutable_start() = wire::toLink(order);
  send(std::move(command));
}

void LinkSession::stop(const InstanceId& instance, Nanos grace) {
  link::ToWorker command;
  command.mutable_stop()->set_task_id(instance.value);
  command.mutable_stop()->set_grace_ms(std::chrono::duration_cast<std::chrono::milliseconds>(grace).count());
  send(std::move(command));
}

void LinkSession::signal(const InstanceId& instance, int signo) {
  link::ToWorker command;
  command.mutable_signal()->set_task_id(instance.value);
  command.mutable_signal()->set_signal(signo);
  send(std::move(command));
}

void LinkSession::prepare(const Function& function) {
  link::ToWorker command;
  command.mutable_prepare()->set_image_id(function.image.value);
  command.mutable_prepare()->set_client_version(function.clientVersion);
  command.mutable_prepare()->set_needs_fastapi(function.needsFastapi);
  send(std::move(command));
}

void LinkSession::forgetOlder(const FunctionId& function, const DefinitionId& inForce) {
  link::ToWorker command;
  command.mutable_forget()->set_function_id(function.value);
  command.mutable_forget()->set_but_definition_id(inForce.value);
  send(std::move(command));
}

void LinkSession::forgetApp(const AppId& app) {
  link::ToWorker command;
  command.mutable_forget()->set_app_id(app.value);
  send(std::move(command));
}

void LinkSession::retire(const FunctionId& function) {
  link::ToWorker command;
  command.mutable_retire()->set_function_id(function.value);
  send(std::move(command));
}

}  // namespace gridiron::edge
