#include "edge/rpc/function_stats.h"
#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;
using FunctionPtr = std::shared_ptr<const Function>;

wire::WebUrls urlsOf(const ObjectParts& parts) { return {parts.catalog.apps(), parts.config}; }

Result<FunctionPtr> functionFor(const ObjectParts& parts, const Caller& caller, const std::string& id) {
  Result<FunctionPtr> function = parts.catalog.apps().get(FunctionId{id});
  if (function.ok() && (*function)->workspace != caller.workspace)
    return makeError(Code::notFound, "Function '{}' not found", id);
  return function;
}

bool isWeb(const api::WebhookConfig& config) { return config.type() != api::WEBHOOK_TYPE_UNSPECIFIED; }

Result<api::FunctionPrecreateResponse> precreate(const ObjectParts& parts, const Caller& caller,
                                                 const api::FunctionPrecreateRequest& request) {
  if (request.function_name().empty()) return Error{Code::invalidArgument, "the request has no function_name"};
  ASSIGN_OR_RETURN(App app, appFor(parts, caller, request.app_id()));
  Apps& apps = parts.catalog.apps();
  ASSIGN_OR_RETURN(FunctionId id,
                   apps.precreate(app.id, request.function_name(), FunctionId{request.existing_function_id()}));
  const auto url = [&](const api::WebhookConfig& config, const std::string& name) {
    if (!isWeb(config)) return std::string();
    const WebLabel label = apps.labelFor(app, id, {config.requested_suffix(), name, config.ephemeral_suffix()});
    return urlsOf(parts).of(app.environment, label.label);
  };
  api::FunctionPrecreateResponse response;
  response.set_function_id(id.str());
  api::FunctionHandleMetadata& handle = *response.mutable_handle_metadata();
  handle.set_function_name(request.function_name());
  handle.set_function_type(request.function_type());
  handle.set_app_id(app.id.str());
  handle.set_web_url(url(request.webhook_config(), request.function_name()));
  if (request.has_function_schema()) *handle.mutable_function_schema() = request.function_schema();
  *handle.mutable_supported_input_formats() = request.supported_input_formats();
  *handle.mutable_supported_output_formats() = request.supported_output_formats();
  for (const auto& [name, method] : request.method_definitions()) {
    api::FunctionHandleMetadata& out = (*handle.mutable_method_handle_metadata())[name];
    out.set_function_name(method.function_name());
    out.set_use_method_name(name);
    out.set_function_type(method.function_type());
    out.set_app_id(app.id.str());
    out.set_web_url(url(method.webhook_config(), method.function_name()));
  }
  return response;
}

// What the definition refers to must be there, so that no deployment succeeds that cannot run.
Result<void> checkReferences(Catalog& catalog, const Function& function) {
  ASSIGN_OR_RETURN(Image image, catalog.images().get(function.image));
  if (image.state == ImageState::failed)
    return makeError(Code::failedPrecondition, "image {} of function '{}' could not be built", image.id.str(),
                     function.tag);
  for (const SecretId& id : function.secrets) {
    if (auto secret = catalog.secrets().get(id); !secret.ok()) return secret.error();
  }
  for (const MountId& id : function.mounts) {
    if (auto mount = catalog.mounts().get(id); !mount.ok()) return mount.error();
  }
  return {};
}

void warn(api::FunctionCreateResponse& response, const std::string& text) {
  api::Warning& warning = *response.add_server_warnings();
  warning.set_type(api::Warning::WARNING_TYPE_FUNCTION_CONFIGURATION);
  warning.set_message(text);
}

// Gives the function and its methods their labels, and says what is special about them.
void assignLabels(const Apps& apps, const App& app, const wire::ReadFunction& read, Function& function,
                  api::FunctionCreateResponse& response) {
  const auto assign = [&](WebEndpoint& web, const Apps::LabelWish& wish) {
    if (web.kind == WebKind::none) return WebLabel{};
    const WebLabel label = apps.labelFor(app, function.id, wish);
    web.label = label.label;
    if (label.stolen)
      warn(response, fmt::format("The web address '{}' was another function's until now.", label.label));
    return label;
  };
  const WebLabel own = assign(function.web, read.wish);
  api::WebUrlInfo& info = *response.mutable_function()->mutable_web_url_info();
  info.set_truncated(own.truncated);
  info.set_label_stolen(own.stolen);
  for (gridiron::Method& method : function.methods) {
    const auto wish = read.methods.find(method.name);
    if (wish != read.methods.end()) assign(method.web, wish->second);
  }
}

// "https://grid.example.org:8400" and a host → "https://hooks.example.org:8400".
std::string urlOfHost(const std::string& publicUrl, const std::string& host) {
  const std::size_t scheme = publicUrl.find("://");
  const std::size_t port = scheme == std::string::npos ? scheme : publicUrl.find(':', scheme + 3);
  return publicUrl.substr(0, scheme) + "://" + host + (port == std::string::npos ? "" : publicUrl.substr(port));
}

// The host names that the function and its methods claim (`custom_domains=[…]`) are theirs from the deployment on.
Result<void> claimDomains(const ObjectParts& parts, const App& app, const Function& function,
                          api::FunctionCreateResponse& response) {
  for (const DomainClaim& claim : domainClaimsOf(function)) {
    if (parts.domains == nullptr)
      return makeError(Code::unimplemented, "custom domain '{}': functions cannot have host names here", claim.host);
    ASSIGN_OR_RETURN(const std::string before, parts.domains->check(function, claim.host));
    if (app.state == AppState::ephemeral || app.state == AppState::detached) {
      warn(response,
           fmt::format("The custom domain '{}' is for the deployed app: it does not answer there now.", claim.host));
      continue;
    }
    if (!before.empty())
      warn(response, fmt::format("The custom domain '{}' is that of function '{}' now.", claim.host, before));
    api::Function& definition = *response.mutable_function();
    const std::string url = urlOfHost(parts.config.publicUrl, claim.host);
    if (claim.method.empty()) {
      definition.add_custom_domain_info()->set_url(url);
    } else {
      (*definition.mutable_method_definitions())[claim.method].add_custom_domain_info()->set_url(url);
    }
  }
  return {};
}

Result<api::FunctionCreateResponse> create(const ObjectParts& parts, const Caller& caller,
                                           api::FunctionCreateRequest request) {
  ASSIGN_OR_RETURN(App app, appFor(parts, caller, request.app_id()));
  const FunctionId existing{request.existing_function_id()};
  ASSIGN_OR_RETURN(wire::ReadFunction read, wire::readFunction(std::move(request), caller.clientVersion));
  Function function = std::move(read.function);
  RETURN_IF_ERROR(checkReferences(parts.catalog, function));
  if (const auto schedule = wire::scheduleOf(function)) RETURN_IF_ERROR(plan::checkSchedule(*schedule));
  Apps& apps = parts.catalog.apps();
  ASSIGN_OR_RETURN(function.id, apps.precreate(app.id, function.tag, existing));
  function.app = app.id;
  api::FunctionCreateResponse response;
  function.environment = app.environment;
  assignLabels(apps, app, read, function, response);
  // The address belongs to the definition: another one is a change.
  std::string content = read.content + '\n' + function.web.label;
  for (const gridiron::Method& method : function.methods) content += '\n' + method.web.label;
  ASSIGN_OR_RETURN(FunctionPtr draft, apps.putDraft(std::move(function), content));
  const wire::WebUrls urls = urlsOf(parts);
  const api::WebUrlInfo info = response.function().web_url_info();
  wire::writeDefinition(*draft, urls, *response.mutable_function());
  if (!draft->web.label.empty()) *response.mutable_function()->mutable_web_url_info() = info;
  RETURN_IF_ERROR(claimDomains(parts, app, *draft, response));
  response.set_function_id(draft->id.str());
  wire::writeHandle(*draft, urls, *response.mutable_handle_metadata());
  wire::writeFunctionData(*draft, urls, *response.mutable_function_data());
  return response;
}

Result<FunctionPtr> lookup(const ObjectParts& parts, const Caller& caller, const std::string& appName,
                           const std::string& tag, const std::string& environmentName, int version) {
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, environmentName));
  const auto app = parts.catalog.apps().named(environment.name, appName);
  if (version > 0 && app && app->version != version)
    return makeError(Code::unimplemented, "App '{}' is at version {}: lookups of other versions are not possible yet",
                     appName, app->version);
  return parts.catalog.apps().lookup(environment.name, appName, tag);
}

Result<api::FunctionBindParamsResponse> bind(const ObjectParts& parts, const Caller& caller,
                                             const api::FunctionBindParamsRequest& request) {
  ASSIGN_OR_RETURN(FunctionPtr base, functionFor(parts, caller, request.function_id()));
  Binding binding{base->id, request.serialized_params(), ""};
  if (request.has_function_options()) binding.options = wire::deterministicBytes(request.function_options());
  ASSIGN_OR_RETURN(FunctionPtr bound, parts.catalog.apps().bind(binding));
  api::FunctionBindParamsResponse response;
  response.set_bound_function_id(bound->id.str());
  wire::writeHandle(*bound, urlsOf(parts), *response.mutable_handle_metadata());
  return response;
}

Result<api::FunctionUpdateSchedulingParamsResponse> rescale(const ObjectParts& parts, const Caller& caller,
                                                            const api::FunctionUpdateSchedulingParamsRequest& request) {
  ASSIGN_OR_RETURN(FunctionPtr function, functionFor(parts, caller, request.function_id()));
  Scaling scaling = wire::readScaling(request.settings(), function->scaling);
  if (!request.has_settings()) scaling.minContainers = static_cast<int>(request.warm_pool_size_override());
  if (scaling.maxContainers > 0 && scaling.minContainers > scaling.maxContainers)
    return makeError(Code::invalidArgument, "min_containers ({}) is more than max_containers ({})",
                     scaling.minContainers, scaling.maxContainers);
  ASSIGN_OR_RETURN(FunctionPtr changed, parts.catalog.apps().rescale(function->id, scaling));
  api::FunctionUpdateSchedulingParamsResponse response;
  wire::writeScaling(changed->scaling, *response.mutable_current_settings());
  return response;
}

Result<api::FunctionStats> stats(const ObjectParts& parts, const Caller& caller,
                                 const api::FunctionGetCurrentStatsRequest& request) {
  ASSIGN_OR_RETURN(FunctionPtr function, functionFor(parts, caller, request.function_id()));
  const FunctionStats now = parts.fleet.stats(function->id);
  api::FunctionStats response;
  response.set_backlog(static_cast<std::uint32_t>(now.backlog));
  response.set_num_total_tasks(static_cast<std::uint32_t>(now.containers + now.starting));
  response.set_num_running_inputs(static_cast<std::uint32_t>(now.running));
  const int room = now.containers * slotsOf(*function) - now.running;
  response.set_input_headroom(static_cast<std::uint32_t>(std::max(0, room)));
  return response;
}

Result<api::ClassGetResponse> getClass(const ObjectParts& parts, const Caller& caller,
                                       const api::ClassGetRequest& request) {
  ASSIGN_OR_RETURN(FunctionPtr service, lookup(parts, caller, request.app_name(), request.object_tag() + ".*",
                                               request.environment_name(), request.app_version()));
  ASSIGN_OR_RETURN(App app, parts.catalog.apps().get(service->app));
  const auto id = app.classes.find(request.object_tag());
  if (id == app.classes.end())
    return makeError(Code::notFound, "Class '{}' not found in App '{}'", request.object_tag(), request.app_name());
  api::ClassGetResponse response;
  response.set_class_id(id->second.str());
  response.mutable_handle_metadata()->set_class_function_id(service->id.str());
  wire::writeHandle(*service, urlsOf(parts), *response.mutable_handle_metadata()->mutable_class_function_metadata());
  return response;
}

void registerLookups(RpcServer& server, const ObjectParts& parts) {
  server.unary<api::FunctionGetRequest, api::FunctionGetResponse>(
      "FunctionGet", {.works = Works::partly, .note = "the newest version only"},
      [parts](Context& context, api::FunctionGetRequest request) -> Result<api::FunctionGetResponse> {
        ASSIGN_OR_RETURN(FunctionPtr function, lookup(parts, context.caller, request.app_name(), request.object_tag(),
                                                      request.environment_name(), request.app_version()));
        api::FunctionGetResponse response;
        response.set_function_id(function->id.str());
        wire::writeHandle(*function, urlsOf(parts), *response.mutable_handle_metadata());
        wire::writeFunctionData(*function, urlsOf(parts), *response.mutable_function());
        return response;
      });
  server.unary<api::FunctionGetByIdRequest, api::FunctionGetByIdResponse>(
      "FunctionGetById", {},
      [parts](Context& context, api::FunctionGetByIdRequest request) -> Result<api::FunctionGetByIdResponse> {
        ASSIGN_OR_RETURN(FunctionPtr function, functionFor(parts, context.caller, request.function_id()));
        api::FunctionGetByIdResponse response;
        wire::writeHandle(*function, urlsOf(parts), *response.mutable_handle_metadata());
        wire::writeFunctionData(*function, urlsOf(parts), *response.mutable_function());
        return response;
      });
  server.unary<api::ClassGetRequest, api::ClassGetResponse>(
      "ClassGet", {},
      [parts](Context& context, api::ClassGetRequest request) { return getClass(parts, context.caller, request); });
  server.unary<api::FunctionGetSchedulingParamsRequest, api::FunctionGetSchedulingParamsResponse>(
      "FunctionGetSchedulingParams", {.works = Works::partly, .note = "the settings in force only"},
      [parts](Context& context,
              api::FunctionGetSchedulingParamsRequest request) -> Result<api::FunctionGetSchedulingParamsResponse> {
        ASSIGN_OR_RETURN(FunctionPtr function, functionFor(parts, context.caller, request.function_id()));
        api::FunctionGetSchedulingParamsResponse response;
        wire::writeScaling(function->scaling, *response.mutable_autoscaler_configuration()->mutable_settings());
        return response;
      });
}

}  // namespace

void registerFunctions(RpcServer& server, ObjectParts parts) {
  server.unary<api::FunctionPrecreateRequest, api::FunctionPrecreateResponse>(
      "FunctionPrecreate", {.once = true}, [parts](Context& context, api::FunctionPrecreateRequest request) {
        return precreate(parts, context.caller, request);
      });
  server.unary<api::FunctionCreateRequest, api::FunctionCreateResponse>(
      "FunctionCreate",
      {.once = true,
       .works = Works::partly,
       .note = "no volumes, snapshots of GPUs, clusters, sessions of servers, regions"},
      [parts](Context& context, api::FunctionCreateRequest request) {
        return create(parts, context.caller, std::move(request));
      });
  server.unary<api::ClassCreateRequest, api::ClassCreateResponse>(
      "ClassCreate", {.once = true},
      [parts](Context& context, api::ClassCreateRequest request) -> Result<api::ClassCreateResponse> {
        ASSIGN_OR_RETURN(App app, appFor(parts, context.caller, request.app_id()));
        ASSIGN_OR_RETURN(ClassId id, parts.catalog.apps().putClass(app.id, ClassId{request.existing_class_id()}));
        api::ClassCreateResponse response;
        response.set_class_id(id.str());
        response.mutable_handle_metadata();
        return response;
      });
  server.unary<api::FunctionBindParamsRequest, api::FunctionBindParamsResponse>(
      "FunctionBindParams", {.once = true, .works = Works::partly, .note = "no pinned versions"},
      [parts](Context& context, api::FunctionBindParamsRequest request) {
        return bind(parts, context.caller, request);
      });
  server.unary<api::FunctionUpdateSchedulingParamsRequest, api::FunctionUpdateSchedulingParamsResponse>(
      "FunctionUpdateSchedulingParams", {.once = true},
      [parts](Context& context, api::FunctionUpdateSchedulingParamsRequest request) {
        return rescale(parts, context.caller, request);
      });
  server.unary<api::FunctionGetCurrentStatsRequest, api::FunctionStats>(
      "FunctionGetCurrentStats", {}, [parts](Context& context, api::FunctionGetCurrentStatsRequest request) {
        return stats(parts, context.caller, request);
      });
  registerLookups(server, parts);
  registerFunctionStats(server, parts);
}

}  // namespace gridiron::edge
