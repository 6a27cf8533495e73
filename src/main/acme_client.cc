#include "main/acme_client.h"

#include <charconv>

#include "base/digest.h"

namespace gridiron {
namespace {

using nlohmann::json;

constexpr int kPolls = 60;
constexpr Nanos kPoll = std::chrono::seconds(2), kLongestPoll = std::chrono::seconds(30);

json parsed(const std::string& text) {
  json value = json::parse(text, nullptr, false);
  return value.is_discarded() ? json(nullptr) : value;
}

std::string text(const json& object, const char* field) {
  if (!object.is_object()) return "";
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// Only the number of seconds is understood; a date is as good as nothing.
std::optional<Nanos> retryAfterOf(const AcmeAnswer& answer) {
  const auto found = answer.headers.find("retry-after");
  if (found == answer.headers.end()) return std::nullopt;
  int seconds = 0;
  const std::string& value = found->second;
  const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (failed != std::errc{} || end != value.data() + value.size() || seconds < 0) return std::nullopt;
  return std::chrono::seconds(seconds);
}

// What an authority says of a problem (RFC 7807): "unauthorized: … ".
std::string problemOf(const json& problem) {
  std::string type = text(problem, "type");
  type = type.substr(type.rfind(':') + 1);
  const std::string detail = text(problem, "detail");
  return type.empty() ? detail : type + ": " + detail;
}

}  // namespace

Error AcmeClient::refused(const AcmeAnswer& answer, const std::string& what) {
  retryAfter_ = retryAfterOf(answer);
  const json body = parsed(answer.body);
  const std::string problem = problemOf(body);
  const bool limited = answer.status == 429 || text(body, "type").ends_with(":rateLimited");
  return makeError(limited ? Code::exhausted : Code::failedPrecondition, "{}: HTTP {}{}{}", what, answer.status,
                   problem.empty() ? "" : ", ", problem);
}

Result<std::string> AcmeClient::nonce() {
  if (!nonce_.empty()) return std::exchange(nonce_, {});
  ASSIGN_OR_RETURN(const AcmeAnswer answer, parts_.ask("HEAD", text(directory_, "newNonce"), ""));
  const auto found = answer.headers.find("replay-nonce");
  if (found == answer.headers.end()) return refused(answer, "ask for a nonce");
  return found->second;
}

Result<AcmeClient::Reply> AcmeClient::postOnce(const std::string& url, const std::string& payload, bool* badNonce) {
  ASSIGN_OR_RETURN(const std::string fresh, nonce());
  json head = {{"alg", "ES256"}, {"nonce", fresh}, {"url", url}};
  if (account_.empty()) {
    head["jwk"] = key_.jwk();
  } else {
    head["kid"] = account_;
  }
  const std::string signedHead = base64UrlEncode(head.dump()), signedPayload = base64UrlEncode(payload);
  const json body = {{"protected", signedHead},
                     {"payload", signedPayload},
                     {"signature", key_.sign(signedHead + "." + signedPayload)}};
  ASSIGN_OR_RETURN(AcmeAnswer answer, parts_.ask("POST", url, body.dump()));
  if (const auto found = answer.headers.find("replay-nonce"); found != answer.headers.end()) nonce_ = found->second;
  Reply reply;
  reply.body = parsed(answer.body);
  reply.answer = std::move(answer);
  *badNonce = reply.answer.status == 400 && text(reply.body, "type").ends_with(":badNonce");
  return reply;
}

// Without a payload it only reads (POST-as-GET).
Result<AcmeClient::Reply> AcmeClient::post(const std::string& url, const std::optional<Json>& payload) {
  const std::string bytes = payload ? payload->dump() : "";
  for (int attempt = 0;; ++attempt) {
    bool badNonce = false;
    ASSIGN_OR_RETURN(Reply reply, postOnce(url, bytes, &badNonce));
    if (badNonce && attempt < 3) continue;
    if (reply.answer.status < 200 || reply.answer.status > 299) return refused(reply.answer, "ask " + url);
    return reply;
  }
}

// The directory, and the account: asking for one that is there gives it.
Result<void> AcmeClient::begin() {
  retryAfter_.reset();
  if (!account_.empty()) return {};
  ASSIGN_OR_RETURN(const AcmeAnswer answer, parts_.ask("GET", directoryUrl_, ""));
  if (answer.status != 200) return refused(answer, "read the directory " + directoryUrl_);
  directory_ = parsed(answer.body);
  for (const char* needed : {"newNonce", "newAccount", "newOrder"}) {
    if (text(directory_, needed).empty())
      return makeError(Code::failedPrecondition, "{} is no ACME directory: it has no {}", directoryUrl_, needed);
  }
  Json wanted = {{"termsOfServiceAgreed", true}};
  if (!email_.empty()) wanted["contact"] = Json::array({"mailto:" + email_});
  ASSIGN_OR_RETURN(const Reply reply, post(text(directory_, "newAccount"), wanted));
  const auto place = reply.answer.headers.find("location");
  if (place == reply.answer.headers.end()) return Error{Code::failedPrecondition, "the new account has no address"};
  account_ = place->second;
  return {};
}

Result<nlohmann::json> AcmeClient::poll(const std::string& url, const std::string& until, const std::string& what) {
  for (int i = 0; i < kPolls; ++i) {
    ASSIGN_OR_RETURN(const Reply reply, post(url, std::nullopt));
    const std::string status = text(reply.body, "status");
    if (status == until || (until == "ready" && status == "valid")) return reply.body;
    if (status != "pending" && status != "processing" && status != "ready") {
      std::string why;
      if (reply.body.contains("error")) why = problemOf(reply.body["error"]);
      if (reply.body.contains("challenges")) {
        for (const Json& challenge : reply.body["challenges"]) {
          if (challenge.contains("error")) why = problemOf(challenge["error"]);
        }
      }
      return makeError(Code::failedPrecondition, "{} is {}{}{}", what, status, why.empty() ? "" : ": ", why);
    }
    const Nanos wait = std::min(retryAfterOf(reply.answer).value_or(kPoll), kLongestPoll);
    if (!parts_.sleep(wait)) return Error{Code::cancelled, "the grid ends"};
  }
  return makeError(Code::deadlineExceeded, "{} is not {} after {} looks", what, until, kPolls);
}

Result<void> AcmeClient::prove(const std::string& authorization, const std::string& name) {
  ASSIGN_OR_RETURN(const Reply reply, post(authorization, std::nullopt));
  if (text(reply.body, "status") == "valid") return {};
  std::string url, token;
  if (reply.body.contains("challenges")) {
    for (const Json& challenge : reply.body["challenges"]) {
      if (text(challenge, "type") != "http-01") continue;
      url = text(challenge, "url");
      token = text(challenge, "token");
    }
  }
  if (url.empty() || token.empty())
    return makeError(Code::failedPrecondition, "the authority does not take http-01 as a proof for {}", name);
  parts_.publish(token, token + "." + key_.thumbprint());
  Result<Reply> begun = post(url, Json::object());
  Result<Json> proven =
      begun.ok() ? poll(authorization, "valid", "the proof for " + name) : Result<Json>(begun.error());
  parts_.publish(token, "");
  if (!proven.ok()) return proven.error();
  return {};
}

Result<std::string> AcmeClient::obtain(const std::string& name, const EcKey& key) {
  RETURN_IF_ERROR(begin());
  const Json wanted = {{"identifiers", Json::array({{{"type", "dns"}, {"value", name}}})}};
  ASSIGN_OR_RETURN(Reply order, post(text(directory_, "newOrder"), wanted));
  const auto place = order.answer.headers.find("location");
  if (place == order.answer.headers.end() || !order.body.contains("authorizations"))
    return Error{Code::failedPrecondition, "the new order has no address or no authorizations"};
  for (const Json& authorization : order.body["authorizations"]) {
    if (authorization.is_string()) RETURN_IF_ERROR(prove(authorization.get<std::string>(), name));
  }
  ASSIGN_OR_RETURN(const Json ready, poll(place->second, "ready", "the order for " + name));
  if (text(ready, "status") != "valid")
    RETURN_IF_ERROR(post(text(ready, "finalize"), Json{{"csr", key.request(name)}}));
  ASSIGN_OR_RETURN(const Json valid, poll(place->second, "valid", "the order for " + name));
  ASSIGN_OR_RETURN(const Reply chain, post(text(valid, "certificate"), std::nullopt));
  RETURN_IF_ERROR(key.fits(chain.answer.body, name));
  return chain.answer.body;
}

}  // namespace gridiron
