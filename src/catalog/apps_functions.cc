// Functions of apps: drafts, publication, versions, bindings.
#include <algorithm>
#include <set>

#include "base/id.h"
#include "catalog/apps.h"
#include "catalog/apps_records.h"
#include "catalog/names.h"

namespace gridiron {

Result<FunctionId> Apps::precreate(const AppId& appId, const std::string& tag, const FunctionId& existing) {
  ASSIGN_OR_RETURN(App * app, liveApp(appId));
  if (existing.empty()) {
    // Asked again by the same client (a lost answer): the same id, as long as it is not created.
    for (const auto& [id, place] : reserved_) {
      if (place.first == appId && place.second == tag) return id;
    }
    const FunctionId id = newId<FunctionTag>();
    reserved_[id] = {app->id, tag};
    return id;
  }
  if (const auto known = newest(existing)) {
    if (known->app != appId)
      return makeError(Code::permissionDenied, "function '{}' is not of app '{}'", existing.str(), appId.str());
    return existing;
  }
  const auto reserved = reserved_.find(existing);
  if (reserved != reserved_.end() && reserved->second.first != appId)
    return makeError(Code::permissionDenied, "function '{}' is not of app '{}'", existing.str(), appId.str());
  reserved_[existing] = {app->id, tag};
  return existing;
}

Result<std::shared_ptr<const Function>> Apps::putDraft(Function function, const std::string& content) {
  ASSIGN_OR_RETURN(App * app, liveApp(function.app));
  function.workspace = app->workspace;
  function.environment = app->environment;
  function.definitionId = {contentId(DefinitionTag::prefix, function.id.str() + '\0' + content)};
  auto draft = std::make_shared<const Function>(std::move(function));
  reserved_.erase(draft->id);
  drafts_[draft->id] = draft;
  return FunctionPtr(draft);
}

Result<ClassId> Apps::putClass(const AppId& appId, const ClassId& existing) {
  ASSIGN_OR_RETURN(App * app, liveApp(appId));
  const auto known = classes_.find(existing);
  if (known != classes_.end() && known->second != appId)
    return makeError(Code::permissionDenied, "class '{}' is not of app '{}'", existing.str(), appId.str());
  const ClassId id = existing.empty() ? newId<ClassTag>() : existing;
  classes_[id] = app->id;
  return id;
}

std::shared_ptr<const Function> Apps::find(const FunctionId& id) const {
  if (const auto found = inForce_.find(id); found != inForce_.end()) return found->second;
  if (const auto found = drafts_.find(id); found != drafts_.end()) return found->second;
  return nullptr;
}

std::shared_ptr<const Function> Apps::newest(const FunctionId& id) const {
  if (const auto found = drafts_.find(id); found != drafts_.end()) return found->second;
  return find(id);
}

Result<std::shared_ptr<const Function>> Apps::get(const FunctionId& id) const {
  FunctionPtr function = find(id);
  if (!function) return makeError(Code::notFound, "Function '{}' not found", id.str());
  return function;
}

Result<std::shared_ptr<const Function>> Apps::lookup(const std::string& environment, const std::string& appName,
                                                     const std::string& tag) const {
  const auto app = named(environment, appName);
  if (!app) return notFound(environment, appName);
  const auto found = app->functions.find(tag);
  if (found != app->functions.end()) return get(found->second);
  std::vector<std::string> tags;
  for (const auto& [known, id] : app->functions) tags.push_back(known);
  return notFoundIn("Function", tag, "", tags).within(fmt::format("App '{}'", appName));
}

std::vector<std::shared_ptr<const Function>> Apps::functionsOf(const App& app) const {
  std::vector<FunctionPtr> all;
  for (const auto& [tag, id] : app.functions) {
    if (FunctionPtr function = find(id)) all.push_back(std::move(function));
  }
  return all;
}

std::vector<std::shared_ptr<const Function>> Apps::withBoundOf(const App& app) const {
  std::vector<FunctionPtr> all;
  for (const auto& [id, function] : inForce_) {
    if (function->app == app.id) all.push_back(function);
  }
  return all;
}

// The functions that a publication names, each in the definition that it names.
Result<std::map<std::string, std::shared_ptr<const Function>>> Apps::chosen(const App& app,
                                                                            const Publication& publication) const {
  std::map<std::string, FunctionPtr> all;
  for (const auto& [tag, id] : publication.functions) {
    FunctionPtr function = newest(id);
    if (!function || function->app != app.id)
      return makeError(Code::failedPrecondition,
                       "function '{}' ({}) has not been created in this app: deploy again from the beginning", tag,
                       id.str());
    const auto wanted = publication.definitions.find(id);
    if (wanted != publication.definitions.end() && wanted->second != function->definitionId) {
      const auto current = inForce_.find(id);
      if (current == inForce_.end() || current->second->definitionId != wanted->second)
        return makeError(Code::aborted, "function '{}' was created anew by another client meanwhile: deploy again",
                         tag);
      function = current->second;
    }
    all[tag] = std::move(function);
  }
  return all;
}

namespace {

bool sameLayout(const App& app, const Publication& publication, AppState state) {
  return app.functions == publication.functions && app.classes == publication.classes && app.state == state &&
         (publication.name.empty() || app.name == publication.name);
}

// The app's next version.
void advance(App& app, const Publication& publication, Time now) {
  if (!publication.name.empty()) app.name = publication.name;
  if (!publication.tags.empty()) app.tags = publication.tags;
  app.functions = publication.functions;
  app.classes = publication.classes;
  app.version += 1;
  app.deployedAt = now;
  app.deployedBy = publication.by;
  app.heartbeatAt = now;
}

}  // namespace

Result<Published> Apps::publish(const Publication& publication) {
  ASSIGN_OR_RETURN(App * app, liveApp(publication.app));
  if (!publication.name.empty()) RETURN_IF_ERROR(checkObjectName("App", publication.name));
  ASSIGN_OR_RETURN(auto functions, chosen(*app, publication));
  for (const auto& [name, id] : publication.classes) {
    const auto known = classes_.find(id);
    if (known == classes_.end() || known->second != app->id)
      return makeError(Code::failedPrecondition, "class '{}' ({}) has not been created in this app", name, id.str());
  }
  if (!publication.name.empty()) {
    const auto holder = named(app->environment, publication.name);
    if (holder && holder->id != app->id)
      return makeError(Code::alreadyExists, "App '{}' was deployed by another client meanwhile: deploy again",
                       publication.name);
  }
  return putInForce(*app, publication, functions, {});
}

Result<Published> Apps::putInForce(const App& before, Publication publication,
                                   const std::map<std::string, FunctionPtr>& functions, Origin origin) {
  App after = before;
  if (publication.state != AppState::unspecified) after.state = publication.state;
  if (!mayBecome(before.state, after.state))
    return makeError(Code::failedPrecondition, "an app in state {} cannot get to state {}",
                     static_cast<int>(before.state), static_cast<int>(after.state));
  std::vector<FunctionPtr> changed;
  for (const auto& [tag, function] : functions) {
    const auto current = inForce_.find(function->id);
    // What was asked of the autoscaler since the last deployment ends with this one.
    if (current == inForce_.end() || current->second->definitionId != function->definitionId ||
        current->second->scaling != function->scaling)
      changed.push_back(function);
  }
  // A rollback or rollover is a version of its own even when nothing changes: who asked for it sees that it was done.
  if (origin.rollbackOf == 0 && !origin.rollover && changed.empty() && sameLayout(before, publication, after.state)) {
    if (!publication.tags.empty() && publication.tags != before.tags) {
      after.tags = publication.tags;
      RETURN_IF_ERROR(keepApp(after));
    }
    for (const auto& [tag, function] : functions) rebind(function);
    return Published{after, false};
  }
  advance(after, publication, clock_.now());
  AppVersion version{after.version,   publication.clientVersion, after.deployedAt,
                     publication.by,  publication.deploymentTag, origin.rollbackOf,
                     origin.rollover, publication.commitInfo,    {},
                     after.classes};
  std::set<FunctionId> kept;
  for (const auto& [tag, function] : functions) {
    version.functions[tag] = {function->id, function->definitionId};
    kept.insert(function->id);
  }
  std::vector<FunctionPtr> dropped;
  for (const auto& [id, function] : inForce_) {
    const FunctionId root = function->boundFrom.empty() ? id : function->boundFrom;
    if (function->app == before.id && !kept.contains(root)) dropped.push_back(function);
  }
  Batch batch;
  batch.put(records::objectOf(after)).put(records::objectOf(after, version));
  for (const FunctionPtr& function : changed) {
    batch.put(records::objectOf(*function, after.deployedAt)).put(records::definitionOf(*function, after.deployedAt));
  }
  for (const FunctionPtr& function : dropped) {
    batch.erase("function", function->id.str());
    if (!function->boundFrom.empty()) batch.erase("binding", function->id.str());
  }
  RETURN_IF_ERROR(store_.apply(batch));

  apps_[after.id] = after;
  for (const FunctionPtr& function : changed) inForce_[function->id] = function;
  std::erase_if(drafts_, [&](const auto& entry) { return kept.contains(entry.first); });
  for (const FunctionPtr& function : dropped) {
    inForce_.erase(function->id);
    bindings_.erase(function->id);
  }
  reindexWeb();
  for (AppsObserver* observer : observers_) {
    for (const FunctionPtr& function : dropped) observer->functionRemoved(*function, "it is no longer part of its app");
    for (const FunctionPtr& function : changed) observer->functionChanged(*function);
  }
  for (const auto& [tag, function] : functions) rebind(function);
  return Published{after, true};
}

Result<std::shared_ptr<const Function>> Apps::bind(const Binding& binding) { return bind(binding, Rescaled::stays); }

Result<std::shared_ptr<const Function>> Apps::bind(const Binding& binding, Rescaled rescaled) {
  const auto base = find(binding.base);
  if (!base) return makeError(Code::notFound, "Function '{}' not found", binding.base.str());
  if (!binder_) return makeError(Code::unimplemented, "functions cannot be bound here");
  Result<Function> made = binder_(*base, binding);
  if (!made.ok()) return made.error();
  Function function = std::move(*made);
  function.id = {contentId(FunctionTag::prefix, base->id.str() + '\0' + std::to_string(binding.parameters.size()) +
                                                    '\0' + binding.parameters + binding.options)};
  function.boundFrom = base->id;
  function.serializedParams = binding.parameters;
  function.definitionId = {contentId(DefinitionTag::prefix, function.id.str() + '\0' + base->definitionId.str())};
  if (const auto known = inForce_.find(function.id);
      known != inForce_.end() && known->second->definitionId == function.definitionId &&
      (rescaled == Rescaled::stays || known->second->scaling == function.scaling))
    return known->second;
  if (!bindings_.contains(function.id)) {
    const auto ofBase = [&](const auto& one) { return one.second.base == base->id; };
    const auto count = std::count_if(bindings_.begin(), bindings_.end(), ofBase);
    if (static_cast<std::size_t>(count) >= options_.mostBound)
      return makeError(Code::exhausted,
                       "'{}' has {} sets of parameters and options, which is the most; those of a function that is "
                       "taken out of its app, or whose app is stopped, are forgotten",
                       base->tag, count);
  }
  const auto bound = std::make_shared<const Function>(std::move(function));
  Batch batch;
  batch.put(records::objectOf(*bound, clock_.now())).put(records::objectOf(bound->id, *bound, binding, clock_.now()));
  RETURN_IF_ERROR(store_.apply(batch));
  inForce_[bound->id] = bound;
  bindings_[bound->id] = binding;
  for (AppsObserver* observer : observers_) observer->functionChanged(*bound);
  return FunctionPtr(bound);
}

// Brings what was bound from `base` to its present definition and scaling.
void Apps::rebind(const FunctionPtr& base) {
  std::vector<Binding> stale;
  for (const auto& [id, binding] : bindings_) {
    if (binding.base == base->id) stale.push_back(binding);
  }
  for (const Binding& binding : stale) {
    // What does not fit the new definition any more stays as it was until it is bound again, which tells why.
    [[maybe_unused]] auto bound = bind(binding, Rescaled::isReset);
  }
}

Result<std::shared_ptr<const Function>> Apps::rescale(const FunctionId& id, const Scaling& scaling) {
  const auto current = inForce_.find(id);
  if (current == inForce_.end()) return makeError(Code::notFound, "Function '{}' not found", id.str());
  auto changed = std::make_shared<Function>(*current->second);
  changed->scaling = scaling;
  Batch batch;
  batch.put(records::objectOf(*changed, clock_.now()));
  RETURN_IF_ERROR(store_.apply(batch));
  inForce_[id] = changed;
  for (AppsObserver* observer : observers_) observer->functionChanged(*changed);
  return FunctionPtr(changed);
}

Result<std::vector<AppVersion>> Apps::history(const AppId& id) const {
  ASSIGN_OR_RETURN(auto objects, store_.list(records::childrenOf("app_version", id.str())));
  std::vector<AppVersion> versions;
  for (const Object& object : objects) {
    ASSIGN_OR_RETURN(AppVersion version, records::readVersion(object));
    versions.push_back(std::move(version));
  }
  std::sort(versions.begin(), versions.end(),
            [](const AppVersion& a, const AppVersion& b) { return a.version > b.version; });
  return versions;
}

Result<std::map<std::string, std::shared_ptr<const Function>>> Apps::ofVersion(const App& app,
                                                                               const AppVersion& version) const {
  std::map<std::string, FunctionPtr> functions;
  for (const auto& [tag, ids] : version.functions) {
    ASSIGN_OR_RETURN(auto object, store_.get("definition", ids.second.str()));
    if (!object)
      return makeError(Code::notFound, "version {} of app '{}' is not kept any more", version.version, app.name);
    ASSIGN_OR_RETURN(Function function, decodeFunction(object->body));
    functions[tag] = std::make_shared<const Function>(std::move(function));
  }
  return functions;
}

Publication Apps::publicationOf(const App& app, const AppVersion& version, const std::string& by) {
  Publication publication;
  publication.app = app.id;
  for (const auto& [tag, ids] : version.functions) publication.functions[tag] = ids.first;
  publication.classes = version.classes;
  publication.clientVersion = version.clientVersion;
  publication.commitInfo = version.commitInfo;
  publication.by = by;
  return publication;
}

Result<App> Apps::deployedApp(const AppId& id) {
  ASSIGN_OR_RETURN(App * app, liveApp(id));
  if (app->state != AppState::deployed)
    return makeError(Code::failedPrecondition, "App '{}' is not deployed", app->name);
  return *app;
}

Result<Published> Apps::rollback(const AppId& id, int wanted, const std::string& by) {
  ASSIGN_OR_RETURN(App app, deployedApp(id));
  const int number = wanted < 0 ? app.version - 1 : wanted;
  ASSIGN_OR_RETURN(auto versions, history(id));
  const auto found = std::find_if(versions.begin(), versions.end(),
                                  [&](const AppVersion& version) { return version.version == number; });
  if (found == versions.end())
    return makeError(Code::notFound, "App '{}' has no version {}; it is at version {}", app.name, number, app.version);
  ASSIGN_OR_RETURN(auto functions, ofVersion(app, *found));
  return putInForce(app, publicationOf(app, *found, by), functions, {.rollbackOf = number});
}

Result<Published> Apps::rollover(const AppId& id, const std::string& by) {
  ASSIGN_OR_RETURN(App app, deployedApp(id));
  ASSIGN_OR_RETURN(auto versions, history(id));
  if (versions.empty()) return makeError(Code::internal, "App '{}' has no versions", app.name);
  std::map<std::string, FunctionPtr> functions;
  for (const auto& [tag, function] : app.functions) {
    ASSIGN_OR_RETURN(FunctionPtr present, get(function));
    auto renewed = std::make_shared<Function>(*present);
    renewed->definitionId = {randomId(DefinitionTag::prefix)};
    functions[tag] = std::move(renewed);
  }
  return putInForce(app, publicationOf(app, versions.front(), by), functions, {.rollover = true});
}

}  // namespace gridiron
