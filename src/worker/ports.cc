#include "worker/ports.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "base/descriptors.h"

namespace gridiron::worker {
namespace {

using Descriptor = asio::posix::basic_stream_descriptor<Executor>;
constexpr int kBacklog = 1024;

}  // namespace

struct Ports::State {
  State(asio::io_context& io, std::function<Result<Fd>()> make)
      : listener(io.get_executor()), socketInside(std::move(make)) {}

  Descriptor listener;
  const std::function<Result<Fd>()> socketInside;

  void acceptAll() {
    for (;;) {
      const Fd peer(::accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!peer.valid()) return;
      const Result<Fd> socket = socketInside();
      const int inside = socket.ok() ? socket->get() : -1;
      if (socket.ok()) (void)sendDescriptors(peer.get(), 0, std::span(&inside, 1));  // who is gone gets none
      if (!socket.ok()) spdlog::warn("a socket inside a container: {}", socket.error().message);
    }
  }

  static Task<void> serve(std::shared_ptr<State> self) {
    for (;;) {
      boost::system::error_code failed;
      co_await self->listener.async_wait(Descriptor::wait_read, asio::redirect_error(useTask, failed));
      if (failed || !self->listener.is_open()) co_return;
      self->acceptAll();
    }
  }
};

Ports::Ports(asio::io_context& io, std::function<Result<Fd>()> socketInside)
    : state_(std::make_shared<State>(io, std::move(socketInside))) {}

Ports::~Ports() {
  boost::system::error_code ignored;
  state_->listener.close(ignored);
}

Result<void> Ports::listen(const std::string& folder) {
  const std::string attempt = "listen at " + folder + "/ports";
  const Fd place(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place.valid()) return errnoError(attempt);
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errnoError(attempt);
  sockaddr_un address{};  // folders may have longer names than it has room for
  address.sun_family = AF_UNIX;
  *fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/ports", place.get()).out = '\0';
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return errnoError(attempt);
  if (::listen(fd.get(), kBacklog) != 0) return errnoError(attempt);
  boost::system::error_code failed;
  state_->listener.assign(fd.get(), failed);
  if (failed) return makeError(Code::internal, "{}: {}", attempt, failed.message());
  fd.release();
  spawn(static_cast<asio::io_context&>(state_->listener.get_executor().context()), State::serve(state_));
  return {};
}

}  // namespace gridiron::worker
