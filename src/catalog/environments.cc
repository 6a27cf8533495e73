#include "catalog/environments.h"

#include "catalog/names.h"
#include "catalog/records.h"

namespace gridiron {

Environments::Environments(Store& store, const Clock& clock, std::string workspace)
    : store_(store), clock_(clock), workspace_(std::move(workspace)) {}

Result<void> Environments::load() {
  ASSIGN_OR_RETURN(auto objects, store_.list(records::all("environment")));
  for (const Object& object : objects) {
    Environment environment;
    environment.id = {object.id};
    environment.name = object.name;
    environment.createdAt = object.createdAt;
    RETURN_IF_ERROR(records::parse(object, [&](const records::Json& json) {
      environment.webSuffix = json.at("web_suffix").get<std::string>();
      environment.builderVersion = json.at("builder_version").get<std::string>();
      environment.isDefault = json.at("default").get<bool>();
    }));
    byName_.emplace(environment.name, environment);
  }
  if (!byName_.empty()) return {};
  Environment main{newId<EnvironmentTag>(), "main", "", "", clock_.now(), true};
  return keep(main);
}

Result<void> Environments::keep(const Environment& environment) {
  records::Json json{{"web_suffix", environment.webSuffix},
                     {"builder_version", environment.builderVersion},
                     {"default", environment.isDefault}};
  Batch batch;
  batch.put(Object{"environment", environment.id.str(), workspace_, "", environment.name, true, environment.createdAt,
                   records::dump(json)});
  RETURN_IF_ERROR(store_.apply(batch));
  byName_[environment.name] = environment;
  return {};
}

const Environment& Environments::defaultOne() const {
  for (const auto& [name, environment] : byName_) {
    if (environment.isDefault) return environment;
  }
  GRID_CHECK(!byName_.empty());
  return byName_.begin()->second;
}

Result<Environment> Environments::resolve(const std::string& name) const {
  if (name.empty()) return defaultOne();
  const auto found = byName_.find(name);
  if (found != byName_.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, environment] : byName_) names.push_back(known);
  return notFoundIn("Environment", name, "", names);
}

Result<Environment> Environments::create(const std::string& name, const std::string& builderVersion) {
  RETURN_IF_ERROR(checkEnvironmentName(name));
  if (byName_.contains(name)) return makeError(Code::alreadyExists, "Environment '{}' already exists", name);
  Environment made{newId<EnvironmentTag>(), name, dnsLabel(name), builderVersion, clock_.now(), false};
  RETURN_IF_ERROR(keep(made));
  return made;
}

Result<Environment> Environments::update(const std::string& name, const Changes& changes) {
  ASSIGN_OR_RETURN(Environment changed, resolve(name));
  if (changes.webSuffix) {
    const std::string label = dnsLabel(*changes.webSuffix);
    if (label != *changes.webSuffix)
      return makeError(Code::invalidArgument, "web suffix '{}' is no part of a host name; '{}' would be",
                       *changes.webSuffix, label);
    for (const auto& [other, environment] : byName_) {
      if (other != changed.name && environment.webSuffix == label)
        return makeError(Code::alreadyExists, "environment '{}' has the web suffix '{}' already", other, label);
    }
    changed.webSuffix = label;
  }
  if (changes.builderVersion) changed.builderVersion = *changes.builderVersion;
  RETURN_IF_ERROR(keep(changed));
  return changed;
}

Result<void> Environments::erase(const std::string& name) {
  ASSIGN_OR_RETURN(Environment environment, resolve(name));
  if (environment.isDefault)
    return makeError(Code::failedPrecondition, "environment '{}' is the default one and stays", environment.name);
  Batch batch;
  batch.erase("environment", environment.id.str());
  RETURN_IF_ERROR(store_.apply(batch));
  byName_.erase(environment.name);
  return {};
}

std::vector<Environment> Environments::list() const {
  std::vector<Environment> all;
  for (const auto& [name, environment] : byName_) all.push_back(environment);
  return all;
}

}  // namespace gridiron
