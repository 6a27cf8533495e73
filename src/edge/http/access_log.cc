#include "edge/http/access_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <vector>

namespace gridiron::edge {
namespace {

constexpr auto kAtTheEnd = std::chrono::seconds(1);

Result<Fd> openForLines(const std::string& where) {
  if (where == "-") {
    Fd out(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!out.valid()) return errnoError("the access log: standard output");
    return out;
  }
  Fd file(::open(where.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640));
  if (!file.valid()) return errnoError("the access log " + where);
  return file;
}

}  // namespace

Result<std::unique_ptr<AccessLog>> AccessLog::open(const std::string& where, std::size_t most) {
  ASSIGN_OR_RETURN(Fd fd, openForLines(where));
  return std::unique_ptr<AccessLog>(new AccessLog(where, std::move(fd), most));
}

AccessLog::AccessLog(std::string where, Fd fd, std::size_t most)
    : where_(std::move(where)), most_(most), fd_(std::move(fd)), thread_([this] { run(); }) {}

AccessLog::~AccessLog() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void AccessLog::write(std::string_view line) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + line.size() + 1 > most_) {
      ++dropped_;
      return;
    }
    waiting_.append(line).push_back('\n');
  }
  changed_.notify_one();
}

void AccessLog::reopen() {
  {
    const std::lock_guard lock(mutex_);
    reopen_ = true;
  }
  changed_.notify_one();
}

void AccessLog::run() {
  // Who reads standard output may have gone: that is an error of write() here, and no end of the grid.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  for (std::unique_lock lock(mutex_);;) {
    changed_.wait(lock, [this] { return !waiting_.empty() || reopen_ || ended_; });
    std::string bytes = std::exchange(waiting_, {});
    const std::uint64_t dropped = std::exchange(dropped_, 0);
    const bool anew = std::exchange(reopen_, false);
    if (bytes.empty() && !anew && ended_) return;
    lock.unlock();
    if (dropped > 0) bytes += fmt::format("{{\"dropped\":{}}}\n", dropped);
    put(bytes);
    if (anew) openAnew();
    lock.lock();
  }
}

// False: it is the end, and nobody takes the rest.
bool AccessLog::writable() {
  const auto since = std::chrono::steady_clock::now();
  for (;;) {
    pollfd out{fd_.get(), POLLOUT, 0};
    if (::poll(&out, 1, 100) > 0) return (out.revents & (POLLERR | POLLNVAL)) == 0;
    const std::lock_guard lock(mutex_);
    if (ended_ && std::chrono::steady_clock::now() - since > kAtTheEnd) return false;
  }
}

void AccessLog::put(const std::string& bytes) {
  // A pipe that has room at all has it for PIPE_BUF bytes.
  for (std::size_t at = 0; at < bytes.size();) {
    if (!writable()) return;
    const ssize_t wrote = ::write(fd_.get(), bytes.data() + at, std::min<std::size_t>(PIPE_BUF, bytes.size() - at));
    if (wrote < 0 && errno != EINTR && errno != EAGAIN) {
      spdlog::error("{}: {} bytes of it are lost", errnoError("write the access log " + where_).message,
                    bytes.size() - at);
      return;
    }
    at += wrote < 0 ? 0 : static_cast<std::size_t>(wrote);
  }
}

void AccessLog::openAnew() {
  Result<Fd> fresh = openForLines(where_);
  if (!fresh.ok()) {
    spdlog::error("{}: the file that is open goes on", fresh.error().message);
    return;
  }
  fd_ = std::move(*fresh);
}

}  // namespace gridiron::edge
