#include "catalog/apps.h"

#include <algorithm>

#include "base/id.h"
#include "catalog/apps_records.h"
#include "catalog/names.h"

namespace gridiron {

namespace {

constexpr Nanos kDeploySilence = std::chrono::minutes(5);  // between creation and publication

}  // namespace

Apps::Apps(Store& store, const Environments& environments, const Clock& clock, std::string workspace, Options options)
    : store_(store), environments_(environments), clock_(clock), workspace_(std::move(workspace)), options_(options) {}

Result<void> Apps::load() {
  ObjectQuery every = records::all("app");
  every.liveOnly = false;
  ASSIGN_OR_RETURN(auto apps, store_.list(every));
  for (const Object& object : apps) {
    ASSIGN_OR_RETURN(App app, decodeApp(object.body));
    app.heartbeatAt = clock_.now();  // its client had no grid to beat to
    for (const auto& [name, id] : app.classes) classes_[id] = app.id;
    apps_.emplace(app.id, std::move(app));
  }
  ASSIGN_OR_RETURN(auto functions, store_.list(records::all("function")));
  for (const Object& object : functions) {
    ASSIGN_OR_RETURN(Function function, decodeFunction(object.body));
    const FunctionId id = function.id;
    inForce_.emplace(id, std::make_shared<const Function>(std::move(function)));
  }
  ASSIGN_OR_RETURN(auto bindings, store_.list(records::all("binding")));
  for (const Object& object : bindings) {
    ASSIGN_OR_RETURN(Binding binding, records::readBinding(object));
    bindings_.emplace(FunctionId{object.id}, std::move(binding));
  }
  reindexWeb();
  return {};
}

App* Apps::mutableApp(const AppId& id) {
  const auto found = apps_.find(id);
  return found == apps_.end() ? nullptr : &found->second;
}

Result<App> Apps::get(const AppId& id) const {
  const auto found = apps_.find(id);
  if (found == apps_.end()) return makeError(Code::notFound, "App '{}' not found", id.str());
  return found->second;
}

const App* Apps::find(const AppId& id) const {
  const auto found = apps_.find(id);
  return found == apps_.end() ? nullptr : &found->second;
}

Result<App*> Apps::liveApp(const AppId& id) {
  App* app = mutableApp(id);
  if (!app) return makeError(Code::notFound, "App '{}' not found", id.str());
  if (!isLive(app->state))
    return makeError(Code::failedPrecondition, "App '{}' is stopped", app->name.empty() ? id.str() : app->name);
  return app;
}

Result<void> Apps::keepApp(const App& app) {
  Batch batch;
  batch.put(records::objectOf(app));
  RETURN_IF_ERROR(store_.apply(batch));
  apps_[app.id] = app;
  return {};
}

Result<App> Apps::create(NewApp wanted) {
  if (!wanted.name.empty()) RETURN_IF_ERROR(checkObjectName("App", wanted.name));
  if (!wanted.name.empty() && named(wanted.environment, wanted.name))
    return makeError(Code::alreadyExists, "App '{}' already exists in environment '{}'", wanted.name,
                     wanted.environment);
  App app;
  app.id = newId<AppTag>();
  app.workspace = workspace_;
  app.environment = std::move(wanted.environment);
  app.name = std::move(wanted.name);
  app.description = wanted.description.empty() ? app.name : std::move(wanted.description);
  app.state = wanted.state;
  app.createdAt = clock_.now();
  app.heartbeatAt = app.createdAt;
  app.createdBy = std::move(wanted.by);
  app.tags = std::move(wanted.tags);
  RETURN_IF_ERROR(keepApp(app));
  return app;
}

std::optional<App> Apps::named(const std::string& environment, const std::string& name) const {
  for (const auto& [id, app] : apps_) {
    if (app.name == name && app.environment == environment && isLive(app.state)) return app;
  }
  return std::nullopt;
}

Error Apps::notFound(const std::string& environment, const std::string& name) const {
  std::vector<std::string> names;
  for (const auto& [id, app] : apps_) {
    if (!app.name.empty() && app.environment == environment && isLive(app.state)) names.push_back(app.name);
  }
  return notFoundIn("App", name, environment, names);
}

std::optional<App> Apps::lastStopped(const std::string& environment, const std::string& name) const {
  std::optional<App> last;
  for (const auto& [id, app] : apps_) {
    if (app.name != name || app.environment != environment || isLive(app.state)) continue;
    if (!last || last->stoppedAt < app.stoppedAt) last = app;
  }
  return last;
}

std::vector<App> Apps::list(const std::string& environment) const {
  std::vector<App> all;
  for (const auto& [id, app] : apps_) {
    if (environment.empty() || app.environment == environment) all.push_back(app);
  }
  std::sort(all.begin(), all.end(),
            [](const App& a, const App& b) { return std::pair(a.createdAt, a.id) > std::pair(b.createdAt, b.id); });
  return all;
}

Result<void> Apps::heartbeat(const AppId& id) {
  ASSIGN_OR_RETURN(App * app, liveApp(id));
  app->heartbeatAt = clock_.now();
  return {};
}

Result<void> Apps::setTags(const AppId& id, std::map<std::string, std::string> tags) {
  ASSIGN_OR_RETURN(App app, get(id));
  app.tags = std::move(tags);
  return keepApp(app);
}

Result<void> Apps::stop(const AppId& id, const std::string& by, const std::string& why) {
  App* app = mutableApp(id);
  if (!app) return makeError(Code::notFound, "App '{}' not found", id.str());
  if (!isLive(app->state)) return {};
  App stopped = *app;
  stopped.state = AppState::stopped;
  stopped.stoppedAt = clock_.now();
  stopped.stoppedBy = by;
  Batch batch;
  batch.put(records::objectOf(stopped));
  std::vector<FunctionPtr> functions;
  for (const auto& [functionId, function] : inForce_) {
    if (function->app != id) continue;
    functions.push_back(function);
    batch.erase("function", functionId.str());
    if (!function->boundFrom.empty()) batch.erase("binding", functionId.str());
  }
  RETURN_IF_ERROR(store_.apply(batch));
  *app = stopped;
  for (const FunctionPtr& function : functions) {
    inForce_.erase(function->id);
    bindings_.erase(function->id);
  }
  std::erase_if(drafts_, [&](const auto& entry) { return entry.second->app == id; });
  std::erase_if(reserved_, [&](const auto& entry) { return entry.second.first == id; });
  std::erase_if(classes_, [&](const auto& entry) { return entry.second == id; });
  reindexWeb();
  for (AppsObserver* observer : observers_) {
    for (const FunctionPtr& function : functions) observer->functionRemoved(*function, why);
    observer->appStopped(stopped, why);
  }
  return {};
}

Result<void> Apps::disconnect(const AppId& id, const std::string& why) {
  App* app = mutableApp(id);
  if (!app) return makeError(Code::notFound, "App '{}' not found", id.str());
  switch (app->state) {
    case AppState::initializing:
    case AppState::ephemeral:
      return stop(id, app->createdBy, why);
    case AppState::detached: {
      App left = *app;
      left.state = AppState::detachedDisconnected;
      return keepApp(left);
    }
    default:
      return {};
  }
}

void Apps::expire(const std::function<bool(const App&)>& busy) {
  std::vector<std::pair<AppId, std::string>> ended;
  for (const auto& [id, app] : apps_) {
    const Nanos silent = clock_.now() - app.heartbeatAt;
    if (app.state == AppState::ephemeral && silent > options_.clientSilence)
      ended.emplace_back(id, "the client that ran the app has gone");
    if (app.state == AppState::initializing && silent > kDeploySilence)
      ended.emplace_back(id, "the client that deployed the app has gone before it was published");
    if (app.state == AppState::detached && silent > options_.clientSilence) {
      App left = app;
      left.state = AppState::detachedDisconnected;
      if (!keepApp(left).ok()) continue;  // tried again next time
    }
    if (app.state == AppState::detachedDisconnected && !busy(app))
      ended.emplace_back(id, "the detached app has done its work");
  }
  for (const auto& [id, why] : ended) {
    [[maybe_unused]] Result<void> stopped = stop(id, "", why);  // the store is out of order: tried again next time
  }
}

}  // namespace gridiron
