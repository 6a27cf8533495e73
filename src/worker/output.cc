#include "worker/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <cerrno>
#include <chrono>

namespace gridiron::worker {

using namespace std::chrono_literals;

namespace {
constexpr auto kQuiet = 30ms;  // after which a line goes out without its newline
constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kLongestLine = 64 * 1024;
constexpr std::size_t kDrainBytes = 4u << 20;
using Descriptor = asio::posix::basic_stream_descriptor<Executor>;
}  // namespace

struct OutputPump::Impl : std::enable_shared_from_this<OutputPump::Impl> {
  struct Pipe {
    Pipe(asio::io_context& io, Fd fd, int kind, LineSplitter::Held held)
        : descriptor(io.get_executor(), fd.release()),
          quiet(io.get_executor()),
          splitter(kLongestLine, std::move(held)),
          number(kind) {}
    Descriptor descriptor;
    Timer quiet;
    LineSplitter splitter;
    int number;  // 1 or 2
    bool ended = false;
  };

  Impl(asio::io_context& context, Masker what, Hooks given)
      : io(context), masker(std::move(what)), hooks(std::move(given)), changed(context) {}

  asio::io_context& io;
  Masker masker;
  Hooks hooks;
  Notifier changed;  // a pipe ended
  std::vector<std::shared_ptr<Pipe>> pipes;

  void emit(Pipe& pipe, std::vector<std::string> texts) {
    std::vector<link::LogLine> lines;
    const auto now = SystemClock().now().time_since_epoch().count();
    for (std::string& text : texts) {
      if (text.empty()) continue;
      masker.mask(text);
      link::LogLine& line = lines.emplace_back();
      line.set_data(std::move(text));
      line.set_file_descriptor(pipe.number);
      line.set_at_unix_nanos(now);
    }
    if (!lines.empty()) hooks.lines(std::move(lines));
  }

  // Reads up to `most` bytes without waiting; marks the pipe's end.
  void take(Pipe& pipe, std::size_t most) {
    char buffer[kReadBytes];
    for (std::size_t total = 0; total < most && !pipe.ended;) {
      const ssize_t got = ::read(pipe.descriptor.native_handle(), buffer, sizeof buffer);
      if (got > 0) {
        total += static_cast<std::size_t>(got);
        emit(pipe, pipe.splitter.add(std::string_view(buffer, static_cast<std::size_t>(got))));
      } else if (got < 0 && errno == EINTR) {
        continue;
      } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return;
      } else {
        end(pipe);
      }
    }
  }

  void end(Pipe& pipe) {
    pipe.ended = true;
    pipe.quiet.cancel();
    emit(pipe, {pipe.splitter.finish()});
    changed.notifyAll();
  }

  void watchQuiet(const std::shared_ptr<Pipe>& pipe) {
    if (!pipe->splitter.hasPartial() || pipe->ended) {
      pipe->quiet.cancel();
      return;
    }
    pipe->quiet.expires_after(kQuiet);
    pipe->quiet.async_wait([self = weak_from_this(), pipe](const boost::system::error_code& failed) {
      if (const auto here = self.lock(); here && !failed) here->emit(*pipe, {pipe->splitter.takePartial()});
    });
  }

  static Task<void> pump(std::shared_ptr<Impl> self, std::shared_ptr<Pipe> pipe) {
    while (!pipe->ended) {
      boost::system::error_code failed;
      co_await pipe->descriptor.async_wait(Descriptor::wait_read, asio::redirect_error(useTask, failed));
      if (failed) {
        if (!pipe->ended) self->end(*pipe);
        co_return;
      }
      self->take(*pipe, kReadBytes);
      self->watchQuiet(pipe);
      co_await self->hooks.room();
    }
  }

  void add(Fd fd, int number) {
    if (!fd.valid()) return;
    ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
    const auto pipe = std::make_shared<Pipe>(io, std::move(fd), number,
                                             [this](std::string_view text) { return masker.unfinished(text); });
    pipes.push_back(pipe);
    spawn(io, pump(shared_from_this(), pipe));
  }

  bool allEnded() const {
    for (const auto& pipe : pipes) {
      if (!pipe->ended) return false;
    }
    return true;
  }
};

OutputPump::OutputPump(asio::io_context& io, Masker masker, Hooks hooks)
    : impl_(std::make_shared<Impl>(io, std::move(masker), std::move(hooks))) {}

OutputPump::~OutputPump() {
  for (const auto& pipe : impl_->pipes) {
    pipe->ended = true;
    pipe->quiet.cancel();
    boost::system::error_code ignored;
    pipe->descriptor.close(ignored);
  }
}

void OutputPump::start(Fd standardOutput, Fd standardError) {
  impl_->add(std::move(standardOutput), 1);
  impl_->add(std::move(standardError), 2);
}

void OutputPump::drain() {
  for (const auto& pipe : impl_->pipes) {
    if (pipe->ended) continue;
    impl_->take(*pipe, kDrainBytes);
    if (!pipe->ended) impl_->emit(*pipe, {pipe->splitter.takePartial()});
  }
}

Task<void> OutputPump::ended(Nanos timeout) {
  const std::shared_ptr<Impl> self = impl_;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!self->allEnded()) {
    const Nanos left = deadline - std::chrono::steady_clock::now();
    if (left <= Nanos::zero()) break;
    co_await self->changed.wait(left);
  }
  for (const auto& pipe : self->pipes) {
    if (pipe->ended) continue;
    self->take(*pipe, kDrainBytes);
    if (!pipe->ended) self->end(*pipe);
    boost::system::error_code ignored;
    pipe->descriptor.close(ignored);
  }
}

}  // namespace gridiron::worker
