#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <charconv>

#include "net/grpc.h"
#include "net/grpc_frames.h"
#include "net/h2_session.h"
#include "net/http_text.h"
#include "net/tls.h"
#include "net/wire.h"

namespace gridiron::net {

namespace {

using tcp = asio::ip::tcp;
using Socket = asio::basic_stream_socket<asio::generic::stream_protocol, Executor>;
using Resolver = asio::ip::basic_resolver<tcp, Executor>;

constexpr auto kConnectTimeout = std::chrono::seconds(20);
constexpr auto kLong = std::chrono::hours(24);

struct Url {
  bool tls = false;
  bool local = false;
  std::string host;  // a path for a unix socket
  std::uint16_t port = 0;
  std::string authority;
};

Result<Url> parseUrl(const std::string& text) {
  Url url;
  if (text.starts_with("unix:")) {
    url.local = true;
    url.host = text.substr(text.starts_with("unix://") ? 7 : 5);
    url.authority = "localhost";
    return url;
  }
  url.tls = text.starts_with("https://");
  if (!url.tls && !text.starts_with("http://")) {
    return makeError(Code::invalidArgument, "{} is not http://HOST:PORT, https://HOST:PORT or unix:PATH", text);
  }
  std::string rest = text.substr(url.tls ? 8 : 7);
  rest = rest.substr(0, rest.find('/'));
  url.authority = rest;
  url.port = url.tls ? 443 : 80;
  const auto colon = rest.rfind(':');
  if (colon != std::string::npos && rest.find(']', colon) == std::string::npos) {
    const auto [end, ec] = std::from_chars(rest.data() + colon + 1, rest.data() + rest.size(), url.port);
    if (ec != std::errc() || end != rest.data() + rest.size()) {
      return makeError(Code::invalidArgument, "{}: the port is not a number up to 65535", text);
    }
    rest.resize(colon);
  }
  if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
  if (rest.empty()) return makeError(Code::invalidArgument, "{} names no host", text);
  url.host = rest;
  return url;
}

// A grid that is cut off is to be noticed within a minute or so, also by calls that only wait.
void tune(int fd) {
  const auto set = [fd](int level, int option, int value) { ::setsockopt(fd, level, option, &value, sizeof(value)); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 20);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 60'000);
}

class H2Client final : public H2Session {
 public:
  H2Client(asio::io_context& io, Carrier& carrier) : H2Session(io, carrier, Side::client, limits()) {}
  void tick(Instant) override {}
  void drain(bool) override { goaway(); }
  std::shared_ptr<H2Stream> newStream() { return makeStream(); }

 protected:
  void onHead(const std::shared_ptr<H2Stream>&) override {}

 private:
  static Limits limits() {
    Limits limits;
    limits.streamWindow = 4 * 1024 * 1024;
    return limits;
  }
};

// A connection that is up, or was.
struct Connected {
  std::shared_ptr<Wire> wire;
  H2Client* client = nullptr;  // null until TLS is through, and after the end
  std::shared_ptr<std::string> tlsFailure = std::make_shared<std::string>();
  bool ended = false;

  bool usable() const { return !ended && client != nullptr && !client->goawayReceived() && !client->finished(); }
};

Code codeOfReset(std::uint32_t errorCode) {
  switch (errorCode) {
    case NGHTTP2_REFUSED_STREAM:
      return Code::unavailable;
    case NGHTTP2_CANCEL:
      return Code::cancelled;
    case NGHTTP2_ENHANCE_YOUR_CALM:
      return Code::exhausted;
    case NGHTTP2_INADEQUATE_SECURITY:
      return Code::permissionDenied;
    default:
      return Code::internal;
  }
}

Code codeOfHttp(std::string_view status) {
  if (status == "400") return Code::internal;
  if (status == "401") return Code::unauthenticated;
  if (status == "403") return Code::permissionDenied;
  if (status == "404") return Code::unimplemented;
  if (status == "429" || status == "502" || status == "503" || status == "504") return Code::unavailable;
  return Code::unknown;
}

class ClientCall final : public GrpcClientCall, public std::enable_shared_from_this<ClientCall> {
 public:
  ClientCall(asio::io_context& io, std::shared_ptr<H2Stream> stream, std::string path)
      : stream_(std::move(stream)), path_(std::move(path)), timer_(io.get_executor()) {}
  ~ClientCall() override {
    if (!ended_) stream_->reset(NGHTTP2_CANCEL);
  }

  void startDeadline(Nanos timeout) {
    timer_.expires_after(std::min<Nanos>(timeout, kLong * 365));
    timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& ec) {
      const auto self = weak.lock();
      if (!self || ec) return;
      self->local(Code::deadlineExceeded, fmt::format("{}: no answer within the call's time", self->path_));
    });
  }

  Task<Result<void>> write(std::string message) override { return writing(shared_from_this(), std::move(message)); }
  Task<Result<void>> writesDone() override { return closing(shared_from_this()); }
  Task<Result<std::optional<std::string>>> read() override { return reading(shared_from_this()); }
  const GrpcStatus& status() const override { return status_; }
  const Headers& trailers() const override { return trailers_; }
  void cancel() override { local(Code::cancelled, path_ + ": cancelled by the caller"); }

 private:
  // Ends the call from this side.
  void local(Code code, std::string message) {
    if (ended_) return;
    settle(GrpcStatus(Error{code, std::move(message)}));
    stream_->reset(NGHTTP2_CANCEL);
    stream_->changed.notifyAll();
  }

  void settle(GrpcStatus status) {
    if (ended_) return;
    ended_ = true;
    status_ = std::move(status);
    timer_.cancel();
  }

  static Task<Result<void>> writing(std::shared_ptr<ClientCall> self, std::string message) {
    if (self->ended_) co_return Error{Code::cancelled, self->path_ + ": the call has ended"};
    co_return co_await H2Stream::write(self->stream_, framed(message));
  }

  static Task<Result<void>> closing(std::shared_ptr<ClientCall> self) {
    if (self->stream_->session == nullptr) co_return self->stream_->brokenOff();
    self->stream_->end({});
    co_return Result<void>();
  }

  static Task<Result<std::optional<std::string>>> reading(std::shared_ptr<ClientCall> self) {
    for (;;) {
      if (self->ended_) co_return std::optional<std::string>();
      auto message = self->frames_.next();
      if (!message.ok()) {
        self->local(message.error().code, message.error().message);
        co_return std::optional<std::string>();
      }
      if (message->has_value()) co_return message;
      auto chunk = co_await H2Stream::read(self->stream_);
      if (self->ended_) co_return std::optional<std::string>();
      if (!chunk.ok() && self->stream_->lostConnection) {
        const Error lost{Code::unavailable, self->path_ + ": the connection to the grid was lost"};
        self->settle(GrpcStatus(lost));
        co_return lost;
      }
      if (chunk.ok() && chunk->has_value()) {
        if (self->stream_->status == "200") self->frames_.add(std::move(**chunk));
        continue;
      }
      self->finishFromPeer(chunk.ok());
      co_return std::optional<std::string>();
    }
  }

  void finishFromPeer(bool complete) {
    H2Stream& s = *stream_;
    if (!complete && !s.headDone) {
      return settle(GrpcStatus(Error{codeOfReset(s.errorCode.value_or(NGHTTP2_CANCEL)),
                                     fmt::format("{}: {}", path_, s.brokenOff().message)}));
    }
    trailers_ = s.trailers.empty() ? s.headers : s.trailers;
    const bool told = trailers_.find("grpc-status").has_value();
    if (!told && s.status != "200") {
      return settle(
          GrpcStatus(Error{codeOfHttp(s.status), fmt::format("{}: answered with HTTP status {}", path_, s.status)}));
    }
    if (!told && !complete) {
      return settle(GrpcStatus(Error{codeOfReset(s.errorCode.value_or(NGHTTP2_CANCEL)),
                                     fmt::format("{}: {}", path_, s.brokenOff().message)}));
    }
    settle(statusOf(trailers_));
  }

  const std::shared_ptr<H2Stream> stream_;
  const std::string path_;
  Timer timer_;
  FrameReader frames_;
  GrpcStatus status_;
  Headers trailers_;
  bool ended_ = false;
};

}  // namespace

struct GrpcChannel::Impl : std::enable_shared_from_this<GrpcChannel::Impl> {
  Impl(asio::io_context& loop, std::string address, std::string ca)
      : io(loop), url(std::move(address)), caFile(std::move(ca)), changed(loop) {}

  static Task<Result<std::shared_ptr<Connected>>> ready(std::shared_ptr<Impl> self) {
    while (self->connecting) co_await self->changed.wait(kLong);
    if (self->closed) co_return Error{Code::unavailable, "the channel to " + self->url + " is closed"};
    if (self->current && self->current->usable()) co_return self->current;
    self->connecting = true;
    auto made = co_await connect(self);
    self->connecting = false;
    self->changed.notifyAll();
    if (!made.ok())
      co_return Error{Code::unavailable, fmt::format("connect to {}: {}", self->url, made.error().message)};
    if (self->closed) (*made)->wire->close();
    self->current = *made;
    co_return *made;
  }

  static Task<Result<std::shared_ptr<Connected>>> connect(std::shared_ptr<Impl> self) {
    CO_ASSIGN_OR_RETURN(const Url where, parseUrl(self->url));
    std::vector<asio::generic::stream_protocol::endpoint> endpoints;
    if (where.local) {
      if (where.host.empty() || where.host.size() > 107) co_return Error{Code::invalidArgument, "no such path"};
      endpoints.emplace_back(asio::local::stream_protocol::endpoint(where.host));
    } else {
      CO_ASSIGN_OR_RETURN(endpoints, co_await resolve(self, where));
    }
    Error last{Code::unavailable, "the name has no address"};
    for (const auto& endpoint : endpoints) {
      auto socket = co_await dial(self, endpoint);
      if (!socket.ok()) {
        last = socket.error();
        continue;
      }
      co_return co_await begin(self, where, std::move(*socket));
    }
    co_return last;
  }

  static Task<Result<std::vector<asio::generic::stream_protocol::endpoint>>> resolve(std::shared_ptr<Impl> self,
                                                                                     Url where) {
    std::vector<asio::generic::stream_protocol::endpoint> out;
    boost::system::error_code ec;
    const auto numeric = asio::ip::make_address(where.host, ec);
    if (!ec) {
      out.emplace_back(tcp::endpoint(numeric, where.port));
      co_return out;
    }
    Resolver resolver(self->io.get_executor());
    const std::string service = std::to_string(where.port);
    const auto results = co_await resolver.async_resolve(where.host, service, asio::redirect_error(useTask, ec));
    if (ec) co_return makeError(Code::unavailable, "look up {}: {}", where.host, ec.message());
    for (const auto& result : results) out.emplace_back(result.endpoint());
    co_return out;
  }

  static Task<Result<Socket>> dial(std::shared_ptr<Impl> self, asio::generic::stream_protocol::endpoint endpoint) {
    boost::system::error_code ec;
    auto socket = std::make_shared<Socket>(self->io.get_executor());
    socket->open(endpoint.protocol(), ec);
    if (ec) co_return Error{Code::unavailable, ec.message()};
    Timer timer(self->io.get_executor());
    timer.expires_after(kConnectTimeout);
    timer.async_wait([weak = std::weak_ptr<Socket>(socket)](const boost::system::error_code& stopped) {
      const auto dialled = weak.lock();
      boost::system::error_code ignored;
      if (dialled && !stopped) dialled->close(ignored);
    });
    co_await socket->async_connect(endpoint, asio::redirect_error(useTask, ec));
    timer.cancel();
    if (ec == asio::error::operation_aborted) co_return Error{Code::unavailable, "no answer within 20 s"};
    if (ec) co_return Error{Code::unavailable, ec.message()};
    if (endpoint.protocol().family() != AF_UNIX) tune(socket->native_handle());
    co_return std::move(*socket);
  }

  static Task<Result<std::shared_ptr<Connected>>> begin(std::shared_ptr<Impl> self, Url where, Socket socket) {
    std::shared_ptr<TlsContext> tls = self->tls;
    if (where.tls && !tls) {
      CO_ASSIGN_OR_RETURN(tls, TlsContext::client(self->caFile));
      self->tls = tls;
    }
    boost::system::error_code ec;
    Fd fd(socket.release(ec));
    if (ec) co_return Error{Code::unavailable, ec.message()};
    auto made = std::make_shared<Connected>();
    made->wire = std::make_shared<Wire>(self->io, std::move(fd));
    const MakeInner makeInner = [made, weak = std::weak_ptr<Impl>(self), &io = self->io](const std::string&,
                                                                                         Carrier& carrier) {
      auto client = std::make_unique<H2Client>(io, carrier);
      made->client = client.get();
      if (const auto impl = weak.lock()) impl->changed.notifyAll();
      return std::unique_ptr<Protocol>(std::move(client));
    };
    auto protocol = where.tls ? makeTlsClient(tls, *made->wire, where.host, made->tlsFailure, makeInner)
                              : makeInner("", *made->wire);
    made->wire->start(std::move(protocol), [made, weak = std::weak_ptr<Impl>(self)]() {
      made->ended = true;
      made->client = nullptr;
      if (const auto impl = weak.lock()) impl->changed.notifyAll();
    });
    const Instant start = instantNow();
    while (!made->usable() && !made->ended && made->tlsFailure->empty()) {
      const Nanos left = kConnectTimeout - (instantNow() - start);
      if (left <= Nanos::zero()) break;
      co_await self->changed.wait(std::min<Nanos>(left, std::chrono::milliseconds(250)));
    }
    if (made->usable()) co_return made;
    made->wire->close();
    co_return Error{Code::unavailable, made->tlsFailure->empty() ? "the connection ended at once" : *made->tlsFailure};
  }

  static Headers requestHead(const Url& where, const std::string& path, const Headers& metadata,
                             std::optional<Nanos> timeout) {
    Headers head;
    head.add(":method", "POST");
    head.add(":scheme", where.tls ? "https" : "http");
    head.add(":authority", where.authority);
    head.add(":path", path);
    head.add("content-type", "application/grpc");
    head.add("te", "trailers");
    if (timeout) head.add("grpc-timeout", formatTimeout(*timeout));
    if (!metadata.find("user-agent")) head.add("user-agent", "gridiron");
    // What a relay passes on may hold fields that are this hop's own.
    for (const auto& [name, value] : metadata.fields()) {
      if (name.empty() || name.front() == ':' || isHopByHop(name) || name == "host" || name == "content-type" ||
          name == "content-length" || name == "grpc-timeout") {
        continue;
      }
      head.add(name, value);
    }
    return head;
  }

  static Task<Result<std::shared_ptr<GrpcClientCall>>> open(std::shared_ptr<Impl> self, std::string path,
                                                            Headers metadata, std::optional<Nanos> timeout) {
    auto connected = co_await ready(self);
    if (!connected.ok()) co_return connected.error();
    H2Client& client = *(*connected)->client;
    const auto where = parseUrl(self->url);
    const Headers head = requestHead(*where, path, metadata, timeout);
    for (const auto& [name, value] : head.fields()) {
      if ((name.front() != ':' && !isToken(name)) || !isFieldValue(value)) {
        co_return makeError(Code::invalidArgument, "{}: metadata {} cannot be sent", path, name);
      }
    }
    auto stream = client.newStream();
    CO_RETURN_IF_ERROR(client.submitRequest(stream, head, false));
    auto call = std::make_shared<ClientCall>(self->io, std::move(stream), std::move(path));
    if (timeout) call->startDeadline(*timeout);
    co_return std::shared_ptr<GrpcClientCall>(std::move(call));
  }

  static Task<Result<std::string>> unary(std::shared_ptr<Impl> self, std::string path, Headers metadata,
                                         std::string message, Nanos timeout) {
    auto opened = co_await open(self, path, std::move(metadata), timeout);
    if (!opened.ok()) co_return opened.error();
    const auto call = *opened;
    const auto written = co_await call->write(std::move(message));
    if (written.ok()) (void)co_await call->writesDone();
    std::optional<std::string> answer;
    for (;;) {  // also when the write failed: the status says why
      auto next = co_await call->read();
      if (!next.ok()) co_return next.error();
      if (!next->has_value()) break;
      answer = std::move(**next);
    }
    const GrpcStatus& status = call->status();
    if (status.code != Code::ok) co_return Error{status.code, status.message};
    if (!answer) co_return Error{Code::internal, path + ": the answer has no message"};
    co_return std::move(*answer);
  }

  asio::io_context& io;
  const std::string url;
  const std::string caFile;
  std::shared_ptr<TlsContext> tls;
  std::shared_ptr<Connected> current;
  Notifier changed;
  bool connecting = false;
  bool closed = false;
};

GrpcChannel::GrpcChannel(asio::io_context& io, std::string url, std::string caFile)
    : impl_(std::make_shared<Impl>(io, std::move(url), std::move(caFile))) {}

GrpcChannel::~GrpcChannel() {
  impl_->closed = true;
  if (impl_->current) impl_->current->wire->close();
  impl_->current = nullptr;
}

Task<Result<std::shared_ptr<GrpcClientCall>>> GrpcChannel::open(const std::string& path, Headers metadata,
                                                                std::optional<Nanos> timeout) {
  return Impl::open(impl_, path, std::move(metadata), timeout);
}

Task<Result<std::string>> GrpcChannel::unary(const std::string& path, Headers metadata, std::string message,
                                             Nanos timeout) {
  return Impl::unary(impl_, path, std::move(metadata), std::move(message), timeout);
}

}  // namespace gridiron::net
