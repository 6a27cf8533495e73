#include "catalog/tokens.h"

#include <algorithm>

#include "base/digest.h"
#include "base/id.h"
#include "catalog/records.h"

namespace gridiron {

namespace {

constexpr std::size_t kMostFlows = 1000;
constexpr Nanos kLongestFlow = std::chrono::hours(1);

std::string hashOf(const std::string& secret) { return sha256(secret).hex(); }

}  // namespace

Tokens::Tokens(Store& store, const Clock& clock, std::string workspace)
    : store_(store), clock_(clock), workspace_(std::move(workspace)) {}

Result<void> Tokens::load() {
  ASSIGN_OR_RETURN(auto objects, store_.list(records::all("token")));
  for (const Object& object : objects) {
    Kept kept;
    RETURN_IF_ERROR(records::parse(object, [&](const records::Json& json) {
      kept.token = {object.id,        json.at("name").get<std::string>(),
                    object.workspace, json.at("username").get<std::string>(),
                    object.createdAt, std::nullopt};
      kept.secretHash = json.at("secret_sha256").get<std::string>();
      if (json.contains("expires_at")) kept.token.expiresAt = records::timeOf(json["expires_at"].get<std::int64_t>());
    }));
    tokens_.emplace(object.id, std::move(kept));
  }
  return {};
}

Result<NewToken> Tokens::create(const std::string& name, const std::string& username) {
  NewToken made;
  made.token = {randomId("ak"), name, workspace_, username, clock_.now(), std::nullopt};
  made.secret = "as-" + randomAlnum(22);
  Kept kept{made.token, hashOf(made.secret)};
  records::Json json{{"name", name}, {"username", username}, {"secret_sha256", kept.secretHash}};
  Batch batch;
  batch.put(Object{"token", made.token.id, workspace_, "", "", true, made.token.createdAt, records::dump(json)});
  RETURN_IF_ERROR(store_.apply(batch));
  tokens_.emplace(made.token.id, std::move(kept));
  return made;
}

Result<Token> Tokens::check(const std::string& id, const std::string& secret) const {
  const auto found = tokens_.find(id);
  const std::string hash = hashOf(secret);
  const bool good = found != tokens_.end() && equalConstantTime(hash, found->second.secretHash);
  if (!good)
    return makeError(Code::unauthenticated,
                     "token '{}' is not known here, or its secret is wrong: run `modal setup` against this server", id);
  const Token& token = found->second.token;
  if (token.expiresAt && *token.expiresAt < clock_.now())
    return makeError(Code::unauthenticated, "token '{}' has expired", id);
  return token;
}

std::vector<Token> Tokens::list() const {
  std::vector<Token> all;
  for (const auto& [id, kept] : tokens_) all.push_back(kept.token);
  std::sort(all.begin(), all.end(), [](const Token& a, const Token& b) { return a.createdAt > b.createdAt; });
  return all;
}

Result<void> Tokens::revoke(const std::string& id) {
  if (!tokens_.contains(id)) return makeError(Code::notFound, "no token '{}'", id);
  Batch batch;
  batch.erase("token", id);
  RETURN_IF_ERROR(store_.apply(batch));
  tokens_.erase(id);
  return {};
}

void Tokens::dropOldFlows() {
  const Time now = clock_.now();
  std::erase_if(flows_, [&](const auto& entry) { return entry.second.flow.until < now; });
}

Result<Tokens::NewFlow> Tokens::beginFlow(const std::string& source, Nanos lifetime) {
  dropOldFlows();
  if (flows_.size() >= kMostFlows) return makeError(Code::exhausted, "{} sign-ins wait already: try later", kMostFlows);
  NewFlow made;
  made.flow.id = randomId("tf");
  made.flow.code = randomAlnum(4) + "-" + randomAlnum(4);
  made.flow.source = source.substr(0, 200);
  made.flow.createdAt = clock_.now();
  made.flow.until = clock_.now() + std::clamp(lifetime, Nanos(std::chrono::minutes(1)), kLongestFlow);
  made.waitSecret = randomAlnum(32);
  flows_.emplace(made.flow.id, WaitingFlow{made.flow, hashOf(made.waitSecret), std::nullopt, false});
  return made;
}

std::optional<TokenFlow> Tokens::flow(const std::string& id) const {
  const auto found = flows_.find(id);
  if (found == flows_.end() || found->second.flow.until < clock_.now()) return std::nullopt;
  if (found->second.refused || found->second.approvedBy) return std::nullopt;
  return found->second.flow;
}

Result<Tokens::WaitingFlow*> Tokens::openFlow(const std::string& id) {
  if (!flow(id)) return makeError(Code::notFound, "this sign-in was answered already, or is too old");
  return &flows_.at(id);
}

Result<void> Tokens::approveFlow(const std::string& id, const std::string& username) {
  ASSIGN_OR_RETURN(WaitingFlow * waiting, openFlow(id));
  waiting->approvedBy = username;
  if (flowAnswered_) flowAnswered_();
  return {};
}

Result<void> Tokens::refuseFlow(const std::string& id) {
  ASSIGN_OR_RETURN(WaitingFlow * waiting, openFlow(id));
  waiting->refused = true;
  if (flowAnswered_) flowAnswered_();
  return {};
}

Result<std::optional<NewToken>> Tokens::takeFlow(const std::string& id, const std::string& waitSecret) {
  dropOldFlows();
  const auto found = flows_.find(id);
  if (found == flows_.end() || !equalConstantTime(hashOf(waitSecret), found->second.waitSecretHash))
    return makeError(Code::notFound, "no such sign-in, or it took too long: start again");
  if (found->second.refused) {
    flows_.erase(found);
    return makeError(Code::permissionDenied, "the sign-in was refused");
  }
  if (!found->second.approvedBy) return std::optional<NewToken>();
  ASSIGN_OR_RETURN(NewToken made, create("modal setup", *found->second.approvedBy));
  flows_.erase(found);
  return std::optional<NewToken>(std::move(made));
}

}  // namespace gridiron
