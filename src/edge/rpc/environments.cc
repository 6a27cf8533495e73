#include <array>

#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;
using google::protobuf::Empty;

constexpr std::array kBuilderVersions = {"2023.12", "2024.04", "2024.10", "2025.06", "2026.10", "PREVIEW"};

// "1.6.4" → {1, 6, 4}.
std::array<int, 3> versionOf(const std::string& text) {
  std::array<int, 3> out{};
  std::sscanf(text.c_str(), "%d.%d.%d", &out[0], &out[1], &out[2]);
  return out;
}

// What the caller's client can work with: an older one refuses the name of a newer builder.
std::string builderFor(const ObjectParts& parts, const Caller& caller, const Environment& environment) {
  std::string version = parts.catalog.builderVersionOf(environment);
  const bool python = caller.clientType == api::CLIENT_TYPE_CLIENT || caller.clientType == api::CLIENT_TYPE_CONTAINER;
  if (!python) return version;
  const std::array<int, 3> client = versionOf(caller.clientVersion);
  if (version == "2026.10" && client < std::array{1, 6, 3}) version = "2025.06";
  if (version == "2025.06" && client < std::array{1, 1, 0}) version = "2024.10";
  return version;
}

Result<void> checkBuilder(const std::string& version) {
  for (const char* known : kBuilderVersions) {
    if (version == known) return {};
  }
  return makeError(Code::invalidArgument, "image builder version '{}' is not known", version);
}

api::EnvironmentListItem itemOf(const ObjectParts& parts, const Environment& environment) {
  api::EnvironmentListItem item;
  item.set_name(environment.name);
  item.set_webhook_suffix(environment.webSuffix);
  item.set_created_at(toSeconds(environment.createdAt));
  item.set_default_(environment.isDefault);
  item.set_environment_id(environment.id.str());
  item.set_image_builder_version(parts.catalog.builderVersionOf(environment));
  return item;
}

Result<api::EnvironmentGetOrCreateResponse> getOrCreate(const ObjectParts& parts, const Caller& caller,
                                                        const api::EnvironmentGetOrCreateRequest& request) {
  Result<Environment> environment = environmentFor(parts, caller, request.deployment_name());
  const bool create = request.object_creation_type() != api::OBJECT_CREATION_TYPE_UNSPECIFIED;
  if (!environment.ok() && create) environment = parts.catalog.environments().create(request.deployment_name());
  if (!environment.ok()) return environment.error();
  api::EnvironmentGetOrCreateResponse response;
  response.set_environment_id(environment->id.str());
  api::EnvironmentMetadata& metadata = *response.mutable_metadata();
  metadata.set_name(environment->name);
  metadata.mutable_settings()->set_image_builder_version(builderFor(parts, caller, *environment));
  metadata.mutable_settings()->set_webhook_suffix(environment->webSuffix);
  return response;
}

Result<void> create(const ObjectParts& parts, const api::EnvironmentCreateRequest& request) {
  const std::string& builder = request.settings().image_builder_version();
  if (!builder.empty()) RETURN_IF_ERROR(checkBuilder(builder));
  auto made = parts.catalog.environments().create(request.name(), builder);
  if (!made.ok()) return made.error();
  return {};
}

Result<api::EnvironmentListItem> update(const ObjectParts& parts, const api::EnvironmentUpdateRequest& request) {
  if (request.has_name() && request.name().value() != request.current_name())
    return Error{Code::unimplemented, "environments cannot be renamed in this version of Gridiron"};
  Environments::Changes changes;
  if (request.has_web_suffix()) changes.webSuffix = request.web_suffix().value();
  if (request.has_image_builder_version()) {
    RETURN_IF_ERROR(checkBuilder(request.image_builder_version()));
    changes.builderVersion = request.image_builder_version();
  }
  ASSIGN_OR_RETURN(Environment changed, parts.catalog.environments().update(request.current_name(), changes));
  return itemOf(parts, changed);
}

}  // namespace

void registerEnvironments(RpcServer& server, ObjectParts parts) {
  server.unary<api::EnvironmentGetOrCreateRequest, api::EnvironmentGetOrCreateResponse>(
      "EnvironmentGetOrCreate", {}, [parts](Context& context, api::EnvironmentGetOrCreateRequest request) {
        return getOrCreate(parts, context.caller, request);
      });
  server.unary<Empty, api::EnvironmentListResponse>("EnvironmentList", {}, [parts](Context&, Empty) {
    api::EnvironmentListResponse response;
    for (const Environment& environment : parts.catalog.environments().list())
      *response.add_items() = itemOf(parts, environment);
    return Result<api::EnvironmentListResponse>(std::move(response));
  });
  server.unary<api::EnvironmentCreateRequest, Empty>(
      "EnvironmentCreate", {.once = true, .works = Works::partly, .note = "no roles, no limits"},
      [parts](Context&, api::EnvironmentCreateRequest request) { return create(parts, request); });
  server.unary<api::EnvironmentUpdateRequest, api::EnvironmentListItem>(
      "EnvironmentUpdate", {.once = true, .works = Works::partly, .note = "web suffix and image builder; no renaming"},
      [parts](Context&, api::EnvironmentUpdateRequest request) { return update(parts, request); });
  server.unary<api::EnvironmentDeleteRequest, Empty>(
      "EnvironmentDelete", {.once = true, .works = Works::partly, .note = "only empty environments"},
      [parts](Context&, api::EnvironmentDeleteRequest request) {
        return parts.catalog.eraseEnvironment(request.name());
      });
  server.unary<Empty, api::WorkspaceSettingsResponse>("WorkspaceSettings", {}, [parts](Context&, Empty) {
    const Environment& main = parts.catalog.environments().defaultOne();
    api::WorkspaceSettingsResponse response;
    response.set_default_environment_name(main.name);
    response.set_image_builder_version(parts.catalog.builderVersionOf(main));
    return Result<api::WorkspaceSettingsResponse>(response);
  });
  server.unary<api::WorkspaceDashboardUrlRequest, api::WorkspaceDashboardUrlResponse>(
      "WorkspaceDashboardUrlGet", {}, [parts](Context&, api::WorkspaceDashboardUrlRequest) {
        api::WorkspaceDashboardUrlResponse response;
        response.set_url(parts.config.publicUrl + "/");
        return Result<api::WorkspaceDashboardUrlResponse>(response);
      });
}

}  // namespace gridiron::edge
