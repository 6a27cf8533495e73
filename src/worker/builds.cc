#include "worker/builds.h"

#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>
#include <map>

#include "wire/link.h"
#include "worker/log_lines.h"
#include "worker/offload.h"

namespace gridiron::worker {

namespace {

std::vector<std::pair<std::string, std::string>> pairsOf(
    const google::protobuf::RepeatedPtrField<link::Variable>& variables) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const link::Variable& variable : variables) pairs.emplace_back(variable.name(), variable.value());
  return pairs;
}

image::Recipe recipeOf(const link::BuildImage& order, const std::string& contextDirectory) {
  image::Recipe recipe;
  recipe.dockerfile.assign(order.dockerfile_commands().begin(), order.dockerfile_commands().end());
  recipe.bases.insert(order.bases().begin(), order.bases().end());
  for (const auto& file : order.context_files()) recipe.contextFiles.emplace_back(file.filename(), file.data());
  recipe.contextDirectory = contextDirectory;
  recipe.buildArgs = pairsOf(order.build_args());
  recipe.secrets = pairsOf(order.secrets());
  recipe.builderVersion = order.builder_version();
  recipe.registry = {order.registry_username(), order.registry_password()};
  return recipe;
}

Masker maskerOf(const link::BuildImage& order) {
  std::vector<std::string> values{order.registry_password()};
  for (const link::Variable& secret : order.secrets()) values.push_back(secret.value());
  return Masker(values);
}

// One image on its way. The log half is used by the build's thread only.
struct Build {
  explicit Build(link::BuildImage given) : order(std::move(given)), masker(maskerOf(order)) {}
  const link::BuildImage order;
  const Masker masker;
  LineSplitter splitter;
  std::stop_source stop;
};

}  // namespace

struct Builds::Impl : std::enable_shared_from_this<Builds::Impl> {
  Impl(asio::io_context& context, asio::thread_pool& threads, ImageShelf& shelf, MountCache& cache, Send up)
      : io(context), pool(threads), images(shelf), mounts(cache), send(std::move(up)) {}

  asio::io_context& io;
  asio::thread_pool& pool;
  ImageShelf& images;
  MountCache& mounts;
  const Send send;
  std::map<std::string, std::shared_ptr<Build>> running;
  bool stopping = false;

  // Any thread.
  void sendLines(const std::shared_ptr<Build>& build, std::vector<std::string> texts) {
    link::FromWorker message;
    link::LogLines& logs = *message.mutable_logs();
    logs.set_image_id(build->order.image_id());
    const auto now = SystemClock().now().time_since_epoch().count();
    for (std::string& text : texts) {
      if (text.empty()) continue;
      build->masker.mask(text);
      link::LogLine& line = *logs.add_lines();
      line.set_data(std::move(text));
      line.set_file_descriptor(1);
      line.set_at_unix_nanos(now);
    }
    if (logs.lines().empty()) return;
    asio::post(io,
               [self = shared_from_this(), message = std::move(message)]() mutable { self->send(std::move(message)); });
  }

  // On a thread of the pool.
  Result<image::Built> make(const std::shared_ptr<Build>& build, const std::string& contextDirectory) {
    const auto log = [this, &build](std::string_view text) { sendLines(build, build->splitter.add(text)); };
    if (build->stop.stop_requested()) return makeError(Code::cancelled, "the build was cancelled");
    auto built =
        images.build(build->order.image_id(), recipeOf(build->order, contextDirectory), log, build->stop.get_token());
    sendLines(build, {build->splitter.finish()});
    return built;
  }

  void report(const Build& build, const Result<image::Built>& built, bool cached) {
    link::FromWorker message;
    link::BuildEvent& event = *message.mutable_build();
    event.set_image_id(build.order.image_id());
    event.set_finished(true);
    event.set_cached(cached);
    if (built.ok()) {
      *event.mutable_facts() = wire::toLink(*built);
    } else {
      std::string error = built.error().message;
      build.masker.mask(error);
      event.set_error(error);
      spdlog::warn("image {}: {}", build.order.image_id(), error);
    }
    send(std::move(message));
  }

  static Task<void> run(std::shared_ptr<Impl> self, std::shared_ptr<Build> build) {
    std::string context;
    Result<image::Built> built = makeError(Code::internal, "not built");
    if (auto finished = self->images.find(build->order.image_id())) {
      built = std::move(*finished);
      self->report(*build, built, true);
    } else {
      Result<std::string> laid = std::string();
      if (!build->order.context_mount().files().empty()) {
        laid = co_await self->mounts.layout(build->order.context_mount());
      }
      if (laid.ok()) {
        auto work = [self, build, directory = *laid] { return self->make(build, directory); };
        built = co_await offload(self->io, self->pool, std::move(work));
      } else {
        built = laid.error();
      }
      self->report(*build, built, false);
    }
    self->running.erase(build->order.image_id());
  }
};

Builds::Builds(asio::io_context& io, asio::thread_pool& pool, ImageShelf& images, MountCache& mounts, Send send)
    : impl_(std::make_shared<Impl>(io, pool, images, mounts, std::move(send))) {}

Builds::~Builds() { stop(); }

void Builds::stop() {
  impl_->stopping = true;
  for (const auto& [id, build] : impl_->running) build->stop.request_stop();
}

void Builds::begin(link::BuildImage order) {
  if (impl_->stopping) return;  // control gives it to another worker, or to this one when it is back
  const auto build = std::make_shared<Build>(std::move(order));
  if (!impl_->running.emplace(build->order.image_id(), build).second) return;
  spawn(impl_->io, Impl::run(impl_, build));
}

void Builds::cancel(const std::string& imageId) {
  const auto found = impl_->running.find(imageId);
  if (found != impl_->running.end()) found->second->stop.request_stop();
}

}  // namespace gridiron::worker
