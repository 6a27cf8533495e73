#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "store/store.h"

namespace gridiron {

// An id and a secret by which somebody shows who they are. The secret is known to them only: we keep its hash.
struct Token {
  std::string id;  // "ak-…" of clients, "wk-…" of those who ask web functions
  std::string name;
  std::string workspace;
  std::string username;
  Time createdAt{};
  std::optional<Time> expiresAt;
};

struct NewToken {
  Token token;
  std::string secret;  // "as-…", "ws-…"; told once
};

// The tokens of one kind, in the store and in memory. Loop thread only.
class TokenBook {
 public:
  struct Kind {
    std::string object;  // in the store: "token", "proxy_token"
    std::string idPrefix, secretPrefix;
  };
  TokenBook(Store& store, const Clock& clock, std::string workspace, Kind kind);
  Result<void> load();

  Result<NewToken> create(const std::string& name, const std::string& username);
  // The token, when the secret is its own and it has not expired; else nothing, however much of it was right. Takes as
  // long for a wrong secret as for the right one.
  std::optional<Token> find(const std::string& id, const std::string& secret) const;
  std::vector<Token> list() const;  // newest first
  Result<void> revoke(const std::string& id);

 private:
  struct Kept {
    Token token;
    std::string secretHash;  // hex
  };
  Store& store_;
  const Clock& clock_;
  const std::string workspace_;
  const Kind kind_;
  std::map<std::string, Kept> tokens_;
};

}  // namespace gridiron
