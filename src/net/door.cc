#include "net/door.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <charconv>
#include <cstring>
#include <list>
#include <unordered_set>

#include "net/crowd.h"
#include "net/serving.h"
#include "net/tls.h"
#include "net/wire.h"

namespace gridiron::net {

namespace {

constexpr int kAcceptedAtOnce = 64;  // then others get their turn
constexpr auto kNoDescriptors = std::chrono::milliseconds(100);
constexpr auto kTellEvery = std::chrono::minutes(1);
constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// What a new connection speaks, found out by its first bytes.
class Doorway final : public Protocol {
 public:
  Doorway(std::shared_ptr<Serving> serving, std::shared_ptr<TlsContext> tls, Peer peer, Carrier& carrier)
      : serving_(std::move(serving)), tls_(std::move(tls)), peer_(std::move(peer)), carrier_(carrier) {}

  void receive(std::string_view bytes) override {
    if (inner_) return inner_->receive(bytes);
    first_.append(bytes);
    if (!takeProxyHeader() || first_.empty()) return;
    inner_ = choose();
    if (inner_) inner_->receive(std::exchange(first_, {}));
  }
  void fill(std::string& out) override {
    if (inner_) inner_->fill(out);
  }
  bool wantsRead() const override { return !inner_ || inner_->wantsRead(); }
  bool finished() const override { return inner_ ? inner_->finished() : over_; }
  void lost() override {
    if (inner_) inner_->lost();
  }
  void tick(Instant now) override {
    if (inner_) return inner_->tick(now);
    if (now > deadline()) giveUp();
  }
  void drain(bool force) override {
    if (inner_) return inner_->drain(force);
    over_ = true;
  }

 private:
  Instant deadline() const { return since_ + serving_->options.headTimeout; }

  void giveUp() {
    over_ = true;
    carrier_.kick();
  }

  // A trusted proxy may say first for whom it speaks. False: wait for more, or it is over.
  bool takeProxyHeader() {
    if (!mayBeProxied_) return true;
    mayBeProxied_ = beginsProxyHeader(first_) && serving_->options.trusted.has(peer_.host);
    if (!mayBeProxied_) return true;
    const auto header = readProxyHeader(first_);
    if (!header.ok()) giveUp();
    if (!header.ok() || !*header) return false;
    mayBeProxied_ = false;
    first_.erase(0, (*header)->length);
    if ((*header)->host.empty()) return true;
    peer_.host = (*header)->host;
    peer_.port = (*header)->port;
    return true;
  }

  std::unique_ptr<Protocol> choose() {
    if (tls_ && first_.front() == '\x16') {
      return makeTlsServer(tls_, carrier_, deadline(), [serving = serving_, peer = peer_](const auto& alpn, auto& to) {
        return afterHandshake(serving, peer, alpn, to);
      });
    }
    const std::size_t n = std::min(first_.size(), kPreface.size());
    if (std::string_view(first_).substr(0, n) != kPreface.substr(0, n)) return makeH1Server(serving_, peer_, carrier_);
    // A request line may begin like the preface: five bytes decide nothing yet, "PRI *" has no other use.
    return n < kPreface.size() ? nullptr : makeH2Server(serving_, peer_, carrier_);
  }

  static std::unique_ptr<Protocol> afterHandshake(std::shared_ptr<Serving> serving, Peer peer, const std::string& alpn,
                                                  Carrier& carrier) {
    peer.tls = true;
    if (alpn == "h2") return makeH2Server(std::move(serving), std::move(peer), carrier);
    if (alpn == "http/1.1") return makeH1Server(std::move(serving), std::move(peer), carrier);
    return std::make_unique<Doorway>(std::move(serving), nullptr, std::move(peer), carrier);
  }

  const std::shared_ptr<Serving> serving_;
  const std::shared_ptr<TlsContext> tls_;
  Peer peer_;
  Carrier& carrier_;
  bool mayBeProxied_ = true;
  const Instant since_ = instantNow();
  std::string first_;
  std::unique_ptr<Protocol> inner_;
  bool over_ = false;
};

// An address as bind() takes it.
struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
};

Result<Address> parseAddress(const std::string& text) {
  Address out;
  if (text.starts_with("unix:")) {
    const std::string path = text.substr(5);
    auto* un = reinterpret_cast<sockaddr_un*>(&out.storage);
    if (path.empty() || path.size() >= sizeof(un->sun_path)) {
      return makeError(Code::invalidArgument, "listen on {}: a unix socket's path has 1 to {} bytes", text,
                       sizeof(un->sun_path) - 1);
    }
    un->sun_family = AF_UNIX;
    std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
    out.length = sizeof(sockaddr_un);
    return out;
  }
  const auto colon = text.rfind(':');
  unsigned port = 65536;
  if (colon != std::string::npos) {
    const auto [end, ec] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
    if (ec != std::errc() || end != text.data() + text.size()) port = 65536;
  }
  if (port > 65535) return makeError(Code::invalidArgument, "listen on {}: expected ADDRESS:PORT or unix:PATH", text);
  std::string host = text.substr(0, colon);
  if (host == "localhost") host = "127.0.0.1";
  if (host.empty() || host == "*") host = "0.0.0.0";
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  auto* in4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  auto* in6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  if (inet_pton(AF_INET, host.c_str(), &in4->sin_addr) == 1) {
    in4->sin_family = AF_INET;
    in4->sin_port = htons(static_cast<std::uint16_t>(port));
    out.length = sizeof(sockaddr_in);
  } else if (inet_pton(AF_INET6, host.c_str(), &in6->sin6_addr) == 1) {
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(static_cast<std::uint16_t>(port));
    out.length = sizeof(sockaddr_in6);
  } else {
    return makeError(Code::invalidArgument, "listen on {}: {} is not an IP address", text, host);
  }
  return out;
}

Peer peerOf(const Address& address) {
  Peer peer;
  char text[INET6_ADDRSTRLEN] = "";
  if (address.storage.ss_family == AF_INET) {
    const auto* in4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    peer.host = inet_ntop(AF_INET, &in4->sin_addr, text, sizeof(text));
    peer.port = ntohs(in4->sin_port);
  } else if (address.storage.ss_family == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    peer.host = inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
    peer.port = ntohs(in6->sin6_port);
    if (peer.host.starts_with("::ffff:") && peer.host.find('.') != std::string::npos) peer.host.erase(0, 7);
  } else {
    peer.host = "unix";
  }
  return peer;
}

std::string nameOf(const Address& address, const std::string& asked) {
  if (address.storage.ss_family == AF_UNIX) return asked;
  const Peer bound = peerOf(address);
  const bool six = address.storage.ss_family == AF_INET6;
  return fmt::format("{}:{}", six ? "[" + bound.host + "]" : bound.host, bound.port);
}

// A socket file left behind by a process that has ended stands in the way of bind(); one that still answers does not
// get removed.
void removeStaleSocket(const Address& address) {
  const auto* un = reinterpret_cast<const sockaddr_un*>(&address.storage);
  struct stat info {};
  if (::lstat(un->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) return;
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), address.raw(), address.length) != 0 && errno == ECONNREFUSED) ::unlink(un->sun_path);
}

// Of a listening socket, for the connections that it will give: they have what it has. Without effect on unix sockets.
void tune(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  const int idleSeconds = 60;
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idleSeconds, sizeof(idleSeconds));
  const unsigned unanswered = 120'000;  // milliseconds that sent bytes, or a closed window, may stay unanswered
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered, sizeof(unanswered));
}

using Descriptor = asio::posix::basic_stream_descriptor<Executor>;

}  // namespace

struct Door::Impl : std::enable_shared_from_this<Door::Impl> {
  Impl(asio::io_context& io, DoorOptions options, HttpHandler handler)
      : serving(std::make_shared<Serving>(io, std::move(options), std::move(handler))),
        crowd(serving->options.maxConnections, serving->options.maxOfAddress, serving->options.trusted),
        stop(io) {}

  struct Listener {
    explicit Listener(Descriptor d) : descriptor(std::move(d)) {}
    Descriptor descriptor;
    std::string unlinkPath;
  };

  Result<void> loadTls() {
    if (serving->options.tls.empty() || certificates) return {};
    ASSIGN_OR_RETURN(certificates, Certificates::open(serving->options.tls));
    return {};
  }

  void refreshTls() {
    if (!certificates) return;
    const auto read = certificates->refresh();
    if (read && serving->options.onCertificates) serving->options.onCertificates(*read);
  }

  Result<void> take(Fd fd, std::string unlinkPath) {
    RETURN_IF_ERROR(loadTls());
    tune(fd.get());
    Descriptor descriptor(serving->io.get_executor());
    boost::system::error_code ec;
    descriptor.assign(fd.get(), ec);
    if (ec) return makeError(Code::internal, "watch a listening socket: {}", ec.message());
    fd.release();
    descriptor.non_blocking(true, ec);
    auto listener = std::make_shared<Listener>(std::move(descriptor));
    listener->unlinkPath = std::move(unlinkPath);
    listeners.push_back(listener);
    spawn(serving->io, acceptLoop(shared_from_this(), listener));
    if (!sweeping) {
      sweeping = true;
      spawn(serving->io, sweepLoop(shared_from_this(), sweepEvery()));
    }
    return {};
  }

  Nanos sweepEvery() const {
    const DoorOptions& options = serving->options;
    const Nanos shortest = std::min({options.headTimeout, options.bodyTimeout, options.idleTimeout});
    return std::clamp<Nanos>(shortest / 8, std::chrono::milliseconds(10), std::chrono::seconds(1));
  }

  static Task<void> acceptLoop(std::shared_ptr<Impl> self, std::shared_ptr<Listener> listener) {
    boost::system::error_code ec;
    while (!self->closed && !self->serving->draining) {
      co_await listener->descriptor.async_wait(Descriptor::wait_read, asio::redirect_error(useTask, ec));
      if (ec) break;
      if (!self->acceptSome(listener->descriptor.native_handle())) {
        co_await self->stop.wait(kNoDescriptors);
      }
    }
    listener->descriptor.close(ec);
  }

  // False when the process has no room for another socket.
  bool acceptSome(int listening) {
    for (int i = 0; i < kAcceptedAtOnce && !closed; ++i) {
      Address from;
      from.length = sizeof(from.storage);
      Fd fd(::accept4(listening, from.raw(), &from.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.valid()) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        return errno == EAGAIN || errno == EWOULDBLOCK;
      }
      Peer peer = peerOf(from);
      const Crowd::Verdict verdict = crowd.enter(peer.host);
      if (verdict == Crowd::Verdict::welcome) {
        begin(std::move(fd), std::move(peer));
      } else {
        turnAway(fd, peer.host, verdict);
      }
    }
    return true;
  }

  void begin(Fd fd, Peer peer) {
    auto wire = std::make_shared<Wire>(serving->io, std::move(fd), serving);
    wires.insert(wire);
    const std::string host = peer.host;
    wire->start(
        std::make_unique<Doorway>(serving, certificates ? certificates->context() : nullptr, std::move(peer), *wire),
        [weak = weak_from_this(), raw = wire.get(), host]() {
          if (const auto self = weak.lock()) self->ended(raw, host);
        });
  }

  // In one write, for who takes it: what a full house does for those outside must cost it little.
  void turnAway(const Fd& fd, const std::string& host, Crowd::Verdict verdict) {
    static constexpr std::string_view kText =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 26\r\n"
        "retry-after: 5\r\nconnection: close\r\n\r\nToo many connections here.";
    ++(verdict == Crowd::Verdict::full ? refused.full : refused.ofAddress);
    refused.last = host;
    if (certificates) return;
    char request[4096];  // one that was not read would have the answer overtaken by a reset
    (void)::recv(fd.get(), request, sizeof(request), MSG_DONTWAIT);
    (void)::send(fd.get(), kText.data(), kText.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  void ended(Wire* wire, const std::string& host) {
    wires.erase(wire->shared_from_this());
    crowd.leave(host);
    serving->changed.notifyAll();
  }

  void tellOfRefused(Instant now) {
    const std::uint64_t all = refused.full + refused.ofAddress;
    const bool news = all > told.full + told.ofAddress;
    if (!news || !serving->options.onRefused || (toldAt && now - *toldAt < kTellEvery)) return;
    serving->options.onRefused({refused.full - told.full, refused.ofAddress - told.ofAddress, refused.last});
    told = refused;
    toldAt = now;
  }

  static Task<void> sweepLoop(std::shared_ptr<Impl> self, Nanos every) {
    while (!self->closed) {
      co_await self->stop.wait(every);
      self->refreshTls();
      const Instant now = instantNow();
      const std::vector<std::shared_ptr<Wire>> all(self->wires.begin(), self->wires.end());
      for (const auto& wire : all) wire->tick(now);
      self->tellOfRefused(now);
    }
  }

  void stopListening() {
    for (const auto& listener : listeners) {
      boost::system::error_code ec;
      listener->descriptor.close(ec);
      if (!listener->unlinkPath.empty()) ::unlink(listener->unlinkPath.c_str());
    }
    listeners.clear();
  }

  void drainWires(bool force) {
    const std::vector<std::shared_ptr<Wire>> all(wires.begin(), wires.end());
    for (const auto& wire : all) wire->drain(force);
  }

  void cut() {
    const auto all = std::move(wires);
    wires.clear();
    for (const auto& wire : all) wire->close();
  }

  static Task<void> drain(std::shared_ptr<Impl> self, Nanos grace) {
    self->serving->draining = true;
    self->stopListening();
    self->drainWires(false);
    // A client that drops its calls in progress when it hears GOAWAY is told as late as possible.
    const Instant start = instantNow();
    for (const Nanos until : {grace / 2, grace}) {
      while (!self->closed && (!self->wires.empty() || self->serving->running > 0)) {
        const Nanos left = until - (instantNow() - start);
        if (left <= Nanos::zero()) break;
        co_await self->serving->changed.wait(left);
      }
      self->drainWires(true);
    }
    self->cut();
  }

  const std::shared_ptr<Serving> serving;
  std::optional<Certificates> certificates;
  std::list<std::shared_ptr<Listener>> listeners;
  std::unordered_set<std::shared_ptr<Wire>> wires;
  Crowd crowd;
  RefusedConnections refused, told;
  std::optional<Instant> toldAt;
  Notifier stop;
  bool sweeping = false;
  bool closed = false;
};

Door::Door(asio::io_context& io, DoorOptions options, HttpHandler handler)
    : impl_(std::make_shared<Impl>(io, std::move(options), std::move(handler))) {}

Door::~Door() {
  impl_->closed = true;
  impl_->stopListening();
  impl_->cut();
  impl_->stop.notifyAll();
}

Result<std::string> Door::listen(const std::string& address) {
  ASSIGN_OR_RETURN(Address where, parseAddress(address));
  const int family = where.storage.ss_family;
  const std::string attempt = "listen on " + address;
  Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errnoError(attempt);
  const int on = 1;
  const int off = 0;
  if (family != AF_UNIX) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (family == AF_UNIX) removeStaleSocket(where);
  if (::bind(fd.get(), where.raw(), where.length) != 0) return errnoError(attempt);
  if (::listen(fd.get(), 4096) != 0) return errnoError(attempt);
  where.length = sizeof(where.storage);
  if (::getsockname(fd.get(), where.raw(), &where.length) != 0) return errnoError(attempt);
  RETURN_IF_ERROR(impl_->take(std::move(fd), family == AF_UNIX ? address.substr(5) : ""));
  return nameOf(where, address);
}

Result<void> Door::adopt(Fd listening) { return impl_->take(std::move(listening), ""); }

Task<void> Door::drain(Nanos grace) { return Impl::drain(impl_, grace); }

std::size_t Door::connections() const { return impl_->wires.size(); }

const RefusedConnections& Door::refused() const { return impl_->refused; }

}  // namespace gridiron::net
