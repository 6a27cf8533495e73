#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;
using google::protobuf::Empty;

void writeMetadata(const Secret& secret, api::SecretMetadata& out) {
  out.set_name(secret.name);
  out.mutable_creation_info()->set_created_at(toSeconds(secret.createdAt));
  out.mutable_creation_info()->set_created_by(secret.createdBy);
  for (const std::string& key : secret.keys) out.add_keys(key);
  out.set_environment_name(secret.environment);
  if (secret.usedAt != Time{}) out.set_last_used_at(toSeconds(secret.usedAt));
}

Result<Secret> getOrCreate(const ObjectParts& parts, const Caller& caller, const api::SecretGetOrCreateRequest& in) {
  Secrets& secrets = parts.catalog.secrets();
  const Variables values(in.env_dict().begin(), in.env_dict().end());
  if (in.object_creation_type() == api::OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP) {
    ASSIGN_OR_RETURN(App app, appFor(parts, caller, in.app_id()));
    return secrets.anonymous(app.environment, app.id.str(), values, caller.username);
  }
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, in.environment_name()));
  const std::vector<std::string> required(in.required_keys().begin(), in.required_keys().end());
  switch (in.object_creation_type()) {
    case api::OBJECT_CREATION_TYPE_UNSPECIFIED:
      return secrets.find(environment.name, in.deployment_name(), required);
    case api::OBJECT_CREATION_TYPE_EPHEMERAL:
      return secrets.anonymous(environment.name, caller.key(), values, caller.username);
    case api::OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
      return secrets.create(environment.name, in.deployment_name(), values, IfExists::keep, caller.username);
    case api::OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
      return secrets.create(environment.name, in.deployment_name(), values, IfExists::fail, caller.username);
    case api::OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS:
      return secrets.create(environment.name, in.deployment_name(), values, IfExists::replace, caller.username);
    default:
      return makeError(Code::invalidArgument, "a Secret cannot be created in the way {}",
                       static_cast<int>(in.object_creation_type()));
  }
}

Result<api::SecretListResponse> list(const ObjectParts& parts, const Caller& caller,
                                     const api::SecretListRequest& request) {
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, request.environment_name()));
  api::SecretListResponse response;
  response.set_environment_name(environment.name);
  const double before = request.pagination().created_before();
  const int most = request.pagination().max_objects();
  for (const Secret& secret : parts.catalog.secrets().list(environment.name)) {
    if (before > 0 && toSeconds(secret.createdAt) >= before) continue;
    if (most > 0 && response.items_size() >= most) break;
    api::SecretListItem& item = *response.add_items();
    item.set_label(secret.name);
    item.set_created_at(toSeconds(secret.createdAt));
    if (secret.usedAt != Time{}) item.set_last_used_at(toSeconds(secret.usedAt));
    item.set_environment_name(secret.environment);
    item.set_secret_id(secret.id.str());
    writeMetadata(secret, *item.mutable_metadata());
  }
  return response;
}

}  // namespace

void registerSecrets(RpcServer& server, ObjectParts parts) {
  server.unary<api::SecretGetOrCreateRequest, api::SecretGetOrCreateResponse>(
      "SecretGetOrCreate", {.once = true},
      [parts](Context& context, api::SecretGetOrCreateRequest request) -> Result<api::SecretGetOrCreateResponse> {
        ASSIGN_OR_RETURN(Secret secret, getOrCreate(parts, context.caller, request));
        api::SecretGetOrCreateResponse response;
        response.set_secret_id(secret.id.str());
        writeMetadata(secret, *response.mutable_metadata());
        return response;
      });
  server.unary<api::SecretListRequest, api::SecretListResponse>(
      "SecretList", {},
      [parts](Context& context, api::SecretListRequest request) { return list(parts, context.caller, request); });
  server.unary<api::SecretDeleteRequest, Empty>("SecretDelete", {.once = true},
                                                [parts](Context&, api::SecretDeleteRequest request) {
                                                  return parts.catalog.secrets().erase(SecretId{request.secret_id()});
                                                });
  server.unary<api::SecretUpdateRequest, Empty>(
      "SecretUpdate", {.once = true}, [parts](Context&, api::SecretUpdateRequest request) {
        std::map<std::string, std::optional<std::string>> updates;
        for (const auto& update : request.updates())
          updates[update.key()] = update.has_value() ? std::optional(update.value()) : std::nullopt;
        return parts.catalog.secrets().update(SecretId{request.secret_id()}, updates);
      });
  server.unary<api::SecretGetInfoRequest, api::SecretGetInfoResponse>(
      "SecretGetInfo", {}, [parts](Context&, api::SecretGetInfoRequest request) -> Result<api::SecretGetInfoResponse> {
        ASSIGN_OR_RETURN(Secret secret, parts.catalog.secrets().get(SecretId{request.secret_id()}));
        api::SecretGetInfoResponse response;
        writeMetadata(secret, *response.mutable_metadata());
        return response;
      });
}

}  // namespace gridiron::edge
