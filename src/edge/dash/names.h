#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "model/app.h"
#include "model/function.h"
#include "store/store.h"

namespace gridiron::edge {

// What people call the things behind ids, also those that are no more. For one report: it remembers what it has read.
class Names {
 public:
  explicit Names(Store& store) : store_(store) {}

  // The deployment's name, else the description, else the id.
  std::string app(const AppId& id);
  // The tag (of a stopped app's function: the one it had in its app), else the id.
  std::string function(const FunctionId& id, const AppId& app);
  std::optional<App> findApp(const AppId& id);
  std::optional<Function> findFunction(const FunctionId& id);

 private:
  Store& store_;
  std::map<AppId, std::optional<App>> apps_;
  std::map<FunctionId, std::optional<Function>> functions_;
};

std::string nameOf(const App& app);
const char* nameOf(AppState state);

// Apps that are not stopped, newest first.
std::vector<App> liveApps(const Catalog& catalog);

}  // namespace gridiron::edge
