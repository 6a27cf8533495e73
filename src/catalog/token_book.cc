#include "catalog/token_book.h"

#include <algorithm>

#include "base/digest.h"
#include "base/id.h"
#include "catalog/records.h"

namespace gridiron {

TokenBook::TokenBook(Store& store, const Clock& clock, std::string workspace, Kind kind)
    : store_(store), clock_(clock), workspace_(std::move(workspace)), kind_(std::move(kind)) {}

Result<void> TokenBook::load() {
  ASSIGN_OR_RETURN(auto objects, store_.list(records::all(kind_.object)));
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

Result<NewToken> TokenBook::create(const std::string& name, const std::string& username) {
  NewToken made;
  made.token = {randomId(kind_.idPrefix), name, workspace_, username, clock_.now(), std::nullopt};
  made.secret = kind_.secretPrefix + "-" + randomAlnum(22);
  Kept kept{made.token, sha256(made.secret).hex()};
  records::Json json{{"name", name}, {"username", username}, {"secret_sha256", kept.secretHash}};
  Batch batch;
  batch.put(Object{kind_.object, made.token.id, workspace_, "", "", true, made.token.createdAt, records::dump(json)});
  RETURN_IF_ERROR(store_.apply(batch));
  tokens_.emplace(made.token.id, std::move(kept));
  return made;
}

std::optional<Token> TokenBook::find(const std::string& id, const std::string& secret) const {
  const auto found = tokens_.find(id);
  const std::string hash = sha256(secret).hex();
  if (found == tokens_.end() || !equalConstantTime(hash, found->second.secretHash)) return std::nullopt;
  const Token& token = found->second.token;
  if (token.expiresAt && *token.expiresAt < clock_.now()) return std::nullopt;
  return token;
}

std::vector<Token> TokenBook::list() const {
  std::vector<Token> all;
  for (const auto& [id, kept] : tokens_) all.push_back(kept.token);
  std::sort(all.begin(), all.end(), [](const Token& a, const Token& b) { return a.createdAt > b.createdAt; });
  return all;
}

Result<void> TokenBook::revoke(const std::string& id) {
  if (!tokens_.contains(id)) return makeError(Code::notFound, "no token '{}'", id);
  Batch batch;
  batch.erase(kind_.object, id);
  RETURN_IF_ERROR(store_.apply(batch));
  tokens_.erase(id);
  return {};
}

}  // namespace gridiron
