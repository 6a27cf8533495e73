#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "catalog/token_book.h"
#include "store/store.h"

namespace gridiron {

// A client that waits for a person to let it in (`modal setup`, `modal token new`). In memory, ten minutes.
struct TokenFlow {
  std::string id;    // part of the page's address
  std::string code;  // shown by the client, to be compared
  std::string source;
  Time createdAt{};
  Time until{};
};

// What clients sign their calls with, and how they get it. Loop thread only.
class Tokens : public TokenBook {
 public:
  Tokens(Store& store, const Clock& clock, std::string workspace);

  // As find(). unauthenticated when there is none; the text does not say which part was wrong.
  Result<Token> check(const std::string& id, const std::string& secret) const;

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
  struct WaitingFlow {
    TokenFlow flow;
    std::string waitSecretHash;
    std::optional<std::string> approvedBy;
    bool refused = false;
  };
  Result<WaitingFlow*> openFlow(const std::string& id);
  void dropOldFlows();

  const Clock& clock_;
  std::map<std::string, WaitingFlow> flows_;
  std::function<void()> flowAnswered_;
};

}  // namespace gridiron
