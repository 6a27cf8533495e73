#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;

double secondsOf(Time time) { return time == Time{} ? 0 : toSeconds(time); }

Result<api::TaskListResponse> list(const ObjectParts& parts, const Caller& caller,
                                   const api::TaskListRequest& request) {
  std::string environment;
  if (request.app_id().empty()) {
    ASSIGN_OR_RETURN(Environment resolved, environmentFor(parts, caller, request.environment_name()));
    environment = resolved.name;
  }
  api::TaskListResponse response;
  for (const Instance& instance : parts.fleet.instances()) {
    if (!request.app_id().empty() && instance.app.str() != request.app_id()) continue;
    const Result<App> app = parts.catalog.apps().get(instance.app);
    if (!app.ok() || app->workspace != caller.workspace) continue;
    if (!environment.empty() && app->environment != environment) continue;
    api::TaskStats& task = *response.add_tasks();
    task.set_task_id(instance.id.str());
    task.set_app_id(instance.app.str());
    task.set_app_description(app->description);
    task.set_started_at(secondsOf(instance.sandboxAt));
    task.set_enqueued_at(secondsOf(instance.orderedAt));
  }
  return response;
}

Result<api::TaskGetInfoResponse> info(const ObjectParts& parts, const Caller& caller,
                                      const api::TaskGetInfoRequest& request) {
  const InstanceId id{request.task_id()};
  std::optional<Instance> instance = parts.fleet.find(id);
  if (!instance) {
    ASSIGN_OR_RETURN(instance, parts.store.instance(id));
  }
  if (!instance || !appFor(parts, caller, instance->app.str()).ok())
    return makeError(Code::notFound, "Container '{}' not found", id.str());
  api::TaskGetInfoResponse response;
  response.set_app_id(instance->app.str());
  api::TaskInfo& out = *response.mutable_info();
  out.set_id(id.str());
  out.set_enqueued_at(secondsOf(instance->orderedAt));
  out.set_started_at(secondsOf(instance->sandboxAt));
  out.set_finished_at(secondsOf(instance->goneAt));
  if (instance->resources.gpuCount > 0) {
    out.set_gpu_type(instance->resources.gpuType);
    out.mutable_gpu_config()->set_gpu_type(instance->resources.gpuType);
    out.mutable_gpu_config()->set_count(static_cast<std::uint32_t>(instance->resources.gpuCount));
  }
  if (instance->state == InstanceState::gone) {
    const bool good = instance->exitCode == 0;
    out.mutable_result()->set_status(good ? api::GenericResult::GENERIC_STATUS_SUCCESS
                                          : api::GenericResult::GENERIC_STATUS_FAILURE);
    out.mutable_result()->set_exitcode(instance->exitCode);
    if (!good) out.mutable_result()->set_exception(instance->why);
  }
  return response;
}

}  // namespace

void registerTasks(RpcServer& server, ObjectParts parts) {
  server.unary<api::TaskListRequest, api::TaskListResponse>(
      "TaskList", {},
      [parts](Context& context, api::TaskListRequest request) { return list(parts, context.caller, request); });
  server.unary<api::TaskGetInfoRequest, api::TaskGetInfoResponse>(
      "TaskGetInfo", {},
      [parts](Context& context, api::TaskGetInfoRequest request) { return info(parts, context.caller, request); });
}

}  // namespace gridiron::edge
