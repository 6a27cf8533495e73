#include "catalog/tokens.h"

#include <algorithm>

#include "base/digest.h"
#include "base/id.h"

namespace gridiron {

namespace {

constexpr std::size_t kMostFlows = 1000;
constexpr Nanos kLongestFlow = std::chrono::hours(1);

std::string hashOf(const std::string& secret) { return sha256(secret).hex(); }

}  // namespace

Tokens::Tokens(Store& store, const Clock& clock, std::string workspace)
    : TokenBook(store, clock, std::move(workspace), {"token", "ak", "as"}), clock_(clock) {}

Result<Token> Tokens::check(const std::string& id, const std::string& secret) const {
  if (const auto token = find(id, secret)) return *token;
  return makeError(Code::unauthenticated,
                   "token '{}' is not known here, has expired, or its secret is wrong: run `modal setup` against this "
                   "server",
                   id);
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
