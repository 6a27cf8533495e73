#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "catalog/apps.h"
#include "edge/http/ingress.h"

namespace gridiron::edge {

// A host name that deployments may claim: one entry of the setting `domains`.
struct AllowedDomain {
  std::string environment;  // whose apps may claim it; "": any
  std::string name;         // "hooks.example.org", or "*.example.org" for every name directly under it
};
// "[environment/]name". Errors say what would be right.
Result<AllowedDomain> parseAllowedDomain(const std::string& text);

// A host name that a function's definition claims (`custom_domains=[…]`), and for which of its methods ("": itself).
struct DomainClaim {
  std::string host, method;
  bool operator==(const DomainClaim&) const = default;
};
std::vector<DomainClaim> domainClaimsOf(const Function& function);

// Which function answers at a host of its own. Only deployed apps have such: of two that claim one, the app that was
// deployed last. Loop thread only.
class CustomDomains final : public AppsObserver {
 public:
  // `apps` outlives this. `gridDomain`: names under it are the grid's own.
  CustomDomains(const Apps& apps, std::vector<AllowedDomain> allowed, std::string gridDomain)
      : apps_(apps), allowed_(std::move(allowed)), gridDomain_(std::move(gridDomain)) {}
  // After Apps has theirs.
  void load();

  // May `function`, which is about to be created, claim the name? Errors: invalidArgument (no host name),
  // failedPrecondition (the operator has not allowed it), alreadyExists (another app's function has it). Else the name
  // of the function of the same app that has it now, which it is taken from; "" for none.
  Result<std::string> check(const Function& function, const std::string& host) const;
  // `host` in lower case, without port.
  bool has(const std::string& host) const { return hosts_.contains(host); }
  std::optional<WebTarget> find(const std::string& host) const;

  void functionChanged(const Function& function) override;
  void functionRemoved(const Function& function, const std::string& why) override;
  void appStopped(const App& app, const std::string& why) override;

 private:
  bool allows(const std::string& environment, const std::string& host) const;
  void index();

  const Apps& apps_;
  const std::vector<AllowedDomain> allowed_;
  const std::string gridDomain_;
  std::map<FunctionId, std::vector<DomainClaim>> claims_;  // of functions in force, if they have any
  struct At {
    FunctionId function;
    std::string method;
  };
  std::map<std::string, At> hosts_;
};

}  // namespace gridiron::edge
