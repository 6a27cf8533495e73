#include "edge/http/lane_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>

#include "base/fd.h"

namespace gridiron::edge {
namespace {

constexpr std::size_t kMostKept = 256 * 1024;
constexpr Nanos kLong = std::chrono::hours(24);

}  // namespace

Result<Fd> connectLocal(const std::string& path) {
  const Fd place(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (!place.valid() || ::fstat(place.get(), &status) != 0 || !S_ISSOCK(status.st_mode))
    return makeError(Code::notFound, "no socket at {}", path);
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errnoError("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  *fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}", place.get()).out = '\0';
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return errnoError("connect to " + path);
  return fd;
}

LaneSocket::LaneSocket(asio::io_context& io, int fd)
    : io_(io), socket_(io.get_executor(), asio::local::stream_protocol(), fd), drained_(io) {}

Result<std::shared_ptr<LaneSocket>> LaneSocket::connect(asio::io_context& io, const std::string& path) {
  ASSIGN_OR_RETURN(Fd fd, connectLocal(path));
  return std::shared_ptr<LaneSocket>(new LaneSocket(io, fd.release()));
}

Task<Result<LaneFrame>> LaneSocket::read() {
  const auto self = shared_from_this();
  for (;;) {
    Result<std::optional<LaneFrame>> frame = reader_.next();
    if (!frame.ok()) lost_ = true;
    if (!frame.ok()) co_return frame.error();
    if (frame->has_value()) co_return std::move(**frame);
    if (std::exchange(interrupted_, false)) co_return Error{Code::aborted, "interrupted"};
    if (lost_) co_return Error{Code::cancelled, "the connection to the app is lost"};
    const auto [at, size] = reader_.room();
    boost::system::error_code failed;
    const std::size_t got =
        co_await socket_.async_read_some(asio::buffer(at, size), asio::redirect_error(useTask, failed));
    reader_.got(got);
    if (failed && !(failed == asio::error::operation_aborted && interrupted_)) lost_ = true;
  }
}

void LaneSocket::interrupt() {
  interrupted_ = true;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

void LaneSocket::write(std::string bytes) {
  if (lost_) return;
  if (flushing_) {
    out_ += bytes;
    return;
  }
  const ssize_t sent = ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == static_cast<ssize_t>(bytes.size())) return;
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    lost_ = true;
    return;
  }
  out_ = sent > 0 ? bytes.substr(static_cast<std::size_t>(sent)) : std::move(bytes);
  flushing_ = true;
  spawn(io_, flush(shared_from_this()));
}

Task<void> LaneSocket::flush(std::shared_ptr<LaneSocket> self) {
  while (!self->out_.empty() && !self->lost_) {
    boost::system::error_code failed;
    co_await self->socket_.async_wait(Socket::wait_write, asio::redirect_error(useTask, failed));
    if (failed == asio::error::operation_aborted && self->socket_.is_open()) continue;  // read() was interrupted
    const ssize_t sent = failed ? -1
                                : ::send(self->socket_.native_handle(), self->out_.data(), self->out_.size(),
                                         MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) self->out_.erase(0, static_cast<std::size_t>(sent));
    if (failed || (sent < 0 && errno != EAGAIN && errno != EINTR)) self->lost_ = true;
    if (self->out_.size() <= kMostKept / 2) self->drained_.notifyAll();
  }
  self->flushing_ = false;
  self->drained_.notifyAll();
}

Task<bool> LaneSocket::drain() {
  const auto self = shared_from_this();
  while (!lost_ && out_.size() > kMostKept / 2) co_await drained_.wait(kLong);
  co_return !lost_;
}

bool LaneSocket::isQuiet() {
  if (lost_ || flushing_ || !reader_.empty()) return false;
  char byte = 0;
  return ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void LaneSocket::close() {
  lost_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
  drained_.notifyAll();
}

}  // namespace gridiron::edge
