#include "edge/http/webhooks.h"

#include <charconv>
#include <sstream>

namespace gridiron::edge {
namespace {

// A request whose body was read already.
class ReadExchange final : public net::PassedExchange {
 public:
  ReadExchange(std::shared_ptr<net::Exchange> inner, std::string body)
      : PassedExchange(std::move(inner)), body_(std::move(body)) {}

  Task<Result<std::optional<std::string>>> read() override {
    if (body_.empty()) co_return std::optional<std::string>();
    co_return std::optional<std::string>(std::exchange(body_, {}));
  }
  bool readBuffered(std::string& out) override {
    out += std::exchange(body_, {});
    return true;
  }

 private:
  std::string body_;
};

Result<void> applyOption(SignatureRule& rule, const std::string& name, const std::string& value) {
  if (name == "header") {
    rule.header = value;
  } else if (name == "timestamp") {
    rule.timestampHeader = value;
  } else if (name == "algorithm") {
    if (value != "sha1" && value != "sha256" && value != "sha512")
      return makeError(Code::invalidArgument, "algorithm '{}' is none of sha1, sha256, sha512", value);
    rule.algorithm = value;
  } else if (name == "tolerance") {
    int seconds = 0;
    auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), seconds);
    if (failed != std::errc{} || end != value.data() + value.size() || seconds < 1 || seconds > 86400)
      return makeError(Code::invalidArgument, "tolerance '{}' is not 1 to 86400 seconds", value);
    rule.tolerance = std::chrono::seconds(seconds);
  } else {
    return makeError(Code::invalidArgument, "no option '{}'; known are header, timestamp, algorithm, tolerance", name);
  }
  for (std::string* header : {&rule.header, &rule.timestampHeader})
    for (char& c : *header) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return {};
}

}  // namespace

Result<std::optional<WebhookRule>> webhookRuleOf(const std::map<std::string, std::string>& tags,
                                                 const std::string& function) {
  const std::string key = "webhook." + function;
  const auto found = tags.find(key);
  if (found == tags.end()) return std::optional<WebhookRule>();
  const std::size_t dot = found->second.find('.');
  if (dot == std::string::npos || dot + 1 == found->second.size())
    return makeError(Code::invalidArgument, "the tag {} = '{}' is not <scheme>.<name of a Secret>", key, found->second);
  WebhookRule rule;
  auto scheme = webhookSchemeNamed(found->second.substr(0, dot));
  if (!scheme.ok()) return scheme.error().within("the tag " + key);
  rule.signature.scheme = *scheme;
  rule.secret = found->second.substr(dot + 1);
  for (const char* option : {"header", "timestamp", "algorithm", "tolerance"}) {
    const auto given = tags.find(key + "." + option);
    if (given == tags.end()) continue;
    if (auto applied = applyOption(rule.signature, option, given->second); !applied.ok())
      return applied.error().within("the tag " + given->first);
  }
  return std::optional<WebhookRule>(std::move(rule));
}

Result<ConfiguredWebhook> parseWebhook(const std::string& text) {
  const auto bad = [&](const std::string& why) {
    return makeError(Code::invalidArgument,
                     "\"{}\": {} (\"[environment/]app/function scheme secret [option=value …]\")", text, why);
  };
  std::istringstream words(text);
  std::string path, scheme;
  ConfiguredWebhook made;
  if (!(words >> path >> scheme >> made.rule.secret)) return bad("three words are needed");
  const Result<FunctionPath> functions = parseFunctionPath(path);
  if (!functions.ok()) return bad(functions.error().message);
  static_cast<FunctionPath&>(made) = *functions;
  auto known = webhookSchemeNamed(scheme);
  if (!known.ok()) return bad(known.error().message);
  made.rule.signature.scheme = *known;
  for (std::string option; words >> option;) {
    const std::size_t equals = option.find('=');
    if (equals == std::string::npos) return bad("'" + option + "' is no option");
    auto applied = applyOption(made.rule.signature, option.substr(0, equals), option.substr(equals + 1));
    if (!applied.ok()) return bad(applied.error().message);
  }
  return made;
}

Result<std::vector<std::string>> webhookSecretsIn(const std::map<std::string, std::string>& variables) {
  std::vector<std::string> keys;
  for (const auto& [name, value] : variables)
    if (name.starts_with("WEBHOOK_SECRET") && !value.empty()) keys.push_back(value);
  if (keys.empty() && variables.size() == 1 && !variables.begin()->second.empty())
    keys.push_back(variables.begin()->second);
  if (!keys.empty()) return keys;
  return makeError(Code::failedPrecondition,
                   "it has {} variables; the key must be the only one, or its name begin with WEBHOOK_SECRET",
                   variables.size());
}

// Says why in the owner's log, at most once a second a function, and nothing to the sender.
Error WebhookGuard::refuse(const Function& function, const std::string& name, const Error& why) {
  Told& told = told_[function.id];
  const Time now = parts_.clock.now();
  if (told.at != Time{} && now - told.at < std::chrono::seconds(1)) {
    ++told.untold;
  } else {
    const std::string more = told.untold == 0 ? "" : fmt::format(" ({} more were refused before it)", told.untold);
    told = Told{now, 0};
    if (parts_.tell) parts_.tell(function, fmt::format("A request to {} was refused: {}{}", name, why.message, more));
  }
  if (why.code == Code::unauthenticated) return Error{why.code, "The request is not signed as this address demands."};
  if (why.code != Code::failedPrecondition) return why;
  return Error{Code::failedPrecondition, "Requests to this address cannot be verified at present."};
}

Result<void> WebhookGuard::once(const std::string& key, Nanos window) {
  const Time now = parts_.clock.now();
  while (!expiries_.empty() && (expiries_.front().first <= now || expiries_.size() >= parts_.maxRemembered)) {
    seen_.erase(expiries_.front().second);
    expiries_.pop_front();
  }
  if (!seen_.insert(key).second)
    return Error{Code::unauthenticated,
                 "the same signature came before (a replay, or a retry that was not signed anew)"};
  expiries_.emplace_back(now + window, key);
  return {};
}

Task<Result<std::string>> WebhookGuard::readBody(std::shared_ptr<net::Exchange> exchange) {
  // What this request holds of the guard's memory, given back whatever happens.
  struct Share {
    std::size_t& all;
    std::size_t mine = 0;
    ~Share() { all -= mine; }
  } share{buffered_};
  std::string body;
  Timer late(parts_.io);
  late.expires_after(parts_.bodyTimeout);
  late.async_wait([exchange](const boost::system::error_code& cancelled) {
    if (!cancelled) exchange->abort();
  });
  for (;;) {
    Result<std::optional<std::string>> piece = co_await exchange->read();
    if (!piece.ok()) co_return piece.error();
    if (!piece->has_value()) co_return body;
    share.mine += (*piece)->size();
    buffered_ += (*piece)->size();
    if (share.mine > parts_.maxBody)
      co_return makeError(Code::exhausted, "Signed requests may have at most {} bytes.", parts_.maxBody);
    if (buffered_ > parts_.maxBuffered)
      co_return Error{Code::unavailable, "Too many signed requests are being read; try again in a second."};
    body += **piece;
  }
}

Result<std::string> WebhookGuard::check(const Function& function, const WebhookRule& rule, const SignatureClaim& claim,
                                        const net::RequestHead& head, std::string_view body) {
  auto variables = parts_.secret(function.environment, rule.secret);
  if (!variables.ok()) return Error{Code::failedPrecondition, variables.error().message};
  auto secrets = webhookSecretsIn(*variables);
  if (!secrets.ok()) return secrets.error().within("the Secret '" + rule.secret + "'");
  RETURN_IF_ERROR(verifyClaim(rule.signature, claim, *secrets, head, body));
  if (claim.timestamp.empty()) return std::string();  // such senders deliver again with the same signature
  std::string key = function.id.str() + claim.timestamp + claim.id;
  for (const std::string& signature : claim.signatures) key += signature;
  RETURN_IF_ERROR(once(key, 2 * rule.signature.tolerance));
  return key;
}

Task<Result<WebhookGuard::Admitted>> WebhookGuard::admit(std::shared_ptr<net::Exchange> exchange,
                                                         std::shared_ptr<const Function> function, std::string method) {
  auto rule = parts_.rule(*function, method);
  if (rule.ok() && !rule->has_value()) co_return Admitted{std::move(exchange), {}};
  const std::string name = functionName(*function, method);
  if (!rule.ok()) co_return refuse(*function, name, Error{Code::failedPrecondition, rule.error().message});
  const net::RequestHead& head = exchange->head();
  auto claim = readClaim((*rule)->signature, head, parts_.clock.now());
  if (!claim.ok()) co_return refuse(*function, name, claim.error());
  Result<std::string> body = co_await readBody(exchange);
  if (!body.ok()) co_return refuse(*function, name, body.error());
  auto seen = check(*function, **rule, *claim, head, *body);
  if (!seen.ok()) co_return refuse(*function, name, seen.error());
  co_return Admitted{std::make_shared<ReadExchange>(std::move(exchange), std::move(*body)), std::move(*seen)};
}

}  // namespace gridiron::edge
