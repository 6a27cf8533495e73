#include "worker/worker.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>

#include "net/grpc.h"
#include "worker/builds.h"
#include "worker/container.h"
#include "worker/mounts.h"
#include "worker/uplink.h"

namespace gridiron::worker {

using namespace std::chrono_literals;

namespace {

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

}  // namespace

struct Worker::Impl : std::enable_shared_from_this<Worker::Impl> {
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
               {[this] { return hello(); }, [this](link::ToWorker command) { execute(std::move(command)); }}),
        builds(context, buildPool, images, mounts, uplink),
        setting{io,
                startPool,
                {&sandboxes, &images, options.dataDirectory, options.containerPort},
                mounts,
                uplink,
                channel,
                options.controlUrl,
                options.caFile,
                credentialsOf(options)} {}

  asio::io_context& io;
  const Options options;
  ImageShelf& images;
  Notifier changed;  // a container has gone
  asio::thread_pool startPool, buildPool;
  net::GrpcChannel channel;
  MountCache mounts;
  Uplink uplink;
  Builds builds;
  const ContainerSetting setting;
  std::map<std::string, std::shared_ptr<Container>> containers;
  bool stopping = false;

  link::WorkerHello hello() const {
    link::WorkerHello hello;
    hello.set_worker_id(options.workerId);
    hello.set_host(options.host);
    hello.set_milli_cpu(options.milliCpu);
    hello.set_memory_mb(options.memoryMb);
    for (const std::string& gpu : options.gpus) hello.add_gpus(gpu);
    for (const auto& [id, container] : containers) hello.add_task_ids(id);
    for (const std::string& id : images.finished()) hello.add_image_ids(id);
    return hello;
  }

  static Task<void> live(std::shared_ptr<Impl> self, std::string id, std::shared_ptr<Container> container) {
    co_await container->run();
    self->containers.erase(id);
    self->changed.notifyAll();
  }

  void start(link::StartInstance order) {
    const std::string id = order.task_id();
    if (containers.contains(id)) return;
    if (stopping) {
      link::FromWorker message;
      message.mutable_instance()->set_task_id(id);
      message.mutable_instance()->set_state(link::InstanceEvent::EXITED);
      message.mutable_instance()->set_error("the worker is shutting down");
      uplink.send(std::move(message));
      return;
    }
    const auto container = std::make_shared<Container>(setting, std::move(order));
    containers.emplace(id, container);
    spawn(io, live(shared_from_this(), id, container));
  }

  Container* find(const std::string& id) {
    const auto found = containers.find(id);
    return found == containers.end() ? nullptr : found->second.get();
  }

  void execute(link::ToWorker command) {
    if (command.has_start()) {
      start(std::move(*command.mutable_start()));
    } else if (command.has_stop()) {
      const auto grace = std::chrono::milliseconds(command.stop().grace_ms());
      if (Container* container = find(command.stop().task_id())) container->stop(grace);
    } else if (command.has_signal()) {
      if (Container* container = find(command.signal().task_id())) container->signal(command.signal().signal());
    } else if (command.has_build()) {
      builds.begin(std::move(*command.mutable_build()));
    } else if (command.has_cancel_build()) {
      builds.cancel(command.cancel_build().image_id());
    } else if (command.has_welcome()) {
      spdlog::info("worker {} is connected to {}", options.workerId, options.controlUrl);
    }
  }
};

Worker::Worker(asio::io_context& io, Options options, sandbox::Sandboxes& sandboxes, ImageShelf& images)
    : impl_(std::make_shared<Impl>(io, std::move(options), sandboxes, images)) {
  // Of containers of an earlier process that was killed.
  std::error_code ignored;
  std::filesystem::remove_all(impl_->options.dataDirectory + "/containers", ignored);
}

Worker::~Worker() {
  impl_->uplink.stop();
  impl_->builds.stop();
  for (const auto& [id, container] : impl_->containers) container->stop(0ns);
  impl_->startPool.join();
  impl_->buildPool.join();
}

Task<void> Worker::run() {
  const std::shared_ptr<Impl> self = impl_;
  co_await self->uplink.run();
}

Task<void> Worker::stop(Nanos grace) {
  const std::shared_ptr<Impl> self = impl_;
  self->stopping = true;
  self->builds.stop();
  for (const auto& [id, container] : self->containers) container->stop(grace);
  const auto deadline = std::chrono::steady_clock::now() + grace + 10s;
  while (!self->containers.empty()) {
    const Nanos left = deadline - std::chrono::steady_clock::now();
    if (left <= 0ns) break;
    co_await self->changed.wait(left);
  }
  co_await self->uplink.leave(2s);
}

std::size_t Worker::containers() const { return impl_->containers.size(); }

}  // namespace gridiron::worker
