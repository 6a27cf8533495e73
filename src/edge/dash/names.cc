#include "edge/dash/names.h"

namespace gridiron::edge {

std::optional<App> Names::findApp(const AppId& id) {
  auto known = apps_.find(id);
  if (known != apps_.end()) return known->second;
  std::optional<App> found;
  auto object = store_.get("app", id.str());
  if (object.ok() && object->has_value()) {
    auto app = decodeApp((*object)->body);
    if (app.ok()) found = std::move(*app);
  }
  return apps_.emplace(id, std::move(found)).first->second;
}

std::optional<Function> Names::findFunction(const FunctionId& id) {
  auto known = functions_.find(id);
  if (known != functions_.end()) return known->second;
  std::optional<Function> found;
  auto object = store_.get("function", id.str());
  if (object.ok() && object->has_value()) {
    auto function = decodeFunction((*object)->body);
    if (function.ok()) found = std::move(*function);
  }
  return functions_.emplace(id, std::move(found)).first->second;
}

std::string Names::app(const AppId& id) {
  auto app = findApp(id);
  return app ? nameOf(*app) : id.str();
}

std::string Names::function(const FunctionId& id, const AppId& app) {
  auto function = findFunction(id);
  if (function && !function->tag.empty()) return function->tag;
  if (auto home = findApp(app))
    for (const auto& [tag, each] : home->functions)
      if (each == id) return tag;
  return id.str();
}

std::string nameOf(const App& app) {
  if (!app.name.empty()) return app.name;
  return app.description.empty() ? app.id.str() : app.description;
}

const char* nameOf(AppState state) {
  switch (state) {
    case AppState::unspecified:
      return "unspecified";
    case AppState::ephemeral:
      return "ephemeral";
    case AppState::detached:
      return "detached";
    case AppState::deployed:
      return "deployed";
    case AppState::stopping:
      return "stopping";
    case AppState::stopped:
      return "stopped";
    case AppState::initializing:
      return "initializing";
    case AppState::disabled:
      return "disabled";
    case AppState::detachedDisconnected:
      return "detached (disconnected)";
  }
  return "unknown";
}

std::vector<App> liveApps(const Catalog& catalog) {
  std::vector<App> apps = catalog.apps().list("");
  std::erase_if(apps, [](const App& app) { return !isLive(app.state); });
  return apps;
}

}  // namespace gridiron::edge
