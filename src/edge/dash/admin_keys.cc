// Tokens and secrets of the admin API.
#include "edge/dash/admin.h"
#include "edge/dash/reports.h"

namespace gridiron::edge {
namespace {

using nlohmann::json;

std::string textOf(const json& body, const char* field) {
  auto found = body.is_object() ? body.find(field) : body.end();
  return found != body.end() && found->is_string() ? found->get<std::string>() : "";
}

json tokenJson(const Token& token, Time now) {
  bool expired = token.expiresAt && *token.expiresAt <= now;
  return {{"token_id", token.id},
          {"name", token.name},
          {"workspace", token.workspace},
          {"created_at", momentJson(token.createdAt)},
          {"expires_at", token.expiresAt ? momentJson(*token.expiresAt) : json(nullptr)},
          {"state", expired ? "expired" : "live"}};
}

json secretJson(const Secret& secret) {
  return {{"name", secret.name},
          {"environment", secret.environment},
          {"keys", secret.keys},
          {"created_at", momentJson(secret.createdAt)}};
}

Result<Variables> variablesOf(const json& body) {
  auto values = body.is_object() ? body.find("values") : body.end();
  if (values == body.end() || !values->is_object() || values->empty())
    return Error{Code::invalidArgument, "values: an object of variable names and their values is needed"};
  Variables variables;
  for (const auto& [key, value] : values->items()) {
    if (!value.is_string()) return makeError(Code::invalidArgument, "values: {} is not a string", key);
    variables[key] = value.get<std::string>();
  }
  return variables;
}

AdminAnswer noSuch(const AdminQuestion& question) {
  return adminErrorAnswer(makeError(Code::notFound, "no such request: {} {}", question.method, question.path));
}

}  // namespace

AdminAnswer AdminApi::tokens(const AdminQuestion& question, const std::string& path, TokenBook& book) {
  const std::string id = question.path.size() > path.size() + 1 ? question.path.substr(path.size() + 1) : "";
  if (!id.empty() && question.method == "DELETE") {
    auto revoked = book.revoke(id);
    if (!revoked.ok()) return adminErrorAnswer(revoked.error());
    return {200, {{"token_id", id}, {"revoked", true}}};
  }
  if (id.empty() && question.method == "POST") {
    auto made = book.create(textOf(question.body, "name"), parts_.catalog.workspace().name);
    if (!made.ok()) return adminErrorAnswer(made.error());
    return {200, {{"token_id", made->token.id}, {"token_secret", made->secret}, {"workspace", made->token.workspace}}};
  }
  if (!id.empty() || question.method != "GET") return noSuch(question);
  json list = json::array();
  for (const auto& token : book.list()) list.push_back(tokenJson(token, parts_.clock.now()));
  return {200, {{"tokens", list}}};
}

AdminAnswer AdminApi::secrets(const AdminQuestion& question) {
  auto asked = question.query.find("environment");
  std::string environment = asked == question.query.end() ? "" : asked->second;
  bool one = question.path.size() > std::string_view("/v1/secrets/").size();
  if (one && question.method == "DELETE")
    return deleteSecret(environment, question.path.substr(std::string_view("/v1/secrets/").size()));
  if (!one && question.method == "POST") return createSecret(question.body);
  if (!one && question.method == "GET") return listSecrets(environment);
  return noSuch(question);
}

AdminAnswer AdminApi::listSecrets(const std::string& environment) {
  std::vector<Environment> environments;
  if (environment.empty()) {
    environments = parts_.catalog.environments().list();
  } else {
    auto resolved = parts_.catalog.environments().resolve(environment);
    if (!resolved.ok()) return adminErrorAnswer(resolved.error());
    environments.push_back(*resolved);
  }
  json list = json::array();
  for (const auto& each : environments)
    for (const auto& secret : parts_.catalog.secrets().list(each.name)) list.push_back(secretJson(secret));
  return {200, {{"secrets", list}}};
}

AdminAnswer AdminApi::createSecret(const json& wanted) {
  auto environment = parts_.catalog.environments().resolve(textOf(wanted, "environment"));
  if (!environment.ok()) return adminErrorAnswer(environment.error());
  auto variables = variablesOf(wanted);
  if (!variables.ok()) return adminErrorAnswer(variables.error());
  std::string name = textOf(wanted, "name");
  if (name.empty()) return adminErrorAnswer(Error{Code::invalidArgument, "name: a secret needs a name"});
  auto replace = wanted.find("replace");
  bool replaces = replace != wanted.end() && replace->is_boolean() && replace->get<bool>();
  auto made =
      parts_.catalog.secrets().create(environment->name, name, *variables,
                                      replaces ? IfExists::replace : IfExists::fail, parts_.catalog.workspace().name);
  if (!made.ok()) return adminErrorAnswer(made.error());
  return {200, secretJson(*made)};
}

AdminAnswer AdminApi::deleteSecret(const std::string& environment, const std::string& name) {
  auto resolved = parts_.catalog.environments().resolve(environment);
  if (!resolved.ok()) return adminErrorAnswer(resolved.error());
  auto secret = parts_.catalog.secrets().find(resolved->name, name, {});
  if (!secret.ok()) return adminErrorAnswer(secret.error());
  if (auto erased = parts_.catalog.secrets().erase(secret->id); !erased.ok()) return adminErrorAnswer(erased.error());
  return {200, {{"name", name}, {"environment", resolved->name}, {"deleted", true}}};
}

}  // namespace gridiron::edge
