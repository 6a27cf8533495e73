// A door with the smallest answers, to measure it with any HTTP or gRPC load generator:
//   bench_door [ADDRESS [CERTIFICATE KEY]]
// GET: 100 bytes of JSON; of /stream: 1 GiB, as fast as it is taken. POST: the body, as it comes. gRPC: every message
// back; a path that ends in /Fail fails, one in /Hang never ends. With BENCH_UPSTREAM set, to the path of a unix
// socket, everything is passed on to the HTTP/1.1 server that listens there.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdio>
#include <cstdlib>

#include "base/heap.h"
#include "net/door.h"
#include "net/grpc.h"
#include "net/proxy.h"

namespace gridiron::net {
namespace {

Task<void> serveGrpc(std::shared_ptr<Exchange> exchange, asio::io_context* io) {
  GrpcServerCall call(std::move(exchange));
  if (call.path().ends_with("/Fail")) {
    GrpcStatus status(Error{Code::exhausted, "100% full: “ünïcode”\nand a second line"});
    status.retryAfter = std::chrono::milliseconds(1500);
    status.warnings = {"this is a warning — really"};
    (void)co_await call.finish(std::move(status));
    co_return;
  }
  auto message = co_await call.read();
  if (call.path().ends_with("/Hang")) {
    Notifier never(*io);
    call.onCancel([&never]() { never.notifyAll(); });
    while (!call.cancelled()) co_await never.wait(std::chrono::hours(1));
    std::printf("cancelled\n");
    std::fflush(stdout);
    co_return;
  }
  while (message.ok() && message->has_value()) {
    std::string answer = std::move(**message);
    message = co_await call.read();
    const bool last = message.ok() && !message->has_value();
    if (last) {
      (void)co_await call.finish({}, std::move(answer));
      co_return;
    }
    const auto written = co_await call.write(std::move(answer));
    if (!written.ok()) co_return;
  }
  if (message.ok()) {
    (void)co_await call.finish({});
  } else {
    (void)co_await call.finish(message.error());
  }
}

Task<void> serveEcho(std::shared_ptr<Exchange> exchange) {
  Headers headers;
  headers.add("content-type", "application/octet-stream");
  (void)co_await exchange->respond(200, std::move(headers), false);
  for (;;) {
    auto piece = co_await exchange->read();
    if (!piece.ok()) {
      exchange->abort();
      co_return;
    }
    if (!piece->has_value()) break;
    const auto written = co_await exchange->write(std::move(**piece));
    if (!written.ok()) co_return;
  }
  (void)co_await exchange->finish();
}

Task<void> serveStatic(std::shared_ptr<Exchange> exchange) {
  static const std::string kBody = R"({"message":")" + std::string(86, 'x') + "\"}";
  Headers headers;
  headers.add("content-type", "application/json");
  (void)co_await exchange->answer(200, std::move(headers), kBody);
}

Task<void> serveStream(std::shared_ptr<Exchange> exchange) {
  constexpr std::size_t kPiece = 64 * 1024;
  Headers headers;
  headers.add("content-length", std::to_string(std::size_t{1} << 30));
  (void)co_await exchange->respond(200, std::move(headers), false);
  for (std::size_t sent = 0; sent < std::size_t{1} << 30; sent += kPiece) {
    const auto written = co_await exchange->write(std::string(kPiece, 'x'));
    if (!written.ok()) co_return;
  }
  (void)co_await exchange->finish();
}

// Connections to what listens at `path`.
class LocalUpstreams final : public Upstreams {
 public:
  LocalUpstreams(asio::io_context& io, std::string path) : io_(io), path_(std::move(path)) {}
  std::shared_ptr<Upstream> spare() override { return kept_.take(); }
  Task<Result<std::shared_ptr<Upstream>>> dial() override {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path_.copy(to.sun_path, sizeof to.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) co_return errnoError("connect");
    (void)::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
    co_return Upstream::open(io_, std::move(fd));
  }
  void keep(std::shared_ptr<Upstream> upstream) override { kept_.put(std::move(upstream)); }

 private:
  asio::io_context& io_;
  const std::string path_;
  KeptUpstreams kept_;
};

Task<void> servePassing(std::shared_ptr<Exchange> exchange, asio::io_context* io, LocalUpstreams* upstreams) {
  const RequestHead& head = exchange->head();
  PassedRequest request{head.method, head.target, {}, false};
  const Headers fields = withoutHop(head.headers);
  for (const auto& [name, value] : fields.fields()) {
    if (name != "content-length" && name != "expect") request.headers.add(name, value);
  }
  request.headers.add("x-forwarded-for", head.peerHost);
  const auto passing = std::make_shared<PassingOn>(*io, exchange, *upstreams, std::move(request),
                                                   [](ResponseHead& answer) { return withoutHop(answer.headers); });
  const PassedOn passed = co_await passing->run();
  if (passed.end != PassedOn::End::noAnswer) co_return;
  std::string why = passed.why.message;
  (void)co_await exchange->answer(502, {}, std::move(why));
}

int run(int argc, char** argv) {
  asio::io_context io(1);
  DoorOptions options;
  options.maxConnections = 20'000;
  if (argc > 3) options.tls = {TlsFiles{argv[2], argv[3]}};
  const char* upstream = std::getenv("BENCH_UPSTREAM");
  LocalUpstreams upstreams(io, upstream != nullptr ? upstream : "");
  Door door(io, options, [&](std::shared_ptr<Exchange> exchange) -> Task<void> {
    if (upstream != nullptr) return servePassing(std::move(exchange), &io, &upstreams);
    if (isGrpc(exchange->head())) return serveGrpc(std::move(exchange), &io);
    if (exchange->head().method == "POST") return serveEcho(std::move(exchange));
    if (exchange->head().target == "/stream") return serveStream(std::move(exchange));
    return serveStatic(std::move(exchange));
  });
  const auto address = door.listen(argc > 1 ? argv[1] : "127.0.0.1:0");
  if (!address.ok()) {
    std::fprintf(stderr, "%s\n", address.error().message.c_str());
    return 1;
  }
  std::printf("%s\n", address->c_str());
  std::fflush(stdout);
  io.run();
  return 0;
}

}  // namespace
}  // namespace gridiron::net

int main(int argc, char** argv) {
  gridiron::keepFreedMemory();  // as gridiron does
  return gridiron::net::run(argc, argv);
}
