#include "edge/http/ports.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstring>

#include "base/descriptors.h"
#include "edge/http/lane_socket.h"

namespace gridiron::edge {
namespace {

constexpr Nanos kPatience = std::chrono::seconds(5);
using Descriptor = asio::posix::basic_stream_descriptor<Executor>;

// Until `fd` can be read or written, or patience ends (false).
Task<bool> ready(asio::io_context& io, const Fd& fd, Descriptor::wait_type what) {
  const auto watched = std::make_shared<Descriptor>(io.get_executor(), fd.get());
  Timer late(io.get_executor());
  late.expires_after(kPatience);
  late.async_wait([watched](const boost::system::error_code& ended) {
    boost::system::error_code ignored;
    if (!ended && watched->is_open()) watched->cancel(ignored);
  });
  boost::system::error_code failed;
  co_await watched->async_wait(what, asio::redirect_error(useTask, failed));
  (void)watched->release();
  co_return !failed;
}

// Its own, inside the namespace that the socket is of.
in_addr ownAddress(const Fd& socket) {
  ifreq request{};
  std::strncpy(request.ifr_name, "eth0", sizeof request.ifr_name - 1);
  in_addr address{htonl(INADDR_LOOPBACK)};
  if (::ioctl(socket.get(), SIOCGIFADDR, &request) != 0) return address;
  sockaddr_in found{};
  std::memcpy(&found, &request.ifr_addr, sizeof found);
  return found.sin_addr;
}

Task<Result<void>> connectTo(asio::io_context& io, const Fd& socket, in_addr address, int port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr = address;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  const auto* where = reinterpret_cast<const sockaddr*>(&to);
  int failed = ::connect(socket.get(), where, sizeof to) == 0 ? 0 : errno;
  // Of a socket that was refused elsewhere before the first try only clears that.
  if (failed == ECONNABORTED) failed = ::connect(socket.get(), where, sizeof to) == 0 ? 0 : errno;
  if (failed == EINPROGRESS) {
    const bool done = co_await ready(io, socket, Descriptor::wait_write);
    socklen_t size = sizeof failed;
    (void)::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &failed, &size);
    if (!done) failed = ETIMEDOUT;
  }
  if (failed == 0) co_return Result<void>();
  if (failed == ECONNREFUSED) co_return makeError(Code::notFound, "nobody listens at port {}", port);
  co_return makeError(Code::unavailable, "connect to port {}: {}", port, std::strerror(failed));
}

}  // namespace

Task<Result<Fd>> dialInside(asio::io_context& io, std::string path, int port) {
  Result<Fd> worker = connectLocal(path);
  if (!worker.ok()) co_return Error{Code::unavailable, worker.error().message};
  const bool said = co_await ready(io, *worker, Descriptor::wait_read);
  if (!said) co_return makeError(Code::unavailable, "the worker gave no socket in time");
  Result<Fd> socket = receiveDescriptor(worker->get());
  if (!socket.ok()) co_return socket.error().within("the worker gave no socket");
  const in_addr own = ownAddress(*socket), loopback{htonl(INADDR_LOOPBACK)};
  Result<void> connected = co_await connectTo(io, *socket, own, port);
  if (!connected.ok() && own.s_addr != loopback.s_addr) connected = co_await connectTo(io, *socket, loopback, port);
  if (!connected.ok()) co_return connected.error();
  co_return std::move(*socket);
}

}  // namespace gridiron::edge
