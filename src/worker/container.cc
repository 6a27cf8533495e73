#include "worker/container.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <chrono>

#include "net/door.h"
#include "wire/link.h"
#include "worker/imports.h"
#include "worker/offload.h"
#include "worker/output.h"
#include "worker/ports.h"

namespace gridiron::worker {

using namespace std::chrono_literals;

namespace {

constexpr Nanos kLastOutput = 2s;  // how long the pipes may stay open after the end of the main process
constexpr Nanos kSettling = 1s;    // for the first input
constexpr int kSystem = 3;         // the file descriptor of our own lines
constexpr const char* kHello = "/modal.client.ModalClient/ContainerHello";
constexpr const char* kGetInputs = "/modal.client.ModalClient/FunctionGetInputs";
constexpr const char* kHeartbeat = "/modal.client.ModalClient/ContainerHeartbeat";
constexpr const char* kCheckpoint = "/modal.client.ModalClient/ContainerCheckpoint";
constexpr Nanos kFarewell = 5s;    // for the client to close its connections before it is kept
constexpr Nanos kFirstWord = 10s;  // for the client to speak again when it goes on from a snapshot
constexpr Nanos kLook = 5ms;
constexpr const char* kPutOutputs = "/modal.client.ModalClient/FunctionPutOutputs";
using Descriptor = asio::posix::basic_stream_descriptor<Executor>;

std::int64_t unixNanos() { return SystemClock().now().time_since_epoch().count(); }

Masker maskerOf(const link::StartInstance& order) {
  std::vector<std::string> values;
  for (const link::Variable& secret : order.secrets()) values.push_back(secret.value());
  return Masker(values);
}

}  // namespace

struct Container::Impl : std::enable_shared_from_this<Container::Impl> {
  Impl(const ContainerSetting& shared, std::shared_ptr<const link::StartInstance> given)
      : setting(shared), given(std::move(given)), order(*this->given), settling(shared.io), silence(shared.io) {}

  const ContainerSetting& setting;
  const std::shared_ptr<const link::StartInstance> given;
  const link::StartInstance& order;
  Steps steps;
  std::shared_ptr<sandbox::Sandbox> sandbox;
  std::unique_ptr<net::Door> door;
  std::optional<Ports> ports;
  std::shared_ptr<OutputPump> output;
  std::shared_ptr<const Parking::Shape> shape;  // until zygotes have learnt from it
  Fd importsEnd;                                // as long
  Imports imports;
  std::string name;  // of its files
  bool waited = false;
  Timer settling;
  bool killed = false, running = false;
  std::vector<std::string> mounts;
  std::shared_ptr<const Snapshots::Kept> kept;  // what it goes on from
  std::unique_ptr<Snapshots::Making> making;    // what is to be made of it
  Timer silence;                                // of one that goes on
  bool heard = false, signalled = false, keeping = false;

  void sendLines(std::vector<link::LogLine> lines) {
    link::FromWorker message;
    link::LogLines& logs = *message.mutable_logs();
    logs.set_task_id(order.task_id());
    for (link::LogLine& line : lines) *logs.add_lines() = std::move(line);
    setting.send(std::move(message));
  }

  void say(const std::string& text) {
    link::LogLine line;
    line.set_data(text.ends_with('\n') ? text : text + "\n");
    line.set_file_descriptor(kSystem);
    line.set_at_unix_nanos(unixNanos());
    sendLines({std::move(line)});
  }

  static Task<Result<std::vector<std::string>>> layMounts(std::shared_ptr<Impl> self) {
    std::vector<std::string> directories;  // topmost first: the last mount wins
    const auto begun = std::chrono::steady_clock::now();
    for (const link::Mount& mount : self->order.mounts()) {
      if (mount.files().empty()) continue;
      Result<std::string> laid = co_await self->setting.mounts.layout(mount);
      if (!laid.ok()) co_return laid.error();
      directories.insert(directories.begin(), *laid);
    }
    self->steps.add("mounts", std::chrono::steady_clock::now() - begun);
    co_return directories;
  }

  static Task<Result<void>> start(std::shared_ptr<Impl> self) {
    Result<std::vector<std::string>> mounts = co_await layMounts(self);
    if (!mounts.ok()) co_return mounts.error();
    if (self->killed) co_return makeError(Code::cancelled, "stopped before it was started");
    self->mounts = std::move(*mounts);
    Result<void> begun = co_await begin(self, UseSnapshots::yes);
    co_return begun;
  }

  static Task<Result<void>> begin(std::shared_ptr<Impl> self, UseSnapshots use) {
    // The pool's thread talks to the loop only by posting.
    const auto log = [self](std::string_view text) {
      asio::post(self->setting.io, [self, said = std::string(text)] { self->say(said); });
    };
    auto work = [self, log, use] {
      return startContainer(self->setting.start, self->order, self->mounts, self->steps, log, use);
    };
    Result<Started> started = co_await offload(self->setting.io, self->setting.pool, std::move(work));
    if (!started.ok()) co_return started.error();
    self->kept = std::move(started->kept);
    self->making = std::move(started->making);
    self->sandbox = std::move(started->sandbox);
    self->shape = std::move(started->shape);
    self->name = std::move(started->name);
    self->importsEnd = std::move(started->imports);
    if (self->killed) self->sandbox->kill();
    Result<void> opened = started->ports ? self->openPorts() : Result<void>{};
    if (opened.ok()) opened = self->openDoor(std::move(started->listener));
    self->openOutput();
    self->running = opened.ok();
    if (!opened.ok()) self->sandbox->kill();
    if (self->kept) self->awaitWord();
    co_return opened;
  }

  // Before the door: who is told by that one that the container is ready looks for them.
  Result<void> openPorts() {
    const auto inside = [box = std::weak_ptr<sandbox::Sandbox>(sandbox)]() -> Result<Fd> {
      if (const auto here = box.lock()) return here->socketInside();
      return makeError(Code::unavailable, "the container is gone");
    };
    ports.emplace(setting.io, inside);
    return ports->listen(containerDirectory(setting.start, name));
  }

  Result<void> openDoor(Fd listener) {
    // A connection of its own: one container's unread answers or many streams do not hold up another's. What must come
    // after its output goes the way the output goes.
    const auto own = std::make_shared<net::GrpcChannel>(setting.io, setting.controlUrl, setting.caFile);
    const auto channelFor = [own, &shared = setting.channel](const std::string& path) -> net::GrpcChannel& {
      return path == kPutOutputs ? shared : *own;
    };
    const auto relay = std::make_shared<Relay>(
        Relay{setting.io, channelFor, setting.controlUrl, setting.caFile, setting.credentials, nullptr});
    relay->credentials.add("x-gridiron-task", order.task_id());
    relay->before = [weak = weak_from_this()](const std::string& path) { return beforeCall(weak, path); };
    door = std::make_unique<net::Door>(
        setting.io, net::DoorOptions{},
        [relay](std::shared_ptr<net::Exchange> exchange) { return relayExchange(relay, std::move(exchange)); });
    return door->adopt(std::move(listener));
  }

  // What was printed before an output is given must be with control before it, to be counted to the right input.
  static Task<void> beforeCall(std::weak_ptr<Impl> weak, std::string path) {
    const std::shared_ptr<Impl> self = weak.lock();
    if (self) self->speaks(path);
    if (self && path == kHello) self->greets();
    if (self && path == kGetInputs) self->waits();
    if (!self || path != kPutOutputs || !self->output) co_return;
    self->output->drain();
    co_await self->setting.flushed();
  }

  // --- memory snapshots ---

  // What went on from a snapshot and says nothing is taken for broken.
  void awaitWord() {
    silence.expires_after(kFirstWord);
    silence.async_wait([weak = weak_from_this()](const boost::system::error_code& failed) {
      const auto self = weak.lock();
      if (self && !failed && self->running && !self->heard) self->sandbox->kill();
    });
  }

  void speaks(const std::string& path) {
    if (kept) silence.cancel();
    if (kept && path != kHeartbeat && !std::exchange(heard, true)) setting.start.snapshots->worked(kept->name());
    if (path == kCheckpoint && making && !std::exchange(keeping, true)) spawn(setting.io, keep(shared_from_this()));
  }

  // It has said that it can be kept, closes its connections and waits: until it is told to go on, whatever came of it.
  static Task<void> keep(std::shared_ptr<Impl> self) {
    std::unique_ptr<Snapshots::Making> making = std::move(self->making);
    Timer timer(self->setting.io.get_executor());
    const auto deadline = std::chrono::steady_clock::now() + kFarewell;
    while (self->door && self->door->connections() > 0 && std::chrono::steady_clock::now() < deadline) {
      timer.expires_after(kLook);
      co_await timer.async_wait(useTask);
    }
    const Snapshots::Name name = making->name();
    const auto log = [self](const std::string& text) {
      asio::post(self->setting.io, [self, text] { self->say(text); });
    };
    auto work = [self, name, log, made = std::make_shared<std::unique_ptr<Snapshots::Making>>(std::move(making))] {
      const StartSetting& start = self->setting.start;
      Result<void> kept = makeSnapshot(start, *self->sandbox, **made);
      Result<void> told = letGoOn(start, self->order.task_id());
      if (!told.ok()) spdlog::warn("{}: {}", self->order.task_id(), told.error().message);
      if (kept.ok()) kept = start.snapshots->keep(std::move(*made));
      if (kept.ok()) return kept;
      spdlog::warn("{}: no memory snapshot of it: {}", self->order.task_id(), kept.error().message);
      if (const auto retired = start.snapshots->failed(name, kept.error().message)) log(*retired);
      return kept;
    };
    Result<void> kept = co_await offload(self->setting.io, self->setting.pool, std::move(work));
    if (kept.ok()) spdlog::info("{}: a memory snapshot was made of it", self->order.task_id());
    self->keeping = false;
  }

  // It went on from a snapshot and ended before it said a word: it is started as if there were none.
  static Task<bool> startAgain(std::shared_ptr<Impl> self) {
    const std::shared_ptr<sandbox::Sandbox> sandbox = self->sandbox;
    self->running = false;
    auto clear = [self, sandbox, kept = std::exchange(self->kept, nullptr)]() -> Result<std::string> {
      const sandbox::Exit exit = sandbox->wait();
      const std::string why = fmt::format("it ended with {} before it asked the grid for anything", exit.code);
      spdlog::warn("{}: not from its memory snapshot: {}", self->order.task_id(), why);
      const auto retired = self->setting.start.snapshots->failed(kept->name(), why);
      RETURN_IF_ERROR(sandbox->remove());
      removeContainerFiles(self->setting.start, self->name);
      return retired.value_or("");
    };
    co_await self->output->ended(kLastOutput);
    self->ports.reset();
    co_await self->door->drain(0ns);
    self->door.reset();
    Result<std::string> cleared = co_await offload(self->setting.io, self->setting.pool, std::move(clear));
    if (!cleared.ok()) co_return false;
    if (!cleared->empty()) self->say(*cleared);
    self->sandbox.reset();
    Result<void> begun = co_await begin(self, UseSnapshots::no);
    co_return begun.ok();
  }

  // The first time it has been started for good; the second time its first input is done with. A zygote that is begun
  // for the next ones keeps a processor busy, so the first input is left alone, unless none comes soon.
  void waits() {
    if (!shape) return;
    if (std::exchange(waited, true)) return teach();
    readImports();
    tellImports();
    settling.expires_after(kSettling);
    settling.async_wait([weak = weak_from_this()](const boost::system::error_code& failed) {
      const auto self = weak.lock();
      if (self && !failed) self->teach();
    });
  }

  void greets() {
    readImports();
    imports.hello();
  }

  void readImports() {
    char buffer[16 * 1024];
    bool more = importsEnd.valid();
    for (ssize_t got; more && (got = ::read(importsEnd.get(), buffer, sizeof buffer)) > 0;)
      more = imports.add({buffer, static_cast<std::size_t>(got)});
  }

  void tellImports() {
    const auto parts = imports.parts(std::chrono::steady_clock::now().time_since_epoch());
    if (parts.empty()) return;
    link::FromWorker message;
    message.mutable_start_detail()->set_task_id(order.task_id());
    for (const sandbox::Phase& part : parts) {
      link::Phase& added = *message.mutable_start_detail()->add_phases();
      added.set_name(part.name);
      added.set_nanos(part.took.count());
    }
    setting.send(std::move(message));
  }

  // Zygotes may learn from it, and others like it be parked.
  void teach() {
    if (!shape || !waited || setting.start.zygotes == nullptr) return;
    readImports();
    importsEnd.reset();
    settling.cancel();
    const std::shared_ptr<const Parking::Shape> mine = std::exchange(shape, nullptr);
    setting.start.zygotes->ready(*mine->kind, imports.text());
    if (setting.start.parking != nullptr) setting.start.parking->started(*mine, order.function_id());
  }

  void openOutput() {
    OutputPump::Hooks hooks;
    hooks.lines = [self = weak_from_this()](std::vector<link::LogLine> lines) {
      if (const auto here = self.lock()) here->sendLines(std::move(lines));
    };
    hooks.room = setting.room;
    output = std::make_shared<OutputPump>(setting.io, maskerOf(order), std::move(hooks));
    output->start(sandbox->takeStdout(), sandbox->takeStderr());
  }

  static Task<void> awaitExit(std::shared_ptr<Impl> self) {
    // The sandbox owns its descriptor; ours refers to the same process.
    Descriptor exited(self->setting.io.get_executor(), ::fcntl(self->sandbox->exitFd(), F_DUPFD_CLOEXEC, 0));
    boost::system::error_code failed;
    co_await exited.async_wait(Descriptor::wait_read, asio::redirect_error(useTask, failed));
    if (failed) spdlog::error("{}: waiting for its end: {}", self->order.task_id(), failed.message());
  }

  static Task<sandbox::Exit> ended(std::shared_ptr<Impl> self) {
    co_await awaitExit(self);
    while (self->kept && !self->heard && !self->killed && !self->signalled) {
      const bool again = co_await startAgain(self);
      if (!again) co_return sandbox::Exit{1, 0, false};
      co_await awaitExit(self);
    }
    self->running = false;
    const std::shared_ptr<sandbox::Sandbox> sandbox = self->sandbox;
    auto wait = [sandbox] { return sandbox->wait(); };
    const sandbox::Exit exit = co_await offload(self->setting.io, self->setting.pool, std::move(wait));
    co_await self->output->ended(kLastOutput);
    co_return exit;
  }

  static Task<Result<link::ImageFacts>> commit(std::shared_ptr<Impl> self) {
    auto work = [self]() -> Result<image::Built> {
      // Mounts must be gone before the directory moves.
      RETURN_IF_ERROR(self->sandbox->remove());
      return self->setting.start.images->commit(self->order.commit_as_image_id(), self->order.image_id(),
                                                changesDirectory(self->setting.start, self->order.task_id()));
    };
    Result<image::Built> built = co_await offload(self->setting.io, self->setting.pool, std::move(work));
    if (!built.ok()) co_return built.error();
    co_return wire::toLink(*built);
  }

  static Task<void> remove(std::shared_ptr<Impl> self) {
    self->teach();
    self->ports.reset();
    self->silence.cancel();
    Timer timer(self->setting.io.get_executor());
    while (self->keeping) {  // it has ended, so that ends soon
      timer.expires_after(kLook);
      co_await timer.async_wait(useTask);
    }
    if (self->door) {
      co_await self->door->drain(0ns);
      self->door.reset();
    }
    auto work = [self]() -> Result<void> {
      Result<void> removed;
      if (self->sandbox) removed = self->sandbox->remove();
      self->sandbox.reset();
      removeContainerFiles(self->setting.start, self->name);
      return removed;
    };
    Result<void> removed = co_await offload(self->setting.io, self->setting.pool, std::move(work));
    if (!removed.ok()) spdlog::warn("{}: removing it: {}", self->order.task_id(), removed.error().message);
  }
};

Container::Container(const ContainerSetting& setting, std::shared_ptr<const link::StartInstance> order)
    : impl_(std::make_shared<Impl>(setting, std::move(order))) {}

Container::~Container() = default;

Task<Result<std::vector<sandbox::Phase>>> Container::start() {
  const std::shared_ptr<Impl> self = impl_;
  Result<void> started = co_await Impl::start(self);
  if (started.ok()) co_return self->steps.phases();
  spdlog::warn("{}: start: {}", self->order.task_id(), started.error().message);
  co_return started.error();
}

Task<sandbox::Exit> Container::ended() { return Impl::ended(impl_); }
Task<Result<link::ImageFacts>> Container::commit() { return Impl::commit(impl_); }
Task<void> Container::remove() { return Impl::remove(impl_); }

void Container::kill() {
  impl_->killed = true;
  if (impl_->running) impl_->sandbox->kill();
}

void Container::signal(int number) {
  impl_->signalled = true;
  if (!impl_->running) return;
  Result<void> sent = impl_->sandbox->signal(number);
  if (!sent.ok()) spdlog::warn("{}: signal {}: {}", impl_->order.task_id(), number, sent.error().message);
}

}  // namespace gridiron::worker
