#include "worker/uplink.h"

#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>

namespace gridiron::worker {

namespace {

constexpr const char* kSession = "/gridiron.link.Link/Session";
using Call = std::shared_ptr<net::GrpcClientCall>;

// The first message that goes up on a session.
Task<Result<Call>> openSession(net::GrpcChannel& channel, net::Headers credentials, link::WorkerHello hello) {
  const std::string path = kSession;
  Result<Call> opened = co_await channel.open(path, std::move(credentials), std::nullopt);
  if (!opened.ok()) co_return opened.error();
  link::FromWorker first;
  *first.mutable_hello() = std::move(hello);
  std::string bytes = first.SerializeAsString();
  Result<void> sent = co_await (*opened)->write(std::move(bytes));
  if (!sent.ok()) co_return sent.error();
  co_return std::move(*opened);
}

}  // namespace

struct Uplink::Impl : std::enable_shared_from_this<Uplink::Impl> {
  Impl(asio::io_context& context, net::GrpcChannel& way, net::Headers who, Hooks what)
      : io(context), channel(way), credentials(std::move(who)), hooks(std::move(what)) {}

  asio::io_context& io;
  net::GrpcChannel& channel;
  net::Headers credentials;
  Hooks hooks;
  Call call;              // of the present session
  bool unwanted = false;  // the session that is being opened
  bool gone = false;      // nobody is to be told anything

  // Not before the caller has returned: a task would begin at once.
  template <class Make>
  void later(Make make) {
    asio::post(io, [self = shared_from_this(), make = std::move(make)]() mutable { spawn(self->io, make(self)); });
  }

  // A session from its opening to its end.
  static Task<void> live(std::shared_ptr<Impl> self) {
    net::Headers credentials = self->credentials;
    link::WorkerHello hello = self->hooks.hello();
    Result<Call> opened = co_await openSession(self->channel, std::move(credentials), std::move(hello));
    std::string why;
    if (!opened.ok()) {
      why = opened.error().message;
    } else if (self->gone || self->unwanted) {
      (*opened)->cancel();
    } else {
      self->call = *opened;
      self->hooks.connected();
      why = co_await read(self, *opened);
      (*opened)->cancel();
      self->call = nullptr;
    }
    if (self->gone) co_return;
    spdlog::warn("link: no session with control: {}", why);
    self->hooks.disconnected();
  }

  // Until the end of the session; gives why.
  static Task<std::string> read(std::shared_ptr<Impl> self, Call mine) {
    for (;;) {
      Result<std::optional<std::string>> message = co_await mine->read();
      if (!message.ok()) co_return message.error().message;
      if (self->gone) co_return std::string();
      if (!message->has_value()) co_return mine->status().message;
      link::ToWorker command;
      if (!command.ParseFromString(**message)) co_return "control sent something that is no command";
      self->hooks.heard(std::move(command));
    }
  }

  static Task<void> write(std::shared_ptr<Impl> self, Call mine, std::string bytes) {
    Result<void> sent = co_await mine->write(std::move(bytes));
    if (self->gone || self->call != mine) co_return;
    if (sent.ok()) co_return self->hooks.written();
    spdlog::debug("link: {}", sent.error().message);
    mine->cancel();
  }

  static Task<void> finish(Call mine) {
    Result<void> done = co_await mine->writesDone();
    if (!done.ok()) mine->cancel();
  }
};

Uplink::Uplink(asio::io_context& io, net::GrpcChannel& channel, net::Headers credentials, Hooks hooks)
    : impl_(std::make_shared<Impl>(io, channel, std::move(credentials), std::move(hooks))) {}

Uplink::~Uplink() {
  impl_->gone = true;
  if (impl_->call) impl_->call->cancel();
}

void Uplink::dial() {
  impl_->unwanted = false;
  impl_->later([](auto self) { return Impl::live(std::move(self)); });
}

void Uplink::write(link::FromWorker message) {
  if (!impl_->call) return;
  impl_->later([mine = impl_->call, bytes = message.SerializeAsString()](auto self) mutable {
    return Impl::write(std::move(self), std::move(mine), std::move(bytes));
  });
}

void Uplink::writesDone() {
  if (impl_->call) spawn(impl_->io, Impl::finish(impl_->call));
}

void Uplink::hangUp() {
  impl_->unwanted = true;
  if (impl_->call) impl_->call->cancel();
}

}  // namespace gridiron::worker
