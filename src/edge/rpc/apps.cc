#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;
using google::protobuf::Empty;

double secondsOf(Time time) { return time == Time{} ? 0 : toSeconds(time); }

std::string pageOf(const ObjectParts& parts, const AppId& app) { return parts.config.publicUrl + "/apps/" + app.str(); }

std::map<std::string, std::string> tagsIn(const google::protobuf::Map<std::string, std::string>& tags) {
  return {tags.begin(), tags.end()};
}

void writeLifecycle(const App& app, api::AppLifecycle& out) {
  out.set_app_state(static_cast<api::AppState>(app.state));
  out.set_created_at(secondsOf(app.createdAt));
  out.set_created_by(app.createdBy);
  out.set_deployed_at(secondsOf(app.deployedAt));
  out.set_deployed_by(app.deployedBy);
  out.set_version(app.version);
  out.set_stopped_at(secondsOf(app.stoppedAt));
  out.set_stopped_by(app.stoppedBy);
}

void writeMetadata(const App& app, api::AppHandleMetadata& out) {
  out.set_description(app.description);
  out.set_app_id(app.id.str());
  out.set_environment_name(app.environment);
  writeLifecycle(app, *out.mutable_lifecycle());
  for (const auto& [tag, id] : app.functions) (*out.mutable_functions())[tag] = id.str();
}

Result<api::AppCreateResponse> create(const ObjectParts& parts, const Caller& caller,
                                      const api::AppCreateRequest& request) {
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, request.environment_name()));
  Apps::NewApp wanted;
  wanted.environment = environment.name;
  wanted.description = request.description();
  wanted.by = caller.username;
  wanted.state = request.app_state() == api::APP_STATE_UNSPECIFIED ? AppState::initializing
                                                                   : static_cast<AppState>(request.app_state());
  wanted.tags = tagsIn(request.tags());
  if (!isLive(wanted.state)) return Error{Code::invalidArgument, "an app cannot be created in a state of its end"};
  ASSIGN_OR_RETURN(App app, parts.catalog.apps().create(std::move(wanted)));
  api::AppCreateResponse response;
  response.set_app_id(app.id.str());
  response.set_app_page_url(pageOf(parts, app.id));
  response.set_app_logs_url(pageOf(parts, app.id) + "/logs");
  return response;
}

Result<App> getOrCreate(const ObjectParts& parts, const Caller& caller, const api::AppGetOrCreateRequest& request) {
  Apps& apps = parts.catalog.apps();
  if (request.app_name().starts_with("ap-")) {  // clients >= 1.6.4 look ids up here
    if (auto byId = appFor(parts, caller, request.app_name()); byId.ok()) return byId;
  }
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, request.environment_name()));
  if (const auto app = apps.named(environment.name, request.app_name())) {
    if (request.object_creation_type() == api::OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS)
      return makeError(Code::alreadyExists, "App '{}' already exists", request.app_name());
    return *app;
  }
  if (request.object_creation_type() == api::OBJECT_CREATION_TYPE_UNSPECIFIED)
    return apps.notFound(environment.name, request.app_name());
  if (request.app_name().empty()) return Error{Code::invalidArgument, "the request has no app_name"};
  return apps.create(
      {environment.name, request.app_name(), request.app_name(), caller.username, AppState::deployed, {}});
}

Result<api::AppGetByDeploymentNameResponse> byName(const ObjectParts& parts, const Caller& caller,
                                                   const api::AppGetByDeploymentNameRequest& request) {
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, request.environment_name()));
  api::AppGetByDeploymentNameResponse response;
  response.set_environment_name(environment.name);
  if (const auto app = parts.catalog.apps().named(environment.name, request.name())) {
    response.set_app_id(app->id.str());
    writeLifecycle(*app, *response.mutable_lifecycle());
  }
  if (const auto last = parts.catalog.apps().lastStopped(environment.name, request.name())) {
    response.set_previous_app_id(last->id.str());
    if (!response.has_lifecycle()) writeLifecycle(*last, *response.mutable_lifecycle());
  }
  return response;
}

wire::HandleWriter handleWriter(const ObjectParts& parts) {
  return [urls = wire::WebUrls(parts.catalog.apps(), parts.config)](
             const Function& function, api::FunctionHandleMetadata& out) { wire::writeHandle(function, urls, out); };
}

Result<api::AppLayout> layoutOf(const ObjectParts& parts, const Caller& caller, const std::string& id) {
  ASSIGN_OR_RETURN(App app, appFor(parts, caller, id));
  return wire::writeLayout(app, parts.catalog.apps(), handleWriter(parts));
}

Result<api::AppGetObjectsResponse> objects(const ObjectParts& parts, const Caller& caller,
                                           const api::AppGetObjectsRequest& request) {
  ASSIGN_OR_RETURN(api::AppLayout layout, layoutOf(parts, caller, request.app_id()));
  std::map<std::string, std::string> tags;
  for (const auto& [tag, id] : layout.function_ids()) tags[id] = tag;
  for (const auto& [tag, id] : layout.class_ids()) tags[id] = tag;
  api::AppGetObjectsResponse response;
  for (const api::Object& object : layout.objects()) {
    const auto tag = tags.find(object.object_id());
    if (tag == tags.end() && !request.include_unindexed()) continue;
    api::AppGetObjectsItem& item = *response.add_items();
    if (tag != tags.end()) item.set_tag(tag->second);
    *item.mutable_object() = object;
  }
  return response;
}

// Clients before this one do not say that nothing has changed.
bool saysWhenSkipped(const std::string& version) {
  int major = 0;
  int minor = 0;
  return std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2 && (major > 1 || minor >= 5);
}

Result<api::AppPublishResponse> publish(const ObjectParts& parts, const Caller& caller,
                                        const api::AppPublishRequest& request) {
  ASSIGN_OR_RETURN(App app, appFor(parts, caller, request.app_id()));
  if (request.staged()) return Error{Code::unimplemented, "staged deployments are not in this version of Gridiron"};
  Publication publication;
  publication.app = app.id;
  publication.name = request.name();
  publication.state = static_cast<AppState>(request.app_state());
  for (const auto& [tag, id] : request.function_ids()) publication.functions[tag] = {id};
  for (const auto& [name, id] : request.class_ids()) publication.classes[name] = {id};
  for (const auto& [id, definition] : request.definition_ids()) publication.definitions[{id}] = {definition};
  publication.tags = tagsIn(request.tags());
  publication.clientVersion = request.client_version().empty() ? caller.clientVersion : request.client_version();
  publication.deploymentTag = request.deployment_tag();
  if (request.has_commit_info()) publication.commitInfo = request.commit_info().SerializeAsString();
  publication.by = caller.username;
  ASSIGN_OR_RETURN(Published published, parts.catalog.apps().publish(publication));
  api::AppPublishResponse response;
  response.set_url(pageOf(parts, app.id));
  if (published.changed) {
    response.set_deployed_at(toSeconds(published.app.deployedAt));
  } else if (!saysWhenSkipped(caller.clientVersion)) {
    api::Warning& warning = *response.add_server_warnings();
    warning.set_type(api::Warning::WARNING_TYPE_FUNCTION_CONFIGURATION);
    warning.set_message(
        fmt::format("Nothing has changed since version {} of the app: it goes on as it is.", published.app.version));
  }
  return response;
}

Result<api::AppListResponse> list(const ObjectParts& parts, const Caller& caller, const api::AppListRequest& request) {
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, request.environment_name()));
  std::map<AppId, int> running;
  for (const Instance& instance : parts.fleet.instances()) ++running[instance.app];
  api::AppListResponse response;
  for (const App& app : parts.catalog.apps().list(environment.name)) {
    if (app.workspace != caller.workspace) continue;
    api::AppListResponse::AppListItem& item = *response.add_apps();
    item.set_app_id(app.id.str());
    item.set_description(app.description);
    item.set_state(static_cast<api::AppState>(app.state));
    item.set_created_at(secondsOf(app.createdAt));
    item.set_stopped_at(secondsOf(app.stoppedAt));
    item.set_n_running_tasks(running[app.id]);
    item.set_name(app.name);
    writeMetadata(app, *item.mutable_metadata());
  }
  return response;
}

const char* whyOf(api::AppDisconnectReason reason) {
  switch (reason) {
    case api::APP_DISCONNECT_REASON_LOCAL_EXCEPTION:
      return "the client's program raised an exception";
    case api::APP_DISCONNECT_REASON_KEYBOARD_INTERRUPT:
      return "the client was interrupted";
    case api::APP_DISCONNECT_REASON_ENTRYPOINT_COMPLETED:
      return "the client's program has ended";
    case api::APP_DISCONNECT_REASON_DEPLOYMENT_EXCEPTION:
      return "its deployment failed";
    case api::APP_DISCONNECT_REASON_REMOTE_EXCEPTION:
      return "a function raised an exception";
    default:
      return "its client has gone";
  }
}

api::DeploymentType typeOf(const AppVersion& version) {
  if (version.rollbackOf > 0) return api::DEPLOYMENT_TYPE_ROLLBACK;
  return version.rollover ? api::DEPLOYMENT_TYPE_ROLLOVER : api::DEPLOYMENT_TYPE_STANDARD;
}

Result<api::AppDeploymentHistoryResponse> history(const ObjectParts& parts, const Caller& caller,
                                                  const api::AppDeploymentHistoryRequest& request) {
  ASSIGN_OR_RETURN(App app, appFor(parts, caller, request.app_id()));
  ASSIGN_OR_RETURN(auto versions, parts.catalog.apps().history(app.id));
  api::AppDeploymentHistoryResponse response;
  response.set_production_app_version(static_cast<std::uint32_t>(app.version));
  for (const AppVersion& version : versions) {
    api::AppDeploymentHistory& out = *response.add_app_deployment_histories();
    out.set_app_id(app.id.str());
    out.set_version(static_cast<std::uint32_t>(version.version));
    out.set_client_version(version.clientVersion);
    out.set_deployed_at(toSeconds(version.deployedAt));
    out.set_deployed_by(version.deployedBy);
    out.set_tag(version.tag);
    out.set_rollback_version(static_cast<std::uint32_t>(version.rollbackOf));
    out.set_rollback_allowed(version.version != app.version && isLive(app.state));
    out.set_deployment_type(typeOf(version));
    if (!version.commitInfo.empty() && !out.mutable_commit_info()->ParseFromString(version.commitInfo))
      out.clear_commit_info();
  }
  return response;
}

Result<api::AppRollbackResponse> rollback(const ObjectParts& parts, const Caller& caller,
                                          const api::AppRollbackRequest& request) {
  ASSIGN_OR_RETURN(App app, appFor(parts, caller, request.app_id()));
  ASSIGN_OR_RETURN(Published published, parts.catalog.apps().rollback(app.id, request.version(), caller.username));
  api::AppRollbackResponse response;
  response.set_url(pageOf(parts, app.id));
  if (published.changed) response.set_deployed_at(toSeconds(published.app.deployedAt));
  return response;
}

Result<api::AppRolloverResponse> rollover(const ObjectParts& parts, const Caller& caller,
                                          const api::AppRolloverRequest& request) {
  ASSIGN_OR_RETURN(App app, appFor(parts, caller, request.app_id()));
  ASSIGN_OR_RETURN(Published published, parts.catalog.apps().rollover(app.id, caller.username));
  api::AppRolloverResponse response;
  response.set_url(pageOf(parts, app.id));
  response.set_deployed_at(toSeconds(published.app.deployedAt));
  return response;
}

// RPCs that change something of an app and answer nothing.
template <class Req, class Do>
void change(RpcServer& server, const std::string& name, const ObjectParts& parts, Do what) {
  const bool once = name != "AppHeartbeat";  // comes often, and a second one does no harm
  server.unary<Req, Empty>(name, {.once = once}, [parts, what](Context& context, Req request) -> Result<void> {
    ASSIGN_OR_RETURN(App app, appFor(parts, context.caller, request.app_id()));
    return what(parts.catalog.apps(), app, context.caller, request);
  });
}

void registerChanges(RpcServer& server, const ObjectParts& parts) {
  change<api::AppStopRequest>(server, "AppStop", parts,
                              [](Apps& apps, const App& app, const Caller& caller, const api::AppStopRequest&) {
                                return apps.stop(app.id, caller.username, "the app was stopped");
                              });
  change<api::AppClientDisconnectRequest>(
      server, "AppClientDisconnect", parts,
      [](Apps& apps, const App& app, const Caller&, const api::AppClientDisconnectRequest& request) {
        return apps.disconnect(app.id, whyOf(request.reason()));
      });
  change<api::AppHeartbeatRequest>(server, "AppHeartbeat", parts,
                                   [](Apps& apps, const App& app, const Caller&, const api::AppHeartbeatRequest&) {
                                     return apps.heartbeat(app.id);
                                   });
  change<api::AppSetTagsRequest>(server, "AppSetTags", parts,
                                 [](Apps& apps, const App& app, const Caller&, const api::AppSetTagsRequest& request) {
                                   return apps.setTags(app.id, tagsIn(request.tags()));
                                 });
}

void registerQuestions(RpcServer& server, const ObjectParts& parts) {
  server.unary<api::AppGetLifecycleRequest, api::AppGetLifecycleResponse>(
      "AppGetLifecycle", {},
      [parts](Context& context, api::AppGetLifecycleRequest request) -> Result<api::AppGetLifecycleResponse> {
        ASSIGN_OR_RETURN(App app, appFor(parts, context.caller, request.app_id()));
        api::AppGetLifecycleResponse response;
        writeLifecycle(app, *response.mutable_lifecycle());
        return response;
      });
  server.unary<api::AppGetInfoRequest, api::AppGetInfoResponse>(
      "AppGetInfo", {.works = Works::partly, .note = "no summaries of functions"},
      [parts](Context& context, api::AppGetInfoRequest request) -> Result<api::AppGetInfoResponse> {
        ASSIGN_OR_RETURN(App app, appFor(parts, context.caller, request.app_id()));
        api::AppGetInfoResponse response;
        writeMetadata(app, *response.mutable_info());
        return response;
      });
  server.unary<api::AppGetTagsRequest, api::AppGetTagsResponse>(
      "AppGetTags", {}, [parts](Context& context, api::AppGetTagsRequest request) -> Result<api::AppGetTagsResponse> {
        ASSIGN_OR_RETURN(App app, appFor(parts, context.caller, request.app_id()));
        api::AppGetTagsResponse response;
        response.mutable_tags()->insert(app.tags.begin(), app.tags.end());
        return response;
      });
  server.unary<api::AppGetLayoutRequest, api::AppGetLayoutResponse>(
      "AppGetLayout", {},
      [parts](Context& context, api::AppGetLayoutRequest request) -> Result<api::AppGetLayoutResponse> {
        ASSIGN_OR_RETURN(api::AppLayout layout, layoutOf(parts, context.caller, request.app_id()));
        api::AppGetLayoutResponse response;
        *response.mutable_app_layout() = std::move(layout);
        return response;
      });
}

}  // namespace

void registerApps(RpcServer& server, ObjectParts parts) {
  server.unary<api::AppCreateRequest, api::AppCreateResponse>(
      "AppCreate", {.once = true},
      [parts](Context& context, api::AppCreateRequest request) { return create(parts, context.caller, request); });
  server.unary<api::AppGetOrCreateRequest, api::AppGetOrCreateResponse>(
      "AppGetOrCreate", {.once = true},
      [parts](Context& context, api::AppGetOrCreateRequest request) -> Result<api::AppGetOrCreateResponse> {
        ASSIGN_OR_RETURN(App app, getOrCreate(parts, context.caller, request));
        api::AppGetOrCreateResponse response;
        response.set_app_id(app.id.str());
        writeMetadata(app, *response.mutable_handle_metadata());
        return response;
      });
  server.unary<api::AppGetByDeploymentNameRequest, api::AppGetByDeploymentNameResponse>(
      "AppGetByDeploymentName", {}, [parts](Context& context, api::AppGetByDeploymentNameRequest request) {
        return byName(parts, context.caller, request);
      });
  server.unary<api::AppGetObjectsRequest, api::AppGetObjectsResponse>(
      "AppGetObjects", {},
      [parts](Context& context, api::AppGetObjectsRequest request) { return objects(parts, context.caller, request); });
  server.unary<api::AppPublishRequest, api::AppPublishResponse>(
      "AppPublish", {.once = true, .works = Works::partly, .note = "no staged deployments"},
      [parts](Context& context, api::AppPublishRequest request) { return publish(parts, context.caller, request); });
  server.unary<api::AppListRequest, api::AppListResponse>(
      "AppList", {},
      [parts](Context& context, api::AppListRequest request) { return list(parts, context.caller, request); });
  server.unary<api::AppDeploymentHistoryRequest, api::AppDeploymentHistoryResponse>(
      "AppDeploymentHistory", {}, [parts](Context& context, api::AppDeploymentHistoryRequest request) {
        return history(parts, context.caller, request);
      });
  server.unary<api::AppRollbackRequest, api::AppRollbackResponse>(
      "AppRollback", {.once = true},
      [parts](Context& context, api::AppRollbackRequest request) { return rollback(parts, context.caller, request); });
  server.unary<api::AppRolloverRequest, api::AppRolloverResponse>(
      "AppRollover", {.once = true},
      [parts](Context& context, api::AppRolloverRequest request) { return rollover(parts, context.caller, request); });
  registerQuestions(server, parts);
  registerChanges(server, parts);
}

}  // namespace gridiron::edge
