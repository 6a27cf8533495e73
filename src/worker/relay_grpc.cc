#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "worker/relay.h"

namespace gridiron::worker {

namespace {

// The grid's talk with itself: with the worker's credentials on it, a container could pass for the worker.
constexpr std::string_view kOwnServices = "/gridiron.";

// Between attempts to reach control.
constexpr Nanos kFirstPause = std::chrono::milliseconds(20);
constexpr Nanos kLongestPause = std::chrono::seconds(1);

// What belongs to one connection, or is set anew for the next one.
bool passedOn(std::string_view name) {
  constexpr std::array<std::string_view, 15> kNot = {
      "connection",           "content-length",   "content-type", "expect",
      "grpc-accept-encoding", "grpc-encoding",    "grpc-timeout", "host",
      "keep-alive",           "proxy-connection", "te",           "trailer",
      "transfer-encoding",    "upgrade",          "user-agent"};
  if (name.starts_with(':') || name.starts_with("x-gridiron-")) return false;
  for (const std::string_view ours : kNot) {
    if (name == ours) return false;
  }
  return true;
}

net::Headers metadataFor(const net::Headers& given, const net::Headers& credentials) {
  net::Headers metadata;
  for (const auto& [name, value] : given.fields()) {
    if (passedOn(name)) metadata.add(name, value);
  }
  for (const auto& [name, value] : credentials.fields()) metadata.add(name, value);
  return metadata;
}

std::string framed(std::string_view message) {
  std::string frame;
  frame.reserve(message.size() + 5);
  const auto size = static_cast<std::uint32_t>(message.size());
  frame.push_back('\0');
  for (int shift = 24; shift >= 0; shift -= 8) frame.push_back(static_cast<char>(size >> shift & 0xff));
  frame.append(message);
  return frame;
}

// The end of the call as control gave it; where control's connection was lost there are no trailers but a status.
net::Headers trailersOf(const net::GrpcClientCall& call) {
  net::Headers trailers;
  bool hasStatus = false;
  for (const auto& [name, value] : call.trailers().fields()) {
    if (name.starts_with(':')) continue;
    if (name.starts_with("grpc-") || passedOn(name)) trailers.add(name, value);
    if (name == "grpc-status") hasStatus = true;
  }
  if (!hasStatus) {
    trailers.add("grpc-status", std::to_string(static_cast<int>(call.status().code)));
    if (!call.status().message.empty()) trailers.add("grpc-message", call.status().message);
  }
  return trailers;
}

// One call of a container on its way. Control may go and come back (it was restarted) while the call runs: what the
// container sent is then sent again, as long as nothing of an answer has come. It is what the container's client would
// do, with the same idempotency key, but without an end to its patience.
struct Passage {
  std::shared_ptr<const Relay> relay;
  std::shared_ptr<net::Exchange> exchange;
  std::shared_ptr<net::GrpcServerCall> in;
  std::shared_ptr<net::GrpcClientCall> out;  // of the present attempt
  std::string first;                         // the container's first message, while it may have to be sent again
  bool ended = false;                        // it has said all
  bool several = false;                      // it said more: not to be repeated
  bool started = false;                      // of the answer something has gone down
};
using Way = std::shared_ptr<Passage>;

// The container's messages after the first, up to control.
Task<void> passUp(Way way) {
  for (;;) {
    Result<std::optional<std::string>> message = co_await way->in->read();
    if (!message.ok()) {
      if (way->out) way->out->cancel();
      co_return;
    }
    const std::shared_ptr<net::GrpcClientCall> out = way->out;
    if (!message->has_value()) {
      way->ended = true;
      if (out) (void)co_await out->writesDone();  // when control is gone, whoever tries again says so too
      co_return;
    }
    way->several = true;
    way->first.clear();
    std::string bytes = std::move(**message);
    Result<void> sent = Error{};
    if (out) sent = co_await out->write(std::move(bytes));
    if (!sent.ok()) co_return;  // control has ended the call: passDown sees how
  }
}

net::Headers unreachable() {
  net::Headers trailers;
  trailers.add("grpc-status", std::to_string(static_cast<int>(Code::unavailable)));
  trailers.add("grpc-message", "the grid cannot be reached");
  return trailers;
}

// Control's answer, down to the container. Gives the trailers to end with; nothing when control was lost before it had
// said anything.
Task<std::optional<net::Headers>> passDown(Way way) {
  const std::shared_ptr<net::GrpcClientCall> out = way->out;
  for (;;) {
    Result<std::optional<std::string>> message = co_await out->read();
    const bool over = message.ok() && !message->has_value();
    const bool lost =
        !message.ok() || (over && out->status().code == Code::unavailable && !out->trailers().find("grpc-status"));
    if (lost && !way->started) co_return std::nullopt;
    if (lost) co_return unreachable();
    if (over) co_return trailersOf(*out);
    if (!way->started) {
      net::Headers head;
      head.add("content-type", "application/grpc");
      way->started = true;
      way->first.clear();
      Result<void> sent = co_await way->exchange->respond(200, std::move(head), false);
      if (!sent.ok()) out->cancel();
    }
    std::string frame = framed(**message);
    Result<void> sent = co_await way->exchange->write(std::move(frame));
    if (!sent.ok()) out->cancel();
  }
}

// Opens the call at control and sends what is known of it.
Task<Result<void>> open(Way way) {
  const std::string path = way->in->path();
  net::Headers metadata = metadataFor(way->in->metadata(), way->relay->credentials);
  const std::optional<Nanos> timeout = way->in->timeLeft();
  net::GrpcChannel& channel = way->relay->channelFor(path);
  Result<std::shared_ptr<net::GrpcClientCall>> opened = co_await channel.open(path, std::move(metadata), timeout);
  if (!opened.ok()) co_return opened.error();
  way->out = *opened;
  std::string bytes = way->first;
  Result<void> sent = co_await way->out->write(std::move(bytes));
  if (sent.ok() && way->ended) sent = co_await way->out->writesDone();
  co_return Result<void>();  // a call that is over already: passDown sees how
}

Task<void> end(Way way, net::Headers trailers) {
  if (way->started) {
    (void)co_await way->exchange->finish(std::move(trailers));
    co_return;
  }
  trailers.add("content-type", "application/grpc");
  (void)co_await way->exchange->respond(200, std::move(trailers), true);
}

Task<void> pass(Way way) {
  Nanos pause = kFirstPause;
  bool reading = false;
  for (;;) {
    Result<void> opened = co_await open(way);
    std::optional<net::Headers> trailers;
    if (opened.ok()) {
      if (!std::exchange(reading, true)) spawn(way->relay->io, passUp(way));
      trailers = co_await passDown(way);
    }
    if (way->in->cancelled()) co_return;
    if (!trailers && way->several) trailers = unreachable();
    if (trailers) {
      co_await end(way, std::move(*trailers));
      co_return;
    }
    Timer timer(way->relay->io.get_executor());
    timer.expires_after(pause);
    co_await timer.async_wait(useTask);
    pause = std::min<Nanos>(pause * 2, kLongestPause);
    if (way->in->cancelled()) co_return;
  }
}

}  // namespace

Task<void> relayGrpc(std::shared_ptr<const Relay> relay, std::shared_ptr<net::Exchange> exchange) {
  const Way way = std::make_shared<Passage>();
  way->in = std::make_shared<net::GrpcServerCall>(exchange);
  way->relay = std::move(relay);
  way->exchange = std::move(exchange);
  const std::string path = way->in->path();
  if (path.starts_with(kOwnServices)) {
    net::GrpcStatus refused(makeError(Code::unimplemented, "{} is not for containers", path));
    (void)co_await way->in->finish(std::move(refused));
    co_return;
  }
  if (way->relay->before) co_await way->relay->before(path);
  way->in->onCancel([weak = std::weak_ptr<Passage>(way)] {
    const Way here = weak.lock();
    if (here && here->out) here->out->cancel();
  });
  Result<std::optional<std::string>> first = co_await way->in->read();
  if (!first.ok()) co_return;
  way->ended = !first->has_value();
  if (first->has_value()) way->first = std::move(**first);
  co_await pass(way);
}

Task<void> relayExchange(std::shared_ptr<const Relay> relay, std::shared_ptr<net::Exchange> exchange) {
  const bool grpc = net::isGrpc(exchange->head());
  if (grpc) {
    co_await relayGrpc(std::move(relay), std::move(exchange));
  } else {
    co_await relayHttp(std::move(relay), std::move(exchange));
  }
}

}  // namespace gridiron::worker
