#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/ids.h"
#include "store/store.h"

namespace gridiron {

struct Environment {
  EnvironmentId id;
  std::string name;
  std::string webSuffix;       // "" = none: <workspace>[-<suffix>]--<label>
  std::string builderVersion;  // of images; "" = the grid's
  Time createdAt{};
  bool isDefault = false;
};

// Loop thread only.
class Environments {
 public:
  Environments(Store& store, const Clock& clock, std::string workspace);
  // Makes the default one, "main", in a fresh store.
  Result<void> load();

  // "" is the default one. notFound names the nearest.
  Result<Environment> resolve(const std::string& name) const;
  Result<Environment> create(const std::string& name, const std::string& builderVersion = "");
  struct Changes {
    std::optional<std::string> webSuffix, builderVersion;
  };
  Result<Environment> update(const std::string& name, const Changes& changes);
  // The default one stays. What is in it must have been removed before (`isEmpty` of the caller).
  Result<void> erase(const std::string& name);
  std::vector<Environment> list() const;  // by name
  const Environment& defaultOne() const;

 private:
  Result<void> keep(const Environment& environment);

  Store& store_;
  const Clock& clock_;
  const std::string workspace_;
  std::map<std::string, Environment> byName_;
};

}  // namespace gridiron
