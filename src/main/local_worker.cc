#include "main/local_worker.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <filesystem>
#include <thread>

#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/loop.h"
#include "base/priority.h"
#include "base/subprocess.h"
#include "image/base.h"
#include "sandbox/sandbox.h"
#include "worker/image_shelf.h"
#include "worker/worker.h"
#include "worker/zygotes.h"

namespace gridiron {
namespace {

// Names this grid's bridge, cgroups and network namespaces; the same for the same data folder over restarts.
std::string instanceOf(const std::string& dataFolder) {
  std::error_code ignored;
  const auto canonical = std::filesystem::weakly_canonical(dataFolder, ignored);
  return sha256(canonical.string()).hex().substr(0, 6);
}

// A worker keeps its id over restarts, so that control knows it again.
Result<std::string> workerIdOf(const std::string& directory) {
  const std::string path = directory + "/id";
  if (auto known = readFile(path); known.ok()) return *known;
  const std::string id = randomId("wo");
  RETURN_IF_ERROR(writeFileAtomic(path, id, 0644, Durable::yes));
  return id;
}

// guest/init and guest/zygote.py.
Result<std::string> besideBinary(const std::string& name) {
  std::error_code failed;
  const auto binary = std::filesystem::read_symlink("/proc/self/exe", failed);
  const auto path = binary.parent_path() / name;
  if (failed || !std::filesystem::exists(path)) {
    return makeError(Code::failedPrecondition, "{} is missing: it is built beside gridiron, for containers",
                     path.string());
  }
  return path.string();
}

sandbox::Sandboxes::Options sandboxOptions(const Settings& settings, const LocalWorker::Options& options,
                                           const std::string& init) {
  const std::string instance = instanceOf(settings.data);
  // Grids on one machine keep out of each other's way: each takes a /20 of 10.128.0.0/9 by its name.
  const auto slot = std::stoul(instance, nullptr, 16) % 2048;
  sandbox::Sandboxes::Options out;
  out.stateDirectory = settings.data + "/worker/sandboxes";
  out.initPath = init;
  out.bridge = "gridiron" + instance;
  out.subnet = fmt::format("10.{}.{}.0/20", 128 + slot / 16, slot % 16 * 16);
  out.gridHost = options.gridHost;
  out.gridPort = options.gridPort;
  out.instance = instance;
  out.criuRoot = criuRoot(settings);
  return out;
}

worker::Options workerOptions(const Settings& settings, const LocalWorker::Options& options, std::string id) {
  worker::Options out;
  out.controlUrl = options.controlUrl;
  out.workerId = std::move(id);
  out.secret = options.secret;
  out.dataDirectory = settings.data + "/worker";
  out.cacheDirectory = settings.data + "/worker/cache";
  const auto program = besideBinary("gridiron-zygote.py"), helper = besideBinary("gridiron-zygote.so");
  for (const auto* file : {&program, &helper}) {
    if (!file->ok()) spdlog::warn("every start is plain: {}", file->error().message);
  }
  if (program.ok() && helper.ok()) {
    out.zygoteProgram = *program;
    out.zygoteHelper = *helper;
  }
  const auto lane = besideBinary("gridiron-fast-lane.py");
  if (!lane.ok()) spdlog::warn("there is no fast lane: {}", lane.error().message);
  if (lane.ok()) out.laneProgram = *lane;
  const auto snapshots = besideBinary("gridiron-snapshot.py");
  if (!snapshots.ok()) spdlog::warn("there are no memory snapshots: {}", snapshots.error().message);
  if (snapshots.ok()) out.snapshotProgram = *snapshots;
  out.snapshotBytes = settings.snapshotSpaceMb << 20;
  out.criuRoot = criuRoot(settings);
  out.fetchCriu = out.criuRoot == image::criuTree(settings.cache);
  const std::int64_t machine = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  out.zygoteMemoryBytes =
      settings.zygoteMemoryMb ? *settings.zygoteMemoryMb << 20 : worker::Zygotes::memoryFor(machine);
  return out;
}

image::Images::Options imageOptions(const Settings& settings) {
  image::Images::Options out;
  out.directory = settings.data + "/worker/images";
  out.cacheDirectory = settings.cache;
  out.mirrors = settings.mirrors;
  out.inheritHostSettings = settings.inheritHostSettings;
  return out;
}

}  // namespace

std::string criuRoot(const Settings& settings) {
  if (!settings.criuRoot.empty()) return settings.criuRoot;
  static const bool suits = [] {
    Command ask;
    ask.argv = {"/usr/sbin/criu", "--version"};
    ask.timeout = std::chrono::seconds(5);
    const auto version = runCommand(ask);
    const auto at = version.ok() ? version->output.find("Version: ") : std::string::npos;
    return at != std::string::npos && std::atoi(version->output.c_str() + at + 9) >= 4;
  }();
  return suits ? "/" : image::criuTree(settings.cache);
}

struct LocalWorker::Impl {
  std::unique_ptr<sandbox::Sandboxes> sandboxes;
  std::unique_ptr<worker::ImageShelf> images;
  asio::io_context io{1};
  std::unique_ptr<worker::Worker> agent;
  std::thread thread;

  static Task<void> stopAgent(Impl& self, Nanos grace) {
    co_await self.agent->stop(grace);
    self.io.stop();
  }
};

LocalWorker::LocalWorker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<LocalWorker>> LocalWorker::start(const Settings& settings, const Options& options) {
  for (const char* folder : {"/worker/sandboxes", "/worker/images", "/worker/cache"}) {
    RETURN_IF_ERROR(makeDirectories(settings.data + folder));
  }
  RETURN_IF_ERROR(makeDirectories(settings.cache));
  ASSIGN_OR_RETURN(std::string id, workerIdOf(settings.data + "/worker"));
  ASSIGN_OR_RETURN(const std::string init, besideBinary("gridiron-init"));
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->sandboxes, sandbox::openSandboxes(sandboxOptions(settings, options, init)));
  RETURN_IF_ERROR(impl->sandboxes->sweep());
  impl->images = worker::openImageShelf(imageOptions(settings), *impl->sandboxes);
  impl->agent = std::make_unique<worker::Worker>(impl->io, workerOptions(settings, options, std::move(id)),
                                                 *impl->sandboxes, *impl->images);
  spawn(impl->io, impl->agent->run());
  impl->thread = std::thread([io = &impl->io] {
    preferThisThread();
    const auto work = asio::make_work_guard(*io);
    io->run();
  });
  return std::unique_ptr<LocalWorker>(new LocalWorker(std::move(impl)));
}

void LocalWorker::stop(Nanos grace) {
  if (!impl_->thread.joinable()) return;
  asio::post(impl_->io, [impl = impl_.get(), grace] { spawn(impl->io, Impl::stopAgent(*impl, grace)); });
  impl_->thread.join();
}

LocalWorker::~LocalWorker() {
  stop(Nanos::zero());
  impl_->agent.reset();
}

}  // namespace gridiron
