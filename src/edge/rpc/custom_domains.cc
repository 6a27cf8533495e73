#include "edge/rpc/custom_domains.h"

#include <algorithm>

#include "modal_proto/api.pb.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;

bool isLabel(std::string_view text) {
  const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), fits) && text.front() != '-' &&
         text.back() != '-';
}

// Two labels at least, in lower case.
bool isHostName(std::string_view name) {
  if (name.size() > 253 || name.find('.') == std::string_view::npos) return false;
  for (;;) {
    const std::size_t dot = name.find('.');
    if (!isLabel(name.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    name.remove_prefix(dot + 1);
  }
}

bool isUnder(std::string_view host, std::string_view parent) {
  return host == parent ||
         (host.size() > parent.size() && host.ends_with(parent) && host[host.size() - parent.size() - 1] == '.');
}

std::string lowerCase(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return text;
}

void addClaims(const api::WebhookConfig& config, const std::string& method, std::vector<DomainClaim>& out) {
  for (const api::CustomDomainConfig& domain : config.custom_domains()) {
    out.push_back({lowerCase(domain.name()), method});
  }
}

}  // namespace

Result<AllowedDomain> parseAllowedDomain(const std::string& text) {
  AllowedDomain made;
  const std::size_t slash = text.find('/');
  if (slash != std::string::npos) made.environment = text.substr(0, slash);
  made.name = slash == std::string::npos ? text : text.substr(slash + 1);
  const std::string_view plain = made.name.starts_with("*.") ? std::string_view(made.name).substr(2) : made.name;
  if ((slash != std::string::npos && made.environment.empty()) || !isHostName(plain))
    return makeError(Code::invalidArgument,
                     "\"{}\" is not [environment/]name, with a host name in lower case such as hooks.example.org or "
                     "*.example.org",
                     text);
  return made;
}

std::vector<DomainClaim> domainClaimsOf(const Function& function) {
  std::vector<DomainClaim> claims;
  api::Function definition;
  if (!function.boundFrom.empty() || !definition.ParseFromString(function.definition)) return claims;
  addClaims(definition.webhook_config(), "", claims);
  for (const auto& [name, method] : definition.method_definitions()) addClaims(method.webhook_config(), name, claims);
  return claims;
}

void CustomDomains::load() {
  for (const App& app : apps_.list("")) {
    if (!isLive(app.state)) continue;
    for (const auto& function : apps_.functionsOf(app)) {
      std::vector<DomainClaim> claims = domainClaimsOf(*function);
      if (!claims.empty()) claims_[function->id] = std::move(claims);
    }
  }
  index();
}

bool CustomDomains::allows(const std::string& environment, const std::string& host) const {
  const std::size_t dot = host.find('.');
  const std::string wildcard = "*" + (dot == std::string::npos ? "" : host.substr(dot));
  return std::any_of(allowed_.begin(), allowed_.end(), [&](const AllowedDomain& one) {
    return (one.environment.empty() || one.environment == environment) && (one.name == host || one.name == wildcard);
  });
}

Result<std::string> CustomDomains::check(const Function& function, const std::string& host) const {
  if (!isHostName(host))
    return makeError(Code::invalidArgument, "custom domain '{}' is no host name such as hooks.example.org", host);
  if (isUnder(host, gridDomain_))
    return makeError(Code::invalidArgument, "custom domain '{}': names under {} are the grid's own", host, gridDomain_);
  if (!allows(function.environment, host))
    return makeError(Code::failedPrecondition,
                     "custom domain '{0}' is not allowed in environment '{1}'. The grid's operator allows it in "
                     "gridiron.toml: domains = [\"{0}\"] (or \"{1}/{0}\" for this environment only)",
                     host, function.environment);
  const auto held = hosts_.find(host);
  if (held == hosts_.end() || held->second.function == function.id) return std::string();
  const auto holder = apps_.find(held->second.function);
  if (!holder) return std::string();
  if (holder->app == function.app) return holder->tag;
  const App* app = apps_.find(holder->app);
  return makeError(Code::alreadyExists,
                   "custom domain '{}' is that of function '{}' of app '{}' in environment '{}'; stop that app, or "
                   "deploy it without the domain, first",
                   host, holder->tag, app == nullptr ? holder->app.str() : app->name, holder->environment);
}

std::optional<WebTarget> CustomDomains::find(const std::string& host) const {
  const auto found = hosts_.find(host);
  if (found == hosts_.end()) return std::nullopt;
  auto function = apps_.find(found->second.function);
  if (!function) return std::nullopt;
  WebTarget target{function, found->second.method, function->web};
  for (const Method& method : function->methods) {
    if (!target.method.empty() && method.name == target.method) target.web = method.web;
  }
  return target;
}

void CustomDomains::functionChanged(const Function& function) {
  std::vector<DomainClaim> claims = domainClaimsOf(function);
  const bool had = claims_.erase(function.id) > 0;
  if (claims.empty() && !had) return;
  if (!claims.empty()) claims_[function.id] = std::move(claims);
  index();
}

void CustomDomains::functionRemoved(const Function& function, const std::string&) {
  if (claims_.erase(function.id) > 0) index();
}

void CustomDomains::appStopped(const App&, const std::string&) { index(); }

void CustomDomains::index() {
  struct Claimed {
    Time deployedAt;
    FunctionId function;
    const DomainClaim* claim;
  };
  std::vector<Claimed> all;
  for (const auto& [id, claims] : claims_) {
    const auto function = apps_.find(id);
    const App* app = function ? apps_.find(function->app) : nullptr;
    if (app == nullptr || app->state != AppState::deployed) continue;
    for (const DomainClaim& claim : claims) {
      // What the operator allows no longer answers no longer.
      if (allows(function->environment, claim.host)) all.push_back({app->deployedAt, id, &claim});
    }
  }
  std::sort(all.begin(), all.end(), [](const Claimed& a, const Claimed& b) {
    return std::pair(a.deployedAt, a.function) < std::pair(b.deployedAt, b.function);
  });
  hosts_.clear();
  for (const Claimed& one : all) hosts_[one.claim->host] = {one.function, one.claim->method};
}

}  // namespace gridiron::edge
