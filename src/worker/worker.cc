#include "worker/worker.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "net/grpc.h"
#include "worker/agent.h"
#include "worker/builds.h"
#include "worker/container.h"
#include "worker/mounts.h"
#include "worker/snapshots.h"
#include "worker/uplink.h"
#include "worker/zygotes.h"

namespace gridiron::worker {

using namespace std::chrono_literals;

namespace {

constexpr Nanos kGoodbye = 2s;  // for control to read what is told last
constexpr Nanos kRest = 10min;  // between attempts to fetch criu
constexpr Nanos kTend = 2s;     // how often zygotes are looked at
constexpr const char* kFetchFile = "/gridiron.link.Link/FetchFile";

Options completed(Options options) {
  if (options.milliCpu == 0) options.milliCpu = ::sysconf(_SC_NPROCESSORS_ONLN) * 1000;
  if (options.memoryMb == 0) options.memoryMb = ::sysconf(_SC_PHYS_PAGES) / 1024 * ::sysconf(_SC_PAGESIZE) / 1024;
  if (options.host.empty()) {
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) == 0) options.host = name;
  }
  // Layers and binds are given to the kernel by name: relative ones would hang on the working directory.
  for (std::string* directory : {&options.dataDirectory, &options.cacheDirectory}) {
    *directory = std::filesystem::absolute(*directory).string();
  }
  return options;
}

net::Headers credentialsOf(const Options& options) {
  net::Headers credentials;
  credentials.add("x-gridiron-worker", options.workerId);
  credentials.add("x-gridiron-worker-secret", options.secret);
  return credentials;
}

// FetchFile into the file `path`.
Task<Result<void>> fetchFile(net::GrpcChannel& channel, net::Headers credentials, std::string sha256Hex,
                             std::string path) {
  const std::string method = kFetchFile;
  Result<std::shared_ptr<net::GrpcClientCall>> opened =
      co_await channel.open(method, std::move(credentials), std::nullopt);
  if (!opened.ok()) co_return opened.error();
  const std::shared_ptr<net::GrpcClientCall> call = *opened;
  link::FetchFileRequest request;
  request.set_sha256_hex(sha256Hex);
  std::string bytes = request.SerializeAsString();
  Result<void> sent = co_await call->write(std::move(bytes));
  if (sent.ok()) sent = co_await call->writesDone();
  if (!sent.ok()) co_return sent.error();
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  for (;;) {
    Result<std::optional<std::string>> message = co_await call->read();
    if (!message.ok()) co_return message.error();
    if (!message->has_value()) break;
    link::FileChunk chunk;
    if (!chunk.ParseFromString(**message)) co_return makeError(Code::dataLoss, "a chunk that is none");
    file.write(chunk.data().data(), static_cast<std::streamsize>(chunk.data().size()));
  }
  if (call->status().code != Code::ok) co_return Error{call->status().code, call->status().message};
  file.close();
  if (!file) co_return errnoError("write " + path);
  co_return Result<void>();
}

// The machine's time when it was made, going on evenly whatever is done to the machine's clock since.
class SteadyClock final : public Clock {
 public:
  Time now() const override { return begin_ + (std::chrono::steady_clock::now() - steady_); }

 private:
  const std::chrono::steady_clock::time_point steady_ = std::chrono::steady_clock::now();
  const Time begin_ = SystemClock().now();
};

// In [0.5, 1).
double jitter() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return std::uniform_real_distribution<double>(0.5, 1.0)(random);
}

link::WorkerHello selfOf(const Options& options) {
  link::WorkerHello self;
  self.set_worker_id(options.workerId);
  self.set_host(options.host);
  self.set_milli_cpu(options.milliCpu);
  self.set_memory_mb(options.memoryMb);
  for (const std::string& gpu : options.gpus) self.add_gpus(gpu);
  self.set_lanes(options.dataDirectory + "/containers");
  return self;
}

}  // namespace

// The hands of the agent.
struct Worker::Impl final : Hands, std::enable_shared_from_this<Worker::Impl> {
  Impl(asio::io_context& context, Options given, sandbox::Sandboxes& sandboxes, ImageShelf& shelf)
      : io(context),
        options(completed(std::move(given))),
        images(shelf),
        changed(context),
        startPool(static_cast<std::size_t>(std::max(1, options.startThreads))),
        buildPool(static_cast<std::size_t>(std::max(1, options.builds))),
        channel(context, options.controlUrl, options.caFile),
        mounts(context, startPool, options.cacheDirectory,
               [this](std::string sha256Hex, std::string path) {
                 return fetchFile(channel, credentialsOf(options), std::move(sha256Hex), std::move(path));
               }),
        uplink(context, channel, credentialsOf(options),
               {.hello = [this] { return agent.hello(); },
                .connected =
                    [this] {
                      told.reset();
                      tell([](Agent& a) { a.connected(); });
                    },
                .heard = [this](link::ToWorker command) { obey(std::move(command)); },
                .written = [this] { tell([](Agent& a) { a.link().written(); }); },
                .disconnected = [this] { tell([](Agent& a) { a.link().disconnected(); }); }}),
        builds(context, buildPool, images, mounts, sender()),
        zygotes(sandboxes, clock,
                {options.zygoteProgram, options.zygoteHelper, options.dataDirectory + "/zygotes",
                 options.zygoteMemoryBytes}),
        snapshots({options.dataDirectory + "/snapshots", options.snapshotProgram.empty() ? 0 : options.snapshotBytes,
                   [this] { return criuIsThere(); }}),
        setting{io,
                startPool,
                {&sandboxes, &images, options.dataDirectory, options.containerPort, &zygotes, &parking,
                 options.laneProgram, &snapshots, options.snapshotProgram, machineMarks() + options.criuRoot},
                mounts,
                sender(),
                [this] { return flushed(shared_from_this()); },
                [this] { return room(shared_from_this()); },
                channel,
                options.controlUrl,
                options.caFile,
                credentialsOf(options)},
        parking(zygotes, clock,
                {options.zygoteProgram.empty() ? 0 : options.zygoteMemoryBytes,
                 [this](const Parking::Shape& shape, std::shared_ptr<sandbox::Zygote> zygote) {
                   return parkContainer(setting.start, shape, std::move(zygote));
                 },
                 [this](Parking::Slot slot) { discardParked(setting.start, std::move(slot)); }}),
        agent(selfOf(options), *this, clock, jitter),
        due(context.get_executor()) {}

  asio::io_context& io;
  const Options options;
  ImageShelf& images;
  Notifier changed;  // the agent was told something
  asio::thread_pool startPool, buildPool;
  net::GrpcChannel channel;
  MountCache mounts;
  Uplink uplink;
  Builds builds;
  const SteadyClock clock;
  Zygotes zygotes;
  std::atomic<bool> fetching = false;  // of criu
  std::atomic<std::int64_t> criuAgainAt = 0;
  Snapshots snapshots;
  const ContainerSetting setting;
  Parking parking;
  std::map<std::string, std::shared_ptr<Container>> containers;
  Agent agent;
  Timer due;                                       // the agent's next deadline
  std::optional<std::vector<Zygotes::View>> told;  // to control, of zygotes, since the session began

  // The agent learns of something. Not a template: a lambda in one would be a new type of event each time, without end.
  void tell(const std::function<void(Agent&)>& event) {
    event(agent);
    changed.notifyAll();
    const std::optional<Time> next = agent.nextDeadline();
    if (!next) {
      due.cancel();
      return;
    }
    due.expires_after(*next - clock.now());
    due.async_wait([weak = weak_from_this()](const boost::system::error_code& failed) {
      const auto self = weak.lock();
      if (self && !failed) self->tell([](Agent& a) { a.tick(); });
    });
  }

  void obey(link::ToWorker command) {
    if (options.laneProgram.empty() && command.has_start() && command.start().lane()) {
      command.mutable_start()->set_lane(false);
      command.mutable_start()->set_ports(false);
    }
    if (command.has_welcome()) spdlog::info("worker {} is connected to {}", options.workerId, options.controlUrl);
    tell([&](Agent& a) { a.command(std::move(command)); });
  }

  // Called by starts. What is not there is fetched beside them, once in a while.
  bool criuIsThere() {
    if (::access((options.criuRoot + "/usr/sbin/criu").c_str(), X_OK) == 0) return true;
    if (!options.fetchCriu || std::chrono::steady_clock::now().time_since_epoch().count() < criuAgainAt) return false;
    if (fetching.exchange(true)) return false;
    spdlog::info("memory snapshots: criu is fetched from the Debian mirror; until it is there starts are plain");
    asio::post(buildPool, [self = shared_from_this()] {
      const Result<void> fetched = self->images.fetchCriu([](std::string_view) {});
      if (fetched.ok()) spdlog::info("memory snapshots: criu is there");
      if (!fetched.ok()) spdlog::warn("there are no memory snapshots: {}", fetched.error().message);
      self->criuAgainAt = std::chrono::steady_clock::now().time_since_epoch().count() + Nanos(kRest).count();
      self->fetching = false;
    });
    return false;
  }

  std::function<void(link::FromWorker)> sender() {
    return [this](link::FromWorker message) { agent.link().send(std::move(message)); };
  }

  static Task<void> flushed(std::shared_ptr<Impl> self) {
    const std::uint64_t mark = self->agent.link().mark();
    while (!self->agent.link().isFlushed(mark)) co_await self->changed.wait(1h);
  }

  static Task<void> room(std::shared_ptr<Impl> self) {
    while (!self->agent.link().hasRoom()) co_await self->changed.wait(1h);
  }

  // Looks after the zygotes, and tells control when they are others than before.
  void tend() {
    zygotes.tend();
    parking.tend();
    std::vector<Zygotes::View> all = zygotes.all();
    for (const Parking::View& parked : parking.all()) {
      for (Zygotes::View& view : all) {
        if (view.kind != parked.kind) continue;
        view.parked = parked.parked;
        view.parkedBytes = parked.bytes;
      }
    }
    if (told == all) return;
    link::FromWorker message;
    message.mutable_zygotes()->set_limit_bytes(options.zygoteProgram.empty() ? 0 : options.zygoteMemoryBytes);
    for (const Zygotes::View& view : all) {
      link::Zygotes::Zygote& one = *message.mutable_zygotes()->add_zygotes();
      one.set_image_id(view.imageId);
      one.set_client_version(view.clientVersion);
      one.set_memory_bytes(view.residentBytes);
      one.set_starts(view.starts);
      one.set_begun_at_unix_nanos(view.begunAt.time_since_epoch().count());
      one.set_parked(view.parked);
      one.set_parked_bytes(view.parkedBytes);
      one.mutable_left_out()->Add(view.leftOut.begin(), view.leftOut.end());
    }
    told = std::move(all);
    agent.link().send(std::move(message));
  }

  // --- Hands ---

  static Task<void> live(std::shared_ptr<Impl> self, std::string task, std::shared_ptr<Container> container) {
    Result<std::vector<sandbox::Phase>> started = co_await container->start();
    if (!started.ok()) co_return self->tell([&](Agent& a) { a.notStarted(task, started.error()); });
    self->tell([&](Agent& a) { a.started(task, *started); });
    const sandbox::Exit exit = co_await container->ended();
    self->tell([&](Agent& a) { a.exited(task, exit); });
  }

  void start(const std::shared_ptr<const link::StartInstance>& order) override {
    const auto container = std::make_shared<Container>(setting, order);
    containers.emplace(order->task_id(), container);
    // Not before the agent has gone on: a task would begin at once.
    asio::post(io, [self = shared_from_this(), task = order->task_id(), container] {
      spawn(self->io, live(self, task, container));
    });
  }

  void signal(const std::string& task, int signo) override { containers.at(task)->signal(signo); }
  void kill(const std::string& task) override { containers.at(task)->kill(); }

  static Task<void> commit(std::shared_ptr<Impl> self, std::string task) {
    const std::shared_ptr<Container> container = self->containers.at(task);
    Result<link::ImageFacts> facts = co_await container->commit();
    self->tell([&](Agent& a) { a.committed(task, facts); });
  }
  void commit(const link::StartInstance& order) override { spawn(io, commit(shared_from_this(), order.task_id())); }

  static Task<void> remove(std::shared_ptr<Impl> self, std::string task) {
    const std::shared_ptr<Container> container = self->containers.at(task);
    co_await container->remove();
    self->containers.erase(task);
    self->tell([&](Agent& a) { a.removed(task); });
  }
  void remove(const std::string& task) override { spawn(io, remove(shared_from_this(), task)); }

  void build(link::BuildImage order) override { builds.begin(std::move(order)); }
  void cancelBuild(const std::string& imageId) override { builds.cancel(imageId); }
  std::vector<std::string> finishedImages() const override { return images.finished(); }
  std::vector<std::string> snapshotApps() const override { return snapshots.apps(); }
  void forget(link::ForgetSnapshots what) override {
    asio::post(startPool, [self = shared_from_this(), what = std::move(what)] {
      if (!what.app_id().empty()) self->snapshots.forgetApp(what.app_id());
      if (!what.function_id().empty()) self->snapshots.forgetOlder(what.function_id(), what.but_definition_id());
    });
  }
  void prepare(link::PrepareImage order) override {
    if (options.zygoteProgram.empty() || options.zygoteMemoryBytes <= 0) return;
    asio::post(buildPool,
               [self = shared_from_this(), order = std::move(order)] { prepareZygote(self->setting.start, order); });
  }
  void retire(const std::string& function) override { parking.retire(function); }
  void dial() override { uplink.dial(); }
  void write(link::FromWorker message) override { uplink.write(std::move(message)); }
  void writesDone() override { uplink.writesDone(); }
  void hangUp() override { uplink.hangUp(); }
};

Worker::Worker(asio::io_context& io, Options options, sandbox::Sandboxes& sandboxes, ImageShelf& images)
    : impl_(std::make_shared<Impl>(io, std::move(options), sandboxes, images)) {
  // Of containers of an earlier process that was killed.
  std::error_code ignored;
  std::filesystem::remove_all(impl_->options.dataDirectory + "/containers", ignored);
}

Worker::~Worker() {
  impl_->tell([](Agent& a) { a.link().stop(); });
  impl_->builds.stop();
  for (const auto& [id, container] : impl_->containers) container->kill();
  impl_->startPool.join();
  impl_->buildPool.join();
}

Task<void> Worker::run() {
  const std::shared_ptr<Impl> self = impl_;
  self->tell([](Agent& a) { a.link().begin(); });
  Time next = self->clock.now();
  while (!self->agent.link().isStopped()) {
    if (self->clock.now() >= next) {
      self->tend();
      next = self->clock.now() + kTend;
    }
    co_await self->changed.wait(next - self->clock.now());
  }
}

Task<void> Worker::stop(Nanos grace) {
  const std::shared_ptr<Impl> self = impl_;
  self->builds.stop();
  self->tell([&](Agent& a) { a.stop(grace); });
  const auto begun = std::chrono::steady_clock::now();
  const auto left = [&](Nanos most) { return begun + most - std::chrono::steady_clock::now(); };
  while (self->agent.containers() > 0 && left(grace + 10s) > 0ns) co_await self->changed.wait(left(grace + 10s));
  self->tell([](Agent& a) { a.link().leave(); });
  const Nanos most = std::chrono::steady_clock::now() - begun + kGoodbye;
  while (!self->agent.link().isStopped() && left(most) > 0ns) co_await self->changed.wait(left(most));
  self->tell([](Agent& a) { a.link().stop(); });
}

std::size_t Worker::containers() const { return impl_->agent.containers(); }

}  // namespace gridiron::worker
