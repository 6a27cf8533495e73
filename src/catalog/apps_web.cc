// Web addresses of functions.
#include <algorithm>

#include "base/id.h"
#include "catalog/apps.h"
#include "catalog/names.h"

namespace gridiron {

namespace {

constexpr std::size_t kLongestLabel = 63;  // RFC 1035

// Six letters and digits of lower case that stand for `text`.
std::string mark(const std::string& text) {
  std::string hash = contentId("x", text).substr(2, 6);
  std::transform(hash.begin(), hash.end(), hash.begin(), [](unsigned char c) { return std::tolower(c); });
  return hash;
}

}  // namespace

std::string Apps::hostPrefix(const std::string& environment) const {
  const auto found = environments_.resolve(environment);
  const std::string suffix = found.ok() ? found->webSuffix : dnsLabel(environment);
  return dnsLabel(workspace_) + (suffix.empty() ? "" : "-" + suffix);
}

WebLabel Apps::labelFor(const App& app, const FunctionId& function, const LabelWish& wish) const {
  const std::string prefix = hostPrefix(app.environment);
  const std::size_t room = kLongestLabel - std::min(kLongestLabel - 12, prefix.size() + 2);
  const bool ephemeral = app.state == AppState::ephemeral || app.state == AppState::detached;
  const std::string suffix =
      ephemeral ? "-" + dnsLabel(wish.ephemeralSuffix.empty() ? "dev" : wish.ephemeralSuffix) : std::string();
  const std::string& appName = app.name.empty() ? app.description : app.name;
  WebLabel made;
  made.label = dnsLabel(wish.requested.empty() ? appName + "-" + wish.function : wish.requested) + suffix;
  const auto shorten = [&](const std::string& hash) {
    const std::size_t most = room - hash.size() - 1;
    std::string head = made.label.substr(0, most);
    while (!head.empty() && head.back() == '-') head.pop_back();
    return head + "-" + hash;
  };
  const std::string full = appName + "\n" + wish.function + "\n" + made.label;
  if (made.label.size() > room) {
    made.label = shorten(mark(full));
    made.truncated = true;
  }
  const auto holder = web_.find(prefix + "--" + made.label);
  if (holder == web_.end() || holder->second.function == function) return made;
  const auto other = find(holder->second.function);
  if (!other || other->app == app.id) return made;  // the same app's: its tag has a new function
  if (!wish.requested.empty() || ephemeral) {
    made.stolen = true;
  } else {
    made.label = shorten(mark(full));
    made.hashed = true;
  }
  return made;
}

void Apps::reindexWeb() {
  std::vector<const App*> apps;
  for (const auto& [id, app] : apps_) {
    if (isLive(app.state)) apps.push_back(&app);
  }
  // The app that was deployed last has the address.
  std::sort(apps.begin(), apps.end(), [](const App* a, const App* b) {
    return std::pair(a->deployedAt, a->id) < std::pair(b->deployedAt, b->id);
  });
  web_.clear();
  for (const App* app : apps) {
    const std::string prefix = hostPrefix(app->environment) + "--";
    for (const FunctionPtr& function : functionsOf(*app)) {
      if (!function->web.label.empty()) web_[prefix + function->web.label] = {function->id, ""};
      for (const Method& method : function->methods) {
        if (!method.web.label.empty()) web_[prefix + method.web.label] = {function->id, method.name};
      }
    }
  }
}

std::optional<WebFunction> Apps::atAddress(const std::string& prefix, const std::string& label) const {
  auto at = web_.end();
  if (!prefix.empty()) {
    at = web_.find(prefix + "--" + label);
  } else {
    at = web_.find(hostPrefix("") + "--" + label);
    for (auto other = web_.begin(); at == web_.end() && other != web_.end(); ++other) {
      if (other->first.ends_with("--" + label)) at = other;
    }
  }
  if (at == web_.end()) return std::nullopt;
  WebFunction found{find(at->second.function), at->second.method, {}};
  if (!found.function) return std::nullopt;
  found.web = found.function->web;
  for (const Method& method : found.function->methods) {
    if (!found.method.empty() && method.name == found.method) found.web = method.web;
  }
  return found;
}

}  // namespace gridiron
