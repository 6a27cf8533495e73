#include "edge/http/limits.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

#include "net/crowd.h"

namespace gridiron::edge {
namespace {

std::optional<int> readCount(std::string_view text) {
  int number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc{} || end != text.data() + text.size() || number < 1 || number > 1'000'000) return {};
  return number;
}

Result<void> applyOption(LimitRule& rule, const std::string& name, const std::string& value) {
  if (name == "all" || name == "client") {
    Rate& rate = name == "all" ? rule.all : rule.client;
    const int burst = rate.burst;
    ASSIGN_OR_RETURN(rate, readRate(value));
    rate.burst = burst;
    return {};
  }
  const auto number = readCount(value);
  if (name != "burst" && name != "client-burst" && name != "queue")
    return makeError(Code::invalidArgument, "no option '{}'; known are all, burst, client, client-burst, queue", name);
  if (!number) return makeError(Code::invalidArgument, "{} '{}' is not a number from 1 to 1000000", name, value);
  if (name == "burst") rule.all.burst = *number;
  if (name == "client-burst") rule.client.burst = *number;
  if (name == "queue") rule.queue = *number;
  return {};
}

int burstOf(const Rate& rate) { return rate.burst > 0 ? rate.burst : std::max(1, rate.count); }

int wholeSeconds(Nanos wait) { return static_cast<int>(std::chrono::ceil<std::chrono::seconds>(wait).count()); }

}  // namespace

Result<Rate> readRate(const std::string& text) {
  Rate rate;
  if (text == "none") return rate;
  static constexpr std::array<std::pair<std::string_view, int>, 3> kUnits = {
      {{"-per-second", 1}, {"-per-minute", 60}, {"-per-hour", 3600}}};
  for (const auto& [unit, seconds] : kUnits) {
    if (!text.ends_with(unit)) continue;
    const auto count = readCount(std::string_view(text).substr(0, text.size() - unit.size()));
    if (!count) break;
    rate.count = *count;
    rate.per = std::chrono::seconds(seconds);
    return rate;
  }
  return makeError(Code::invalidArgument,
                   "'{}' is no rate such as 100-per-second, 10-per-minute, 1000-per-hour or none", text);
}

Result<ConfiguredLimit> parseLimit(const std::string& text) {
  const auto bad = [&](const std::string& why) {
    return makeError(Code::invalidArgument, "\"{}\": {} (\"[environment/]app/function all=100-per-second …\")", text,
                     why);
  };
  std::istringstream words(text);
  std::string path;
  words >> path;
  ConfiguredLimit made;
  const Result<FunctionPath> functions = parseFunctionPath(path);
  if (!functions.ok()) return bad(functions.error().message);
  static_cast<FunctionPath&>(made) = *functions;
  bool any = false;
  for (std::string option; words >> option; any = true) {
    const std::size_t equals = option.find('=');
    if (equals == std::string::npos) return bad("'" + option + "' is no option");
    auto applied = applyOption(made.rule, option.substr(0, equals), option.substr(equals + 1));
    if (!applied.ok()) return bad(applied.error().message);
  }
  if (!any) return bad("no limit is given");
  return made;
}

Result<std::optional<LimitRule>> limitRuleOf(const std::map<std::string, std::string>& tags,
                                             const std::string& function) {
  const std::string key = "limit." + function;
  LimitRule rule;
  bool any = false;
  const auto apply = [&](const std::string& tag, const std::string& option) -> Result<void> {
    const auto given = tags.find(tag);
    if (given == tags.end()) return {};
    any = true;
    auto applied = applyOption(rule, option, given->second);
    return applied.ok() ? applied : applied.error().within("the tag " + tag);
  };
  RETURN_IF_ERROR(apply(key, "all"));
  for (const char* option : {"burst", "client", "client-burst", "queue"})
    RETURN_IF_ERROR(apply(key + "." + option, option));
  return any ? std::optional(rule) : std::nullopt;
}

Nanos RateTable::ask(const std::string& key, const Rate& rate, Time now) {
  const Nanos each = rate.per / rate.count;
  const Nanos tolerance = each * (burstOf(rate) - 1);
  // From the front go those whose burst is whole again: they are as good as unknown.
  while (!order_.empty()) {
    const auto oldest = entries_.find(order_.front());
    if (oldest->second.due > now && entries_.size() < most_) break;
    if (oldest->second.due > now && entries_.contains(key)) break;
    entries_.erase(oldest);
    order_.pop_front();
  }
  auto [found, fresh] = entries_.try_emplace(key);
  Entry& entry = found->second;
  if (fresh) entry.place = order_.insert(order_.end(), key);
  if (!fresh) order_.splice(order_.end(), order_, entry.place);
  const Time due = std::max(entry.due, now);
  if (due - now > tolerance) return due - now - tolerance;
  entry.due = due + each;
  return Nanos::zero();
}

void RequestLimiter::tell(const Function& function, const std::string& key, const std::string& line) {
  static constexpr Rate kOften{1, std::chrono::minutes(1), 1};
  if (!parts_.tell || told_.ask(key, kOften, parts_.clock.now()) > Nanos::zero()) return;
  parts_.tell(function, line);
}

Result<std::optional<LimitRule>> RequestLimiter::ruleOf(const Function& function, const std::string& method) {
  auto rule = parts_.rule(function, method);
  if (!rule.ok()) tell(function, function.id.str() + "/rule", "Every request is refused: " + rule.error().message);
  return rule;
}

RequestLimiter::Verdict RequestLimiter::refuse(const Function& function, const std::string& method, Refusal refusal) {
  tell(function, function.id.str() + '/' + method + '/' + refusal.why,
       fmt::format("Requests to {} are refused (429): {}; told at most once a minute", functionName(function, method),
                   refusal.text));
  return std::optional(std::move(refusal));
}

RequestLimiter::Verdict RequestLimiter::askForAddress(const Function& function, const std::string& method,
                                                      const std::string& host) {
  ASSIGN_OR_RETURN(const std::optional<LimitRule> rule, ruleOf(function, method));
  if (!rule || rule->client.count == 0) return std::optional<Refusal>();
  const std::string key = function.id.str() + '/' + method + '/' + net::networkOf(host);
  const Nanos wait = addresses_.ask(key, rule->client, parts_.clock.now());
  if (wait == Nanos::zero()) return std::optional<Refusal>();
  return refuse(function, method,
                {"client_rate", "more come from one address than this function takes", wholeSeconds(wait)});
}

RequestLimiter::Verdict RequestLimiter::askForFunction(const Function& function, const std::string& method,
                                                       int queued) {
  ASSIGN_OR_RETURN(const std::optional<LimitRule> rule, ruleOf(function, method));
  if (!rule) return std::optional<Refusal>();
  if (rule->queue > 0 && queued >= rule->queue)
    return refuse(function, method, {"queue", fmt::format("{} wait for a container already", queued), 1});
  if (rule->all.count == 0) return std::optional<Refusal>();
  const Nanos wait = functions_.ask(function.id.str() + '/' + method, rule->all, parts_.clock.now());
  if (wait == Nanos::zero()) return std::optional<Refusal>();
  return refuse(function, method, {"rate", "more come than this function takes", wholeSeconds(wait)});
}

}  // namespace gridiron::edge
