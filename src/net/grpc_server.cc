#include <boost/asio/post.hpp>

#include "net/grpc.h"
#include "net/grpc_frames.h"

namespace gridiron::net {

bool isGrpc(const RequestHead& head) {
  const auto type = head.headers.find("content-type");
  if (head.method != "POST" || !type || !type->starts_with("application/grpc")) return false;
  const std::string_view rest = type->substr(std::string_view("application/grpc").size());
  return rest.empty() || rest.front() == '+' || rest.front() == ';';
}

struct GrpcServerCall::Impl : std::enable_shared_from_this<GrpcServerCall::Impl> {
  explicit Impl(std::shared_ptr<Exchange> e) : exchange(std::move(e)) {}

  void startDeadline() {
    const auto text = exchange->head().headers.find("grpc-timeout");
    const auto timeout = text ? parseTimeout(*text) : std::nullopt;
    if (!timeout) return;
    // A hundred years and "no limit" are the same to everyone who waits.
    deadline = std::chrono::steady_clock::now() + std::min<Nanos>(*timeout, std::chrono::hours(24 * 365));
    if (exchange->loop() == nullptr) return;
    timer.emplace(exchange->loop()->get_executor());
    timer->expires_at(*deadline);
    timer->async_wait([weak = weak_from_this()](const boost::system::error_code& ec) {
      const auto self = weak.lock();
      if (self && !ec) self->expire();
    });
  }

  void watch() {
    exchange->onGone([weak = weak_from_this()]() {
      if (const auto self = weak.lock()) self->cancel();
    });
  }

  void cancel() {
    if (cancelled || finished) return;
    cancelled = true;
    const auto callback = std::exchange(onCancel, nullptr);
    if (callback) callback();
  }

  void expire() {
    if (cancelled || finished) return;
    expired = true;
    cancel();
    // Whoever waits in read() or write() is woken by the end of the stream.
    if (exchange->loop() != nullptr) spawn(*exchange->loop(), sayExpired(shared_from_this()));
  }

  static Task<void> sayExpired(std::shared_ptr<Impl> self) {
    const GrpcStatus status(Error{Code::deadlineExceeded, "the call's deadline has passed"});
    if (self->writing) {
      self->exchange->abort();
    } else {
      (void)co_await send(self, status, std::nullopt);
    }
  }

  Error cancelledError() const {
    if (expired) return Error{Code::cancelled, "the call's deadline has passed"};
    return Error{Code::cancelled, "the call was cancelled by the client"};
  }

  static Headers head() {
    Headers headers;
    headers.add("content-type", "application/grpc");
    return headers;
  }

  static Task<Result<std::optional<std::string>>> read(std::shared_ptr<Impl> self) {
    for (;;) {
      auto message = self->frames.next();
      if (!message.ok() || message->has_value()) co_return message;
      if (self->cancelled) co_return self->cancelledError();
      auto chunk = co_await self->exchange->read();
      if (!chunk.ok()) co_return self->cancelled ? self->cancelledError() : chunk.error();
      if (chunk->has_value()) {
        self->frames.add(std::move(**chunk));
        continue;
      }
      if (self->frames.midMessage()) co_return Error{Code::invalidArgument, "the request ended within a message"};
      co_return std::optional<std::string>();
    }
  }

  static Task<Result<void>> write(std::shared_ptr<Impl> self, std::string message) {
    if (self->cancelled) co_return self->cancelledError();
    if (self->finished) co_return Error{Code::internal, "write after finish"};
    if (!self->headSent) {
      self->headSent = true;
      auto sent = co_await self->exchange->respond(200, head(), false);
      if (!sent.ok()) co_return sent.error();
    }
    self->writing = true;
    auto written = co_await self->exchange->write(framed(message));
    self->writing = false;
    co_return written;
  }

  static Task<Result<void>> finish(std::shared_ptr<Impl> self, GrpcStatus status, std::optional<std::string> last) {
    if (self->cancelled) co_return self->cancelledError();
    if (self->finished) co_return Error{Code::internal, "the call has been finished already"};
    if (status.code != Code::ok) last.reset();
    co_return co_await send(self, std::move(status), std::move(last));
  }

  static Task<Result<void>> send(std::shared_ptr<Impl> self, GrpcStatus status, std::optional<std::string> last) {
    self->finished = true;
    self->onCancel = nullptr;
    if (self->timer) self->timer->cancel();
    if (!self->headSent && !last) {  // trailers only
      Headers headers = head();
      const Headers trailers = statusTrailers(status);
      for (const auto& [name, value] : trailers.fields()) headers.add(name, value);
      co_return co_await self->exchange->respond(200, std::move(headers), true);
    }
    if (!self->headSent) {
      self->headSent = true;
      auto sent = co_await self->exchange->respond(200, head(), false);
      if (!sent.ok()) co_return sent.error();
    }
    if (last) {
      auto written = co_await self->exchange->write(framed(*last));
      if (!written.ok()) co_return written.error();
    }
    co_return co_await self->exchange->finish(statusTrailers(status));
  }

  const std::shared_ptr<Exchange> exchange;
  FrameReader frames;
  std::optional<std::chrono::steady_clock::time_point> deadline;
  std::optional<Timer> timer;
  std::function<void()> onCancel;
  bool headSent = false;
  bool writing = false;
  bool finished = false;
  bool cancelled = false;
  bool expired = false;
};

GrpcServerCall::GrpcServerCall(std::shared_ptr<Exchange> exchange)
    : impl_(std::make_shared<Impl>(std::move(exchange))) {
  impl_->startDeadline();
  impl_->watch();
}

const std::string& GrpcServerCall::path() const { return head().target; }
const Headers& GrpcServerCall::metadata() const { return head().headers; }
const RequestHead& GrpcServerCall::head() const { return impl_->exchange->head(); }

std::optional<Nanos> GrpcServerCall::timeLeft() const {
  if (!impl_->deadline) return std::nullopt;
  return std::max<Nanos>(Nanos::zero(), *impl_->deadline - std::chrono::steady_clock::now());
}

Task<Result<std::optional<std::string>>> GrpcServerCall::read() { return Impl::read(impl_); }
Task<Result<void>> GrpcServerCall::write(std::string message) { return Impl::write(impl_, std::move(message)); }
Task<Result<void>> GrpcServerCall::finish(GrpcStatus status, std::optional<std::string> lastMessage) {
  return Impl::finish(impl_, std::move(status), std::move(lastMessage));
}

bool GrpcServerCall::cancelled() const { return impl_->cancelled || (!impl_->finished && impl_->exchange->gone()); }

void GrpcServerCall::onCancel(std::function<void()> callback) {
  if (!impl_->cancelled) {
    impl_->onCancel = std::move(callback);
  } else if (callback && impl_->exchange->loop() != nullptr) {
    asio::post(impl_->exchange->loop()->get_executor(), std::move(callback));
  }
}

}  // namespace gridiron::net
