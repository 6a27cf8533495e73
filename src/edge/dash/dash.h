#pragma once

#include <memory>
#include <string>

#include "edge/dash/admin.h"
#include "edge/dash/sessions.h"
#include "net/http.h"

namespace gridiron::edge {

// The page: sign-in, the approval of token flows (/token-flow/<id>), secrets, and the overview with its JSON (/api/…);
// and /metrics, for who has a token.
// Answers every request that is not somebody else's (404 for strange paths). Loop thread only; outlives its exchanges.
class Dash {
 public:
  explicit Dash(AdminApi& api);  // outlives this; its sign-in links are made here from now on

  net::HttpHandler handler();

 private:
  struct Visit;  // one request
  Task<void> handle(std::shared_ptr<net::Exchange> exchange);
  void route(Visit& visit);
  void signIn(Visit& visit);
  void signOut(Visit& visit);
  void signInByLink(Visit& visit, const std::string& code);
  void tokenFlow(Visit& visit, const std::string& id);
  void api(Visit& visit);
  void metrics(Visit& visit);
  void startSession(Visit& visit, const Person& who, const std::string& next);
  bool mayChange(const Visit& visit) const;

  AdminApi& api_;
  Sessions sessions_;
};

}  // namespace gridiron::edge
