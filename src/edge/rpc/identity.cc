#include <charconv>

#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"
#include "wire/class_parameters.h"

namespace gridiron::edge {

namespace {

std::string valueOf(const net::Headers& headers, std::string_view name) {
  return std::string(headers.find(name).value_or(""));
}

Result<Caller> container(Caller caller, Catalog& catalog, const Fleet& fleet, const InstanceId& task) {
  const std::optional<Instance> instance = fleet.find(task);
  if (!instance)
    return makeError(Code::unauthenticated, "container '{}' is not (any more) of this grid, and no token came with it",
                     task.str());
  caller.kind = Caller::Kind::container;
  caller.task = task;
  caller.app = instance->app;
  caller.function = instance->function;
  caller.username = "container";
  caller.workspace = catalog.workspace().name;
  if (const App* app = catalog.apps().find(instance->app)) caller.environment = app->environment;
  return caller;
}

Result<Caller> identify(const net::RequestHead& head, Catalog& catalog, const Fleet& fleet,
                        const std::function<std::optional<InstanceId>(const net::Headers&)>& containerOf) {
  const net::Headers& headers = head.headers;
  Caller caller;
  caller.clientVersion = valueOf(headers, "x-modal-client-version");
  const std::string type = valueOf(headers, "x-modal-client-type");
  std::from_chars(type.data(), type.data() + type.size(), caller.clientType);
  caller.host = head.authority;
  caller.scheme = head.scheme;
  if (headers.find("x-gridiron-task")) {
    const auto task = containerOf ? containerOf(headers) : std::nullopt;
    if (!task) return Error{Code::unauthenticated, "a container is vouched for by its worker's secret, not by a token"};
    return container(std::move(caller), catalog, fleet, *task);
  }
  const std::string id = valueOf(headers, "x-modal-token-id");
  const std::string secret = valueOf(headers, "x-modal-token-secret");
  if (id.empty() && secret.empty()) return caller;
  const auto token = catalog.authenticate(id, secret);
  if (!token.ok()) return token.error();
  caller.kind = Caller::Kind::client;
  caller.workspace = token->workspace;
  caller.username = token->username;
  caller.tokenId = token->id;
  return caller;
}

}  // namespace

Identify identifyCallers(Catalog& catalog, const Fleet& fleet,
                         std::function<std::optional<InstanceId>(const net::Headers&)> containerOf) {
  return [&catalog, &fleet, containerOf = std::move(containerOf)](const net::RequestHead& head) {
    return identify(head, catalog, fleet, containerOf);
  };
}

std::optional<WebTarget> webTargetAt(const Catalog& catalog, const CustomDomains& domains,
                                     const FunctionAddress& address) {
  if (!address.domain.empty()) return domains.find(address.domain);
  auto found = catalog.apps().atAddress(address.workspace, address.label);
  if (!found) return std::nullopt;
  return WebTarget{std::move(found->function), std::move(found->method), std::move(found->web)};
}

Result<std::shared_ptr<const Function>> instanceOf(Catalog& catalog, const Function& service,
                                                   const std::map<std::string, std::string>& query) {
  ASSIGN_OR_RETURN(const std::optional<std::string> parameters, wire::classParameters(service, query));
  if (!parameters) return catalog.apps().get(service.id);
  return catalog.apps().bind({service.id, *parameters, ""});
}

Result<std::optional<WebhookRule>> webhookRuleFor(const Catalog& catalog,
                                                  const std::vector<ConfiguredWebhook>& configured,
                                                  const Function& function, const std::string& method) {
  const App* app = catalog.apps().find(function.app);
  if (app == nullptr || (configured.empty() && app->tags.empty())) return std::optional<WebhookRule>();
  const std::string name = functionName(function, method);
  for (const ConfiguredWebhook& one : configured)
    if (one.app == app->name && one.function == name &&
        (one.environment.empty() || one.environment == app->environment))
      return std::optional<WebhookRule>(one.rule);
  return webhookRuleOf(app->tags, name);
}

Result<std::optional<LimitRule>> limitRuleFor(const Catalog& catalog, const std::vector<ConfiguredLimit>& configured,
                                              const Function& function, const std::string& method) {
  const App* app = catalog.apps().find(function.app);
  if (app == nullptr || (configured.empty() && app->tags.empty())) return std::optional<LimitRule>();
  const std::string name = functionName(function, method);
  const auto fits = [](const std::string& asked, const std::string& is) { return asked == "*" || asked == is; };
  for (const ConfiguredLimit& one : configured)
    if (fits(one.app, app->name) && fits(one.function, name) &&
        (one.environment.empty() || fits(one.environment, app->environment)))
      return std::optional<LimitRule>(one.rule);
  return limitRuleOf(app->tags, name);
}

Result<std::string> fileFor(Catalog& catalog, const link::FetchFileRequest& request) {
  if (!request.blob_id().empty()) return catalog.blobs().path(BlobId{request.blob_id()});
  const auto content = Sha256::fromHex(request.sha256_hex());
  if (!content) return makeError(Code::invalidArgument, "'{}' is no SHA-256", request.sha256_hex());
  if (!catalog.blobs().bytes().has(*content))
    return makeError(Code::notFound, "no file with the SHA-256 {}", request.sha256_hex());
  return catalog.blobs().bytes().path(*content);
}

Result<Environment> environmentFor(const ObjectParts& parts, const Caller& caller, const std::string& name) {
  return parts.catalog.environments().resolve(name.empty() ? caller.environment : name);
}

Result<App> appFor(const ObjectParts& parts, const Caller& caller, const std::string& id) {
  if (id.empty()) return Error{Code::invalidArgument, "the request has no app_id"};
  Result<App> app = parts.catalog.apps().get(AppId{id});
  if (app.ok() && app->workspace != caller.workspace) return makeError(Code::notFound, "App '{}' not found", id);
  return app;
}

void registerObjects(RpcServer& server, ObjectParts parts, ImageBuilds& builds) {
  parts.catalog.apps().setBinder(wire::bindFunction);
  registerTokens(server, parts);
  registerEnvironments(server, parts);
  registerSecrets(server, parts);
  registerMounts(server, parts);
  registerImages(server, parts, builds);
  registerApps(server, parts);
  registerFunctions(server, parts);
  registerTasks(server, parts);
  registerQueues(server, parts);
  registerDicts(server, parts);
}

}  // namespace gridiron::edge
