#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "catalog/sealer.h"
#include "model/ids.h"
#include "store/store.h"

namespace gridiron {

using Variables = std::map<std::string, std::string>;

// A secret without its values.
struct Secret {
  SecretId id;
  std::string name;  // "" for secrets of an app or a client's session
  std::string environment;
  std::vector<std::string> keys;  // sorted
  Time createdAt{};
  std::string createdBy;
  Time usedAt{};  // epoch: never; not kept over a restart
};

enum class IfExists { fail, keep, replace };

// Variables for containers and builds, sealed at rest. Loop thread only.
class Secrets {
 public:
  Secrets(Store& store, const Sealer& sealer, const Clock& clock, std::string workspace);
  Result<void> load();

  // Replacing keeps the id. alreadyExists, invalidArgument (name, variable names).
  Result<Secret> create(const std::string& environment, const std::string& name, const Variables& values,
                        IfExists ifExists, const std::string& by);
  // Of an app (`owner` is its id) or a session. The same values for the same owner are the same secret, so that
  // deploying again changes nothing.
  Result<Secret> anonymous(const std::string& environment, const std::string& owner, const Variables& values,
                           const std::string& by);
  // notFound with the nearest name; failedPrecondition "Secret is missing key(s): a, b".
  Result<Secret> find(const std::string& environment, const std::string& name,
                      const std::vector<std::string>& requiredKeys) const;
  Result<Secret> get(const SecretId& id) const;
  // The values, for a container or a build that starts now.
  Result<Variables> reveal(const SecretId& id);
  std::vector<Secret> list(const std::string& environment) const;  // named ones, newest first
  // A key without a value is removed.
  Result<void> update(const SecretId& id, const std::map<std::string, std::optional<std::string>>& updates);
  Result<void> erase(const SecretId& id);

 private:
  struct Kept {
    Secret secret;
    std::string sealed;
  };
  Result<Secret> keep(Kept kept, const Variables& values);
  const Kept* findNamed(const std::string& environment, const std::string& name) const;

  Store& store_;
  const Sealer& sealer_;
  const Clock& clock_;
  const std::string workspace_;
  std::unordered_map<SecretId, Kept> secrets_;
};

}  // namespace gridiron
