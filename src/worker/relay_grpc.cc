#include <fmt/format.h>

#include <array>
#include <string_view>

#include "worker/relay.h"

namespace gridiron::worker {

namespace {

// The grid's talk with itself: with the worker's credentials on it, a container could pass for the worker.
constexpr std::string_view kOwnServices = "/gridiron.";

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

struct Legs {
  std::shared_ptr<net::GrpcServerCall> in;
  std::shared_ptr<net::GrpcClientCall> out;
};

// The container's messages, up to control.
Task<void> passUp(Legs legs) {
  for (;;) {
    Result<std::optional<std::string>> message = co_await legs.in->read();
    if (!message.ok()) {
      legs.out->cancel();
      co_return;
    }
    if (!message->has_value()) break;
    std::string bytes = std::move(**message);
    Result<void> sent = co_await legs.out->write(std::move(bytes));
    if (!sent.ok()) co_return;  // control has ended the call: passDown sees how
  }
  Result<void> done = co_await legs.out->writesDone();
  (void)done;
}

// Control's answer, down to the container.
Task<void> passDown(Legs legs, std::shared_ptr<net::Exchange> exchange) {
  bool started = false;
  net::Headers trailers;
  for (;;) {
    Result<std::optional<std::string>> message = co_await legs.out->read();
    if (!message.ok()) {
      trailers.add("grpc-status", std::to_string(static_cast<int>(Code::unavailable)));
      trailers.add("grpc-message", "the grid cannot be reached");
      break;
    }
    if (!message->has_value()) {
      trailers = trailersOf(*legs.out);
      break;
    }
    if (!started) {
      net::Headers head;
      head.add("content-type", "application/grpc");
      started = true;
      Result<void> sent = co_await exchange->respond(200, std::move(head), false);
      if (!sent.ok()) co_return legs.out->cancel();
    }
    std::string frame = framed(**message);
    Result<void> sent = co_await exchange->write(std::move(frame));
    if (!sent.ok()) co_return legs.out->cancel();
  }
  if (!started) {
    trailers.add("content-type", "application/grpc");
    Result<void> sent = co_await exchange->respond(200, std::move(trailers), true);
    (void)sent;
    co_return;
  }
  Result<void> sent = co_await exchange->finish(std::move(trailers));
  (void)sent;
}

}  // namespace

Task<void> relayGrpc(std::shared_ptr<const Relay> relay, std::shared_ptr<net::Exchange> exchange) {
  auto in = std::make_shared<net::GrpcServerCall>(exchange);
  const std::string path = in->path();
  if (path.starts_with(kOwnServices)) {
    net::GrpcStatus refused(makeError(Code::unimplemented, "{} is not for containers", path));
    Result<void> answered = co_await in->finish(std::move(refused));
    (void)answered;
    co_return;
  }
  if (relay->before) co_await relay->before(path);
  net::Headers metadata = metadataFor(in->metadata(), relay->credentials);
  const std::optional<Nanos> timeout = in->timeLeft();
  net::GrpcChannel& channel = relay->channelFor(path);
  Result<std::shared_ptr<net::GrpcClientCall>> opened = co_await channel.open(path, std::move(metadata), timeout);
  if (!opened.ok()) {
    net::GrpcStatus status(makeError(Code::unavailable, "the grid cannot be reached"));
    Result<void> answered = co_await in->finish(std::move(status));
    (void)answered;
    co_return;
  }
  const Legs legs{in, *opened};
  in->onCancel([out = std::weak_ptr<net::GrpcClientCall>(legs.out)] {
    if (const auto call = out.lock()) call->cancel();
  });
  spawn(relay->io, passUp(legs));
  co_await passDown(legs, exchange);
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
