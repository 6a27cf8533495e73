#include "catalog/secrets.h"

#include <algorithm>

#include "base/digest.h"
#include "base/id.h"
#include "catalog/names.h"
#include "catalog/records.h"

namespace gridiron {

namespace {

std::string encodeValues(const Variables& values) {
  records::Json json = records::Json::object();
  for (const auto& [key, value] : values) json[key] = base64Encode(value);
  return json.dump();
}

Result<Variables> decodeValues(const std::string& text) {
  Variables values;
  const auto json = records::Json::parse(text, nullptr, false);
  if (!json.is_object()) return makeError(Code::dataLoss, "a secret's values are damaged");
  for (const auto& [key, value] : json.items()) values[key] = records::bytesOf(value.get<std::string>());
  return values;
}

Result<void> checkValues(const Variables& values) {
  for (const auto& [key, value] : values) {
    const bool bad = key.empty() || key.find('=') != std::string::npos || key.find('\0') != std::string::npos;
    if (bad) return makeError(Code::invalidArgument, "'{}' cannot be the name of an environment variable", key);
    if (value.find('\0') != std::string::npos)
      return makeError(Code::invalidArgument, "the value of '{}' has a zero byte, which no variable can hold", key);
  }
  return {};
}

std::vector<std::string> keysOf(const Variables& values) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : values) keys.push_back(key);
  return keys;
}

}  // namespace

Secrets::Secrets(Store& store, const Sealer& sealer, const Clock& clock, std::string workspace)
    : store_(store), sealer_(sealer), clock_(clock), workspace_(std::move(workspace)) {}

Result<void> Secrets::load() {
  ASSIGN_OR_RETURN(auto objects, store_.list(records::all("secret")));
  for (const Object& object : objects) {
    Kept kept;
    kept.secret.id = {object.id};
    kept.secret.name = object.name;
    kept.secret.environment = object.environment;
    kept.secret.createdAt = object.createdAt;
    RETURN_IF_ERROR(records::parse(object, [&](const records::Json& json) {
      kept.secret.createdBy = json.at("created_by").get<std::string>();
      kept.secret.keys = json.at("keys").get<std::vector<std::string>>();
      kept.sealed = records::bytesOf(json.at("sealed").get<std::string>());
    }));
    secrets_.emplace(kept.secret.id, std::move(kept));
  }
  return {};
}

Result<Secret> Secrets::keep(Kept kept, const Variables& values) {
  kept.secret.keys = keysOf(values);
  kept.sealed = sealer_.seal(encodeValues(values), kept.secret.id.str());
  records::Json json{
      {"created_by", kept.secret.createdBy}, {"keys", kept.secret.keys}, {"sealed", base64Encode(kept.sealed)}};
  Batch batch;
  batch.put(Object{"secret", kept.secret.id.str(), workspace_, kept.secret.environment, kept.secret.name, true,
                   kept.secret.createdAt, records::dump(json)});
  RETURN_IF_ERROR(store_.apply(batch));
  Secret secret = kept.secret;
  secrets_[secret.id] = std::move(kept);
  return secret;
}

const Secrets::Kept* Secrets::findNamed(const std::string& environment, const std::string& name) const {
  for (const auto& [id, kept] : secrets_) {
    if (kept.secret.name == name && kept.secret.environment == environment) return &kept;
  }
  return nullptr;
}

Result<Secret> Secrets::create(const std::string& environment, const std::string& name, const Variables& values,
                               IfExists ifExists, const std::string& by) {
  RETURN_IF_ERROR(checkObjectName("Secret", name));
  RETURN_IF_ERROR(checkValues(values));
  Kept kept;
  if (const Kept* found = findNamed(environment, name)) {
    if (ifExists == IfExists::fail)
      return makeError(Code::alreadyExists, "Secret '{}' already exists in environment '{}'", name, environment);
    if (ifExists == IfExists::keep) return found->secret;
    kept = *found;
  } else {
    kept.secret = {newId<SecretTag>(), name, environment, {}, clock_.now(), by, Time{}};
  }
  return keep(std::move(kept), values);
}

Result<Secret> Secrets::anonymous(const std::string& environment, const std::string& owner, const Variables& values,
                                  const std::string& by) {
  RETURN_IF_ERROR(checkValues(values));
  // Keyed, so that an id does not let anybody try out values.
  const std::string mark = sealer_.sign("secret id", owner + '\0' + environment + '\0' + encodeValues(values));
  Kept kept;
  kept.secret = {SecretId{contentId(SecretTag::prefix, mark)}, "", environment, {}, clock_.now(), by, Time{}};
  const auto found = secrets_.find(kept.secret.id);
  if (found != secrets_.end()) return found->second.secret;
  return keep(std::move(kept), values);
}

Result<Secret> Secrets::find(const std::string& environment, const std::string& name,
                             const std::vector<std::string>& requiredKeys) const {
  const Kept* found = findNamed(environment, name);
  if (!found) {
    std::vector<std::string> names;
    for (const Secret& secret : list(environment)) names.push_back(secret.name);
    return notFoundIn("Secret", name, environment, names);
  }
  std::string missing;
  for (const std::string& key : requiredKeys) {
    if (!std::binary_search(found->secret.keys.begin(), found->secret.keys.end(), key))
      missing += (missing.empty() ? "" : ", ") + key;
  }
  if (!missing.empty()) return makeError(Code::failedPrecondition, "Secret is missing key(s): {}", missing);
  return found->secret;
}

Result<Secret> Secrets::get(const SecretId& id) const {
  const auto found = secrets_.find(id);
  if (found == secrets_.end()) return makeError(Code::notFound, "Secret '{}' not found", id.str());
  return found->second.secret;
}

Result<Variables> Secrets::reveal(const SecretId& id) {
  const auto found = secrets_.find(id);
  if (found == secrets_.end()) return makeError(Code::notFound, "Secret '{}' not found", id.str());
  ASSIGN_OR_RETURN(std::string text, sealer_.unseal(found->second.sealed, id.str()));
  found->second.secret.usedAt = clock_.now();
  return decodeValues(text);
}

std::vector<Secret> Secrets::list(const std::string& environment) const {
  std::vector<Secret> all;
  for (const auto& [id, kept] : secrets_) {
    if (!kept.secret.name.empty() && kept.secret.environment == environment) all.push_back(kept.secret);
  }
  std::sort(all.begin(), all.end(), [](const Secret& a, const Secret& b) {
    return std::pair(a.createdAt, a.name) > std::pair(b.createdAt, b.name);
  });
  return all;
}

Result<void> Secrets::update(const SecretId& id, const std::map<std::string, std::optional<std::string>>& updates) {
  const auto found = secrets_.find(id);
  if (found == secrets_.end()) return makeError(Code::notFound, "Secret '{}' not found", id.str());
  ASSIGN_OR_RETURN(std::string text, sealer_.unseal(found->second.sealed, id.str()));
  ASSIGN_OR_RETURN(Variables values, decodeValues(text));
  for (const auto& [key, value] : updates) {
    if (value) {
      values[key] = *value;
    } else {
      values.erase(key);
    }
  }
  RETURN_IF_ERROR(checkValues(values));
  Kept kept = found->second;
  Result<Secret> kept2 = keep(std::move(kept), values);
  if (!kept2.ok()) return kept2.error();
  return {};
}

Result<void> Secrets::erase(const SecretId& id) {
  if (!secrets_.contains(id)) return makeError(Code::notFound, "Secret '{}' not found", id.str());
  Batch batch;
  batch.erase("secret", id.str());
  RETURN_IF_ERROR(store_.apply(batch));
  secrets_.erase(id);
  return {};
}

}  // namespace gridiron
