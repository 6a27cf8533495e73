#include <spdlog/spdlog.h>

#include <algorithm>

#include "calls/calls.h"
#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"
#include "wire/calls.h"
#include "wire/link.h"
#include "wire/logs.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;
using google::protobuf::Empty;

constexpr Nanos kLongestJoin = std::chrono::seconds(60);
constexpr int kLinesAtOnce = 1000;

void writeMetadata(const Image& image, api::ImageMetadata& out) {
  if (!image.facts.pythonVersion.empty()) out.set_python_version_info(image.facts.pythonVersion);
  if (!image.facts.libcVersion.empty()) out.set_libc_version_info(image.facts.libcVersion);
  if (!image.facts.workdir.empty()) out.set_workdir(image.facts.workdir);
  out.set_image_builder_version(image.builderVersion);
  out.mutable_python_packages()->insert(image.facts.pythonPackages.begin(), image.facts.pythonPackages.end());
}

void writeResult(const Image& image, api::GenericResult& out) {
  if (image.state == ImageState::ready) out.set_status(api::GenericResult::GENERIC_STATUS_SUCCESS);
  if (image.state == ImageState::failed) {
    out.set_status(api::GenericResult::GENERIC_STATUS_FAILURE);
    out.set_exception(image.error);
  }
}

// All that decides what an image becomes; nothing that does not.
std::string contentOf(api::Image recipe, const std::string& builderVersion) {
  recipe.clear_runtime();
  recipe.clear_runtime_debug();
  std::sort(recipe.mutable_base_images()->begin(), recipe.mutable_base_images()->end(),
            [](const auto& a, const auto& b) { return a.docker_tag() < b.docker_tag(); });
  return builderVersion + '\n' + wire::deterministicBytes(recipe);
}

// Image.run_function: one base, and a function that was created to run on it.
Result<void> checkBuilder(Catalog& catalog, const api::ImageGetOrCreateRequest& request) {
  const auto builder = catalog.apps().newest(FunctionId{request.build_function_id()});
  if (!builder || builder->app.str() != request.app_id())
    return makeError(Code::notFound, "Function '{}', which makes the image, not found", request.build_function_id());
  if (!builder->isBuilder) return makeError(Code::invalidArgument, "function '{}' does not make images", builder->tag);
  if (request.image().base_images_size() != 1 || !request.image().dockerfile_commands().empty())
    return Error{Code::invalidArgument, "an image that a function makes has one base and no Dockerfile commands"};
  return {};
}

Result<void> checkRecipe(Catalog& catalog, const api::ImageGetOrCreateRequest& request) {
  const api::Image& recipe = request.image();
  if (recipe.volume_mounts_size() > 0)
    return Error{Code::unimplemented, "volumes in image builds are not in this version of Gridiron"};
  if (recipe.has_build_function()) {
    RETURN_IF_ERROR(checkBuilder(catalog, request));
  } else if (recipe.dockerfile_commands().empty())
    return Error{Code::invalidArgument, "the image has no Dockerfile commands"};
  for (const api::BaseImage& base : recipe.base_images()) {
    ASSIGN_OR_RETURN(Image image, catalog.images().get(ImageId{base.image_id()}));
    if (image.state != ImageState::ready)
      return makeError(Code::failedPrecondition, "image {}, which this one is built on, is not ready", base.image_id());
  }
  for (const std::string& id : recipe.secret_ids()) {
    if (auto secret = catalog.secrets().get(SecretId{id}); !secret.ok()) return secret.error();
  }
  if (recipe.context_mount_id().empty()) return {};
  ASSIGN_OR_RETURN(auto mount, catalog.mounts().get(MountId{recipe.context_mount_id()}));
  if (!mount->globalName.empty())
    return makeError(Code::unimplemented,
                     "add_python (mount '{}') is not in this version of Gridiron: take an image that has Python",
                     mount->globalName);
  return {};
}

// User name and password for the image's registry, from the secret that the client named.
Result<void> writeRegistry(Catalog& catalog, const api::ImageRegistryConfig& config, link::BuildImage& out) {
  if (config.secret_id().empty()) return {};
  ASSIGN_OR_RETURN(Variables values, catalog.secrets().reveal(SecretId{config.secret_id()}));
  switch (config.registry_auth_type()) {
    case api::REGISTRY_AUTH_TYPE_STATIC_CREDS:
      out.set_registry_username(values["REGISTRY_USERNAME"]);
      out.set_registry_password(values["REGISTRY_PASSWORD"]);
      return {};
    case api::REGISTRY_AUTH_TYPE_GCP:
      out.set_registry_username("_json_key");
      out.set_registry_password(values["SERVICE_ACCOUNT_JSON"]);
      return {};
    case api::REGISTRY_AUTH_TYPE_AWS:
      return Error{Code::unimplemented, "signing in to AWS ECR is not in this version of Gridiron"};
    default:
      return {};
  }
}

void addVariable(google::protobuf::RepeatedPtrField<link::Variable>& to, const std::string& name,
                 const std::string& value) {
  link::Variable& variable = *to.Add();
  variable.set_name(name);
  variable.set_value(value);
}

}  // namespace

Result<link::BuildImage> ImageBuilds::orderOf(const Image& image) {
  Catalog& catalog = parts_.catalog;
  api::Image recipe;
  if (!recipe.ParseFromString(image.recipe))
    return makeError(Code::dataLoss, "the recipe of image {} in the store is damaged", image.id.str());
  link::BuildImage order;
  order.set_image_id(image.id.str());
  order.set_builder_version(image.builderVersion);
  for (const std::string& command : recipe.dockerfile_commands()) order.add_dockerfile_commands(command);
  for (const api::BaseImage& base : recipe.base_images()) (*order.mutable_bases())[base.docker_tag()] = base.image_id();
  for (const api::ImageContextFile& file : recipe.context_files()) {
    order.add_context_files()->set_filename(file.filename());
    order.mutable_context_files()->rbegin()->set_data(file.data());
  }
  for (const auto& [name, value] : recipe.build_args()) addVariable(*order.mutable_build_args(), name, value);
  Variables secrets;
  for (const std::string& id : recipe.secret_ids()) {
    ASSIGN_OR_RETURN(Variables values, catalog.secrets().reveal(SecretId{id}));
    for (auto& [name, value] : values) secrets[name] = std::move(value);
  }
  for (const auto& [name, value] : secrets) addVariable(*order.mutable_secrets(), name, value);
  RETURN_IF_ERROR(writeRegistry(catalog, recipe.image_registry_config(), order));
  if (recipe.context_mount_id().empty()) return order;
  ASSIGN_OR_RETURN(auto mount, catalog.mounts().get(MountId{recipe.context_mount_id()}));
  order.mutable_context_mount()->set_mount_id(mount->id.str());
  for (const MountFile& file : mount->files) {
    link::MountedFile& out = *order.mutable_context_mount()->add_files();
    out.set_path(file.path);
    out.set_sha256_hex(file.content.hex());
    out.set_mode(file.mode);
    out.set_size(file.size);
  }
  return order;
}

// Behind what an earlier attempt printed: its errors are not those of this one.
void ImageBuilds::forgetLinesOf(const ImageId& image) {
  if (parts_.flushLogs) parts_.flushLogs();
  LogQuery last;
  last.image = image;
  last.limit = 1;
  last.keep = LogQuery::Keep::newest;
  const auto lines = parts_.store.logs(last);
  if (lines.ok() && !lines->empty()) begunBehind_[image] = lines->back().sequence;
}

std::int64_t ImageBuilds::begunBehind(const ImageId& image) const {
  const auto found = begunBehind_.find(image);
  return found == begunBehind_.end() ? 0 : found->second;
}

Result<void> ImageBuilds::begin(const Image& image) {
  forgetLinesOf(image.id);
  if (!image.builder.empty()) return runBuilder(image);
  ASSIGN_OR_RETURN(link::BuildImage order, orderOf(image));
  if (parts_.buildingFor) parts_.buildingFor(image.id, image.app);
  parts_.build(std::move(order));
  return {};
}

// The builder's one input goes to the one container that is started for it.
Result<void> ImageBuilds::runBuilder(const Image& image) {
  if (!parts_.calls) return Error{Code::unimplemented, "images cannot be made by functions here"};
  const auto builder = parts_.catalog.apps().newest(image.builder);
  if (!builder) {
    Outcome lost;
    lost.status = OutcomeStatus::terminated;
    lost.exception = "the grid was restarted while the function that makes the image was to run: build it again";
    parts_.calls->failWaiting(image.builder, lost);
    return Error{Code::aborted, lost.exception};
  }
  api::Image recipe;
  if (!recipe.ParseFromString(image.recipe))
    return makeError(Code::dataLoss, "the recipe of image {} in the store is damaged", image.id.str());
  std::vector<NewInput> inputs(1);
  ASSIGN_OR_RETURN(inputs.front().args,
                   wire::readPayload(std::move(*recipe.mutable_build_function()->mutable_input())));
  CallOptions options;
  options.function = image.builder;
  ASSIGN_OR_RETURN(CallId call, parts_.calls->open(options));
  RETURN_IF_ERROR(parts_.calls->put(call, std::move(inputs)));
  Function once = *builder;
  once.image = image.base;
  once.commitAsImage = image.id;
  ASSIGN_OR_RETURN(InstanceId instance, parts_.fleet.runOnce(once));
  runs_[instance] = {image.id, std::nullopt};
  if (parts_.buildingFor) parts_.buildingFor(image.id, image.app);
  if (parts_.buildingIn) parts_.buildingIn(instance, image.id);
  return {};
}

void ImageBuilds::instanceChanged(const Instance& instance) {
  const auto found = runs_.find(instance.id);
  if (found == runs_.end() || instance.state != InstanceState::gone) return;
  const Run run = std::move(found->second);
  runs_.erase(found);
  // A worker commits what ended well; whether the function did its work is the fleet's to say.
  std::string error = run.committed ? run.committed->error() : instance.why;
  if (instance.exitCode != 0) error = instance.why;
  if (error.empty() && (instance.exitCode != 0 || !run.committed)) error = "the function that makes the image was lost";
  end(run.image, error, error.empty() ? wire::readFacts(run.committed->facts()) : ImageFacts{});
  if (parts_.buildingIn) parts_.buildingIn(instance.id, {});
}

void ImageBuilds::resume() {
  for (const Image& image : parts_.catalog.images().unfinished()) {
    if (Result<void> begun = begin(image); !begun.ok()) end(image.id, begun.error().message, {});
  }
}

Result<Image> ImageBuilds::ask(const Caller& caller, api::ImageGetOrCreateRequest request) {
  RETURN_IF_ERROR(checkRecipe(parts_.catalog, request));
  ImageBook::Ask ask;
  ask.image.builderVersion = request.builder_version();
  if (ask.image.builderVersion.empty()) {
    ASSIGN_OR_RETURN(Environment environment, environmentFor(parts_, caller, ""));
    ask.image.builderVersion = parts_.catalog.builderVersionOf(environment);
  }
  ask.content = contentOf(request.image(), ask.image.builderVersion);
  ask.image.recipe = wire::deterministicBytes(request.image());
  ask.image.app = {request.app_id()};
  if (request.image().has_build_function()) {
    ask.image.builder = {request.build_function_id()};
    ask.image.base = {request.image().base_images(0).image_id()};
  }
  ask.force = request.force_build() || request.ignore_cache();
  ASSIGN_OR_RETURN(ImageBook::Answer answer, parts_.catalog.images().ask(std::move(ask)));
  if (!answer.build) return answer.image;
  if (Result<void> begun = begin(answer.image); !begun.ok()) end(answer.image.id, begun.error().message, {});
  return parts_.catalog.images().get(answer.image.id);
}

void ImageBuilds::built(const link::BuildEvent& event) {
  if (!event.finished()) return;
  for (auto& [instance, run] : runs_) {
    if (run.image.str() != event.image_id()) continue;
    run.committed = event;  // the end comes with the container's
    return;
  }
  end(ImageId{event.image_id()}, event.error(), event.error().empty() ? wire::readFacts(event.facts()) : ImageFacts{});
}

void ImageBuilds::end(const ImageId& image, const std::string& error, ImageFacts facts) {
  if (parts_.flushLogs) parts_.flushLogs();  // whoever waits for the end reads the last lines first
  Result<void> kept = parts_.catalog.images().finish(image, error, std::move(facts));
  if (!kept.ok()) spdlog::error("image {}: its end could not be stored: {}", image.str(), kept.error().message);
  parts_.wakes.ring(wakeOf(image));
}

namespace {

// Sends the lines behind `after`; where the next ones begin, or nothing when the caller is gone.
Task<Result<std::int64_t>> sendLines(ObjectParts parts, ImageId image, std::int64_t after,
                                     StreamWriter<api::ImageJoinStreamingResponse>& writer) {
  while (true) {
    LogQuery query;
    query.image = image;
    query.after = after;
    query.limit = kLinesAtOnce;
    query.keep = LogQuery::Keep::oldest;
    auto lines = parts.store.logs(query);
    if (!lines.ok()) co_return lines.error();
    if (lines->empty()) co_return after;
    after = lines->back().sequence;
    api::ImageJoinStreamingResponse response;
    response.set_entry_id(entryId(after));
    for (auto& batch : wire::writeLogBatches(*lines)) {
      for (auto& item : *batch.mutable_items()) *response.add_task_logs() = std::move(item);
    }
    Result<void> sent = co_await writer.write(response);
    if (!sent.ok()) co_return sent.error();
  }
}

Task<net::GrpcStatus> join(ObjectParts parts, std::int64_t after, Context& context,
                           api::ImageJoinStreamingRequest request,
                           StreamWriter<api::ImageJoinStreamingResponse>& writer) {
  const ImageId id{request.image_id()};
  const auto patience = std::chrono::duration_cast<Nanos>(std::chrono::duration<float>(request.timeout()));
  const Time until = parts.clock.now() + std::clamp(patience, Nanos::zero(), kLongestJoin);
  after = std::max(after, sequenceOf(request.last_entry_id()));
  Result<Image> first = parts.catalog.images().get(id);
  const bool finishedBefore = first.ok() && first->state != ImageState::building;
  const bool wantsLines = !finishedBefore || request.include_logs_for_finished() || first->state == ImageState::failed;
  while (true) {
    // The state first: lines that belong to an end are in the store before it.
    Result<Image> image = parts.catalog.images().get(id);
    if (!image.ok()) co_return net::GrpcStatus(image.error());
    if (wantsLines) {
      Result<std::int64_t> sent = co_await sendLines(parts, id, after, writer);
      if (!sent.ok()) co_return net::GrpcStatus(sent.error());
      after = *sent;
    }
    if (image->state != ImageState::building) {
      api::ImageJoinStreamingResponse response;
      response.set_entry_id(entryId(after));
      writeResult(*image, *response.mutable_result());
      if (image->state == ImageState::ready) writeMetadata(*image, *response.mutable_metadata());
      response.set_eof(true);
      [[maybe_unused]] Result<void> sent = co_await writer.write(response);
      co_return net::GrpcStatus();
    }
    const Nanos left = until - parts.clock.now();
    if (left <= Nanos::zero() || context.call.cancelled()) co_return net::GrpcStatus();
    Result<Image> now = parts.catalog.images().get(id);
    if (now.ok() && now->state != image->state) continue;  // ended while lines were sent
    std::vector<Wake> wakes{ImageBuilds::wakeOf(id)};
    co_await parts.wakes.wait(std::move(wakes), std::min<Nanos>(left, std::chrono::seconds(5)));
  }
}

}  // namespace

void registerImages(RpcServer& server, ObjectParts parts, ImageBuilds& builds) {
  server.unary<api::ImageGetOrCreateRequest, api::ImageGetOrCreateResponse>(
      "ImageGetOrCreate",
      {.once = true, .works = Works::partly, .note = "no add_python, volumes or GPUs while building"},
      [&builds](Context& context, api::ImageGetOrCreateRequest request) -> Result<api::ImageGetOrCreateResponse> {
        ASSIGN_OR_RETURN(Image image, builds.ask(context.caller, std::move(request)));
        api::ImageGetOrCreateResponse response;
        response.set_image_id(image.id.str());
        if (image.state != ImageState::building) writeResult(image, *response.mutable_result());
        if (image.state == ImageState::ready) writeMetadata(image, *response.mutable_metadata());
        return response;
      });
  server.serverStream<api::ImageJoinStreamingRequest, api::ImageJoinStreamingResponse>(
      "ImageJoinStreaming", {},
      [parts, &builds](Context& context, api::ImageJoinStreamingRequest request,
                       StreamWriter<api::ImageJoinStreamingResponse>& writer) {
        const std::int64_t after = builds.begunBehind(ImageId{request.image_id()});
        return join(parts, after, context, std::move(request), writer);
      });
  server.unary<api::ImageFromIdRequest, api::ImageFromIdResponse>(
      "ImageFromId", {}, [parts](Context&, api::ImageFromIdRequest request) -> Result<api::ImageFromIdResponse> {
        ASSIGN_OR_RETURN(Image image, parts.catalog.images().get(ImageId{request.image_id()}));
        api::ImageFromIdResponse response;
        response.set_image_id(image.id.str());
        writeMetadata(image, *response.mutable_metadata());
        return response;
      });
  server.unary<api::ImageDeleteRequest, Empty>(
      "ImageDelete", {.once = true, .works = Works::partly, .note = "the layers stay on the workers' disks"},
      [parts](Context&, api::ImageDeleteRequest request) {
        return parts.catalog.images().erase(ImageId{request.image_id()});
      });
}

}  // namespace gridiron::edge
