#include "worker/uplink.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace gridiron::worker {

using namespace std::chrono_literals;

namespace {
constexpr std::size_t kRoomBytes = 4u << 20;      // queued output above which readers wait
constexpr std::size_t kDroppedBytes = 16u << 20;  // queued output above which lines are dropped
constexpr Nanos kBeat = 3s;
constexpr Nanos kSilence = 10s;
constexpr Nanos kFirstPause = 20ms;
constexpr Nanos kLongestPause = 3s;
constexpr const char* kSession = "/gridiron.link.Link/Session";
}  // namespace

struct Uplink::Impl : std::enable_shared_from_this<Uplink::Impl> {
  struct Queued {
    link::FromWorker message;
    std::size_t outputBytes = 0;
  };
  using Call = std::shared_ptr<net::GrpcClientCall>;

  Impl(asio::io_context& context, net::GrpcChannel& way, net::Headers who, Hooks what)
      : io(context),
        channel(way),
        credentials(std::move(who)),
        hooks(std::move(what)),
        changed(context),
        stopped(context) {}

  asio::io_context& io;
  net::GrpcChannel& channel;
  net::Headers credentials;
  Hooks hooks;
  Notifier changed;  // queue or connection
  Notifier stopped;
  std::deque<Queued> queue;
  std::size_t queuedOutput = 0;
  std::uint64_t accepted = 0, written = 0, dropped = 0;
  Call call;  // of the present session
  bool up = false, leaving = false, stopping = false;
  Nanos pause = kFirstPause;
  std::chrono::steady_clock::time_point heard;

  // Writes what is queued to `mine` as long as it is the present session.
  static Task<void> write(std::shared_ptr<Impl> self, Call mine) {
    while (self->call == mine) {
      if (self->queue.empty()) {
        co_await self->changed.wait(1h);
        continue;
      }
      std::string bytes = self->queue.front().message.SerializeAsString();
      self->queuedOutput -= self->queue.front().outputBytes;
      self->queue.pop_front();
      Result<void> sent = co_await mine->write(std::move(bytes));
      ++self->written;
      self->changed.notifyAll();
      if (!sent.ok()) {
        spdlog::debug("link: {}", sent.error().message);
        mine->cancel();
        co_return;
      }
    }
  }

  static Task<void> beat(std::shared_ptr<Impl> self, Call mine) {
    while (self->call == mine) {
      co_await self->stopped.wait(kBeat);
      if (self->call != mine) co_return;
      if (std::chrono::steady_clock::now() - self->heard > kSilence) {
        spdlog::warn("link: control has been silent for too long, connecting again");
        mine->cancel();
        co_return;
      }
      link::FromWorker message;
      message.mutable_beat();
      self->enqueue(std::move(message), 0);
    }
  }

  void enqueue(link::FromWorker message, std::size_t outputBytes) {
    if (leaving) return;
    ++accepted;
    queuedOutput += outputBytes;
    queue.push_back(Queued{std::move(message), outputBytes});
    changed.notifyAll();
  }

  void ended() {
    call = nullptr;
    up = false;
    changed.notifyAll();
  }
};

Uplink::Uplink(asio::io_context& io, net::GrpcChannel& channel, net::Headers credentials, Hooks hooks)
    : impl_(std::make_shared<Impl>(io, channel, std::move(credentials), std::move(hooks))) {}

Uplink::~Uplink() { stop(); }

// Control ends the call when it has read our last message. A mere cancel() could overtake what is still unread there.
Task<void> Uplink::leave(Nanos most) {
  const std::shared_ptr<Impl> self = impl_;
  const auto deadline = std::chrono::steady_clock::now() + most;
  const auto left = [&] { return Nanos(deadline - std::chrono::steady_clock::now()); };
  const std::uint64_t target = self->accepted;
  self->leaving = true;
  const Impl::Call mine = self->call;
  while (mine && self->call == mine && self->written < target && left() > 0ns) co_await self->changed.wait(left());
  if (mine && self->call == mine) {
    Result<void> done = co_await mine->writesDone();
    while (done.ok() && self->call == mine && left() > 0ns) co_await self->changed.wait(left());
  }
  stop();
}

void Uplink::stop() {
  impl_->stopping = true;
  if (impl_->call) impl_->call->cancel();
  impl_->ended();
  impl_->stopped.notifyAll();
}

bool Uplink::connected() const { return impl_->up; }

namespace {

// The first message that goes up on a session.
Task<Result<std::shared_ptr<net::GrpcClientCall>>> openSession(net::GrpcChannel& channel, net::Headers credentials,
                                                               link::WorkerHello hello) {
  const std::string path = kSession;
  Result<std::shared_ptr<net::GrpcClientCall>> opened =
      co_await channel.open(path, std::move(credentials), std::nullopt);
  if (!opened.ok()) co_return opened.error();
  link::FromWorker first;
  *first.mutable_hello() = std::move(hello);
  std::string bytes = first.SerializeAsString();
  Result<void> sent = co_await (*opened)->write(std::move(bytes));
  if (!sent.ok()) co_return sent.error();
  co_return std::move(*opened);
}

Nanos jittered(Nanos pause) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return std::chrono::duration_cast<Nanos>(pause * std::uniform_real_distribution<double>(0.5, 1.0)(random));
}

}  // namespace

Task<void> Uplink::run() {
  const std::shared_ptr<Impl> self = impl_;
  while (!self->stopping) {
    net::Headers credentials = self->credentials;
    link::WorkerHello hello = self->hooks.hello();
    Result<Impl::Call> opened = co_await openSession(self->channel, std::move(credentials), std::move(hello));
    std::string why;
    if (opened.ok() && !self->stopping) {
      const Impl::Call mine = *opened;
      self->call = mine;
      self->heard = std::chrono::steady_clock::now();
      spawn(self->io, Impl::write(self, mine));
      spawn(self->io, Impl::beat(self, mine));
      for (;;) {
        Result<std::optional<std::string>> message = co_await mine->read();
        if (!message.ok()) why = message.error().message;
        if (message.ok() && !message->has_value()) why = mine->status().message;
        if (!message.ok() || !message->has_value() || self->stopping) break;
        self->heard = std::chrono::steady_clock::now();
        self->up = true;
        self->pause = kFirstPause;
        link::ToWorker command;
        if (!command.ParseFromString(**message)) {
          why = "control sent something that is no command";
          break;
        }
        if (!command.has_beat()) self->hooks.command(std::move(command));
      }
      mine->cancel();
      self->ended();
    } else if (!opened.ok()) {
      why = opened.error().message;
    }
    if (self->stopping || self->leaving) co_return;
    spdlog::warn("link: no session with control: {}", why);
    co_await self->stopped.wait(jittered(self->pause));
    self->pause = std::min<Nanos>(self->pause * 2, kLongestPause);
  }
}

void Uplink::send(link::FromWorker message) {
  std::size_t bytes = 0;
  if (message.has_logs()) {
    link::LogLines& logs = *message.mutable_logs();
    for (const link::LogLine& line : logs.lines()) bytes += line.data().size() + 32;
    if (impl_->queuedOutput > kDroppedBytes) {
      impl_->dropped += static_cast<std::uint64_t>(logs.lines_size());
      return;
    }
    if (impl_->dropped > 0) {
      link::LogLine& note = *logs.add_lines();
      note.set_data(fmt::format("[{} lines of output were lost while control could not be reached]\n", impl_->dropped));
      note.set_file_descriptor(3);
      note.set_at_unix_nanos(logs.lines(0).at_unix_nanos());
      impl_->dropped = 0;
    }
  }
  impl_->enqueue(std::move(message), bytes);
}

Task<void> Uplink::flushed() {
  const std::shared_ptr<Impl> self = impl_;
  const std::uint64_t target = self->accepted;
  while (self->call && self->written < target) co_await self->changed.wait(1h);
}

Task<void> Uplink::room() {
  const std::shared_ptr<Impl> self = impl_;
  while (self->call && self->queuedOutput > kRoomBytes) co_await self->changed.wait(1h);
}

}  // namespace gridiron::worker
