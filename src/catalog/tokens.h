#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "store/store.h"

namespace gridiron {

// What a client signs its calls with. The secret is known to the client only: we keep its hash.
struct Token {
  std::string id;  // "ak-…"
  std::string name;
  std::string workspace;
  std::string username;
  Time createdAt{};
  std::optional<Time> expiresAt;
};

struct NewToken {
  Token token;
  std::string secret;  // "as-…", told once
};

// A client that waits for a person to let it in (`modal setup`, `modal token new`). In memory, ten minutes.
struct TokenFlow {
  std::string id;    // part of the page's address
  std::string code;  // shown by the client, to be compared
  std::string source;
  Time createdAt{};
  Time until{};
};

// Loop thread only.
class Tokens {
 public:
  Tokens(Store& store, const Clock& clock, std::string workspace);
  Result<void> load();

  Result<NewToken> create(const std::string& name, const std::string& username);
  // The token, when the secret is its own and it has not expired. unauthenticated otherwise; the text does not say
  // which part was wrong.
  Result<Token> check(const std::string& id, const std::string& secret) const;
  std::vector<Token> list() const;  // newest first
  Result<void> revoke(const std::string& id);

  struct NewFlow {
    TokenFlow flow;
    std::string waitSecret;
  };
  // exhausted when very many wait already.
  Result<NewFlow> beginFlow(const std::string& source, Nanos lifetime);
  std::optional<TokenFlow> flow(const std::string& id) const;  // that nobody has answered yet
  Result<void> approveFlow(const std::string& id, const std::string& username);
  Result<void> refuseFlow(const std::string& id);
  // Nothing: not answered yet. A token: approved; told once. permissionDenied: refused. notFound: unknown or too old.
  Result<std::optional<NewToken>> takeFlow(const std::string& id, const std::string& waitSecret);
  // Called after a flow was answered.
  void onFlow(std::function<void()> wake) { flowAnswered_ = std::move(wake); }

 private:
  struct Kept {
    Token token;
    std::string secretHash;  // hex
  };
  struct WaitingFlow {
    TokenFlow flow;
    std::string waitSecretHash;
    std::optional<std::string> approvedBy;
    bool refused = false;
  };
  Result<WaitingFlow*> openFlow(const std::string& id);
  void dropOldFlows();

  Store& store_;
  const Clock& clock_;
  const std::string workspace_;
  std::map<std::string, Kept> tokens_;
  std::map<std::string, WaitingFlow> flows_;
  std::function<void()> flowAnswered_;
};

}  // namespace gridiron
