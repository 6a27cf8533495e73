#include "edge/http/signatures.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "base/digest.h"
#include "edge/http/scope.h"

namespace gridiron::edge {
namespace {

constexpr std::array<std::pair<WebhookScheme, std::string_view>, 6> kNames = {{{WebhookScheme::github, "github"},
                                                                               {WebhookScheme::stripe, "stripe"},
                                                                               {WebhookScheme::slack, "slack"},
                                                                               {WebhookScheme::twilio, "twilio"},
                                                                               {WebhookScheme::standard, "standard"},
                                                                               {WebhookScheme::hmac, "hmac"}}};

template <class... Args>
Error refused(fmt::format_string<Args...> format, Args&&... args) {
  return makeError(Code::unauthenticated, format, std::forward<Args>(args)...);
}

const EVP_MD* digestOf(const SignatureRule& rule) {
  if (rule.scheme == WebhookScheme::twilio) return EVP_sha1();
  if (rule.scheme != WebhookScheme::hmac || rule.algorithm == "sha256") return EVP_sha256();
  return rule.algorithm == "sha512" ? EVP_sha512() : EVP_sha1();
}

std::string hmac(const EVP_MD* digest, std::string_view key, std::string_view data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned size = 0;
  HMAC(digest, key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(data.data()),
       data.size(), out.data(), &size);
  return {reinterpret_cast<const char*>(out.data()), size};
}

std::optional<std::string> hexDecode(std::string_view text) {
  std::string bytes;
  if (text.size() % 2 != 0) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    unsigned value = 0;
    const char* end = text.data() + i + 2;
    auto [at, failed] = std::from_chars(text.data() + i, end, value, 16);
    if (failed != std::errc{} || at != end) return std::nullopt;
    bytes.push_back(static_cast<char>(value));
  }
  return bytes;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    std::string_view part = text.substr(0, at);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (!part.empty()) parts.push_back(part);
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

Result<std::string> headerOf(const net::RequestHead& head, const std::string& name) {
  auto value = head.headers.find(name);
  if (!value || value->empty()) return refused("the request has no {} header", name);
  return std::string(*value);
}

// Adds a signature of the length that the digest has; others cannot fit and are left out.
void addSignature(const SignatureRule& rule, std::optional<std::string> bytes, SignatureClaim& claim) {
  if (bytes && bytes->size() == static_cast<std::size_t>(EVP_MD_size(digestOf(rule))))
    claim.signatures.push_back(std::move(*bytes));
}

Result<SignatureClaim> githubClaim(const SignatureRule& rule, const net::RequestHead& head) {
  SignatureClaim claim;
  ASSIGN_OR_RETURN(const std::string value, headerOf(head, "x-hub-signature-256"));
  if (value.starts_with("sha256=")) addSignature(rule, hexDecode(std::string_view(value).substr(7)), claim);
  return claim;
}

Result<SignatureClaim> stripeClaim(const SignatureRule& rule, const net::RequestHead& head) {
  SignatureClaim claim;
  ASSIGN_OR_RETURN(const std::string value, headerOf(head, "stripe-signature"));
  for (std::string_view part : split(value, ',')) {
    if (part.starts_with("t=")) claim.timestamp = part.substr(2);
    if (part.starts_with("v1=")) addSignature(rule, hexDecode(part.substr(3)), claim);
  }
  if (claim.timestamp.empty()) return refused("stripe-signature has no time (t=…)");
  return claim;
}

Result<SignatureClaim> slackClaim(const SignatureRule& rule, const net::RequestHead& head) {
  SignatureClaim claim;
  ASSIGN_OR_RETURN(const std::string value, headerOf(head, "x-slack-signature"));
  ASSIGN_OR_RETURN(claim.timestamp, headerOf(head, "x-slack-request-timestamp"));
  if (value.starts_with("v0=")) addSignature(rule, hexDecode(std::string_view(value).substr(3)), claim);
  return claim;
}

Result<SignatureClaim> twilioClaim(const SignatureRule& rule, const net::RequestHead& head) {
  SignatureClaim claim;
  ASSIGN_OR_RETURN(const std::string value, headerOf(head, "x-twilio-signature"));
  addSignature(rule, base64Decode(value), claim);
  return claim;
}

Result<SignatureClaim> standardClaim(const SignatureRule& rule, const net::RequestHead& head) {
  SignatureClaim claim;
  const std::string prefix = head.headers.find("svix-signature") ? "svix-" : "webhook-";
  ASSIGN_OR_RETURN(const std::string value, headerOf(head, prefix + "signature"));
  ASSIGN_OR_RETURN(claim.id, headerOf(head, prefix + "id"));
  ASSIGN_OR_RETURN(claim.timestamp, headerOf(head, prefix + "timestamp"));
  for (std::string_view part : split(value, ' '))
    if (part.starts_with("v1,")) addSignature(rule, base64Decode(part.substr(3)), claim);
  return claim;
}

Result<SignatureClaim> hmacClaim(const SignatureRule& rule, const net::RequestHead& head) {
  SignatureClaim claim;
  ASSIGN_OR_RETURN(const std::string value, headerOf(head, rule.header));
  if (!rule.timestampHeader.empty()) {
    ASSIGN_OR_RETURN(claim.timestamp, headerOf(head, rule.timestampHeader));
  }
  std::string_view text = value;
  if (text.starts_with(rule.algorithm + "=")) text.remove_prefix(rule.algorithm.size() + 1);
  const std::size_t before = claim.signatures.size();
  addSignature(rule, hexDecode(text), claim);
  if (claim.signatures.size() == before) addSignature(rule, base64Decode(text), claim);
  return claim;
}

Result<SignatureClaim> claimOf(const SignatureRule& rule, const net::RequestHead& head) {
  switch (rule.scheme) {
    case WebhookScheme::github:
      return githubClaim(rule, head);
    case WebhookScheme::stripe:
      return stripeClaim(rule, head);
    case WebhookScheme::slack:
      return slackClaim(rule, head);
    case WebhookScheme::twilio:
      return twilioClaim(rule, head);
    case WebhookScheme::standard:
      return standardClaim(rule, head);
    case WebhookScheme::hmac:
      break;
  }
  return hmacClaim(rule, head);
}

Result<void> checkTime(const SignatureRule& rule, const std::string& timestamp, Time now) {
  std::int64_t seconds = 0;
  const char* end = timestamp.data() + timestamp.size();
  auto [at, failed] = std::from_chars(timestamp.data(), end, seconds);
  if (failed != std::errc{} || at != end || seconds < 0)
    return refused("'{}' is no time in Unix seconds", timestamp.substr(0, 40));
  const std::int64_t age = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count() - seconds;
  const std::int64_t most = std::chrono::duration_cast<std::chrono::seconds>(rule.tolerance).count();
  if (age > most) return refused("it was signed {} s ago; at most {} s are allowed", age, most);
  if (age < -most) return refused("it was signed {} s in the future; at most {} s are allowed", -age, most);
  return {};
}

std::string formDecode(std::string_view text) {
  std::string spaced(text);
  std::replace(spaced.begin(), spaced.end(), '+', ' ');
  return percentDecode(spaced);
}

// Name → values of a form, each once and in order, as Twilio signs them.
std::map<std::string, std::set<std::string>> formOf(std::string_view body) {
  std::map<std::string, std::set<std::string>> fields;
  for (std::string_view pair : split(body, '&')) {
    const std::size_t equals = pair.find('=');
    const std::string_view value = equals == std::string_view::npos ? "" : pair.substr(equals + 1);
    fields[formDecode(pair.substr(0, equals))].insert(formDecode(value));
  }
  return fields;
}

// The URLs by which the sender may have known us: a proxy before the grid may have taken TLS off or changed the port.
std::vector<std::string> urlsOf(const net::RequestHead& head) {
  const std::string& authority = head.authority;
  const std::size_t colon = authority.rfind(':');
  const bool hasPort = colon != std::string::npos && authority.find(']', colon) == std::string::npos;
  const std::string host = hasPort ? authority.substr(0, colon) : authority;
  std::vector<std::string> urls;
  for (const auto& [scheme, port] : {std::pair("https://", ":443"), std::pair("http://", ":80")}) {
    urls.push_back(scheme + host + head.target);
    urls.push_back(scheme + (hasPort ? authority : host + port) + head.target);
  }
  return urls;
}

std::string_view queryValue(std::string_view target, std::string_view name) {
  const std::size_t question = target.find('?');
  if (question == std::string_view::npos) return {};
  for (std::string_view pair : split(target.substr(question + 1), '&'))
    if (pair.size() > name.size() && pair.starts_with(name) && pair[name.size()] == '=')
      return pair.substr(name.size() + 1);
  return {};
}

// What a request to Twilio's scheme is signed over: the URL (any of those it may be) with the form's fields behind it;
// other bodies are in the URL by their digest.
Result<std::vector<std::string>> twilioContents(const net::RequestHead& head, std::string_view body) {
  const std::string_view digest = queryValue(head.target, "bodySHA256");
  if (!digest.empty() && !equalConstantTime(digest, sha256(body).hex()))
    return refused("the body does not have the SHA-256 that the signed URL says");
  const auto type = head.headers.find("content-type");
  const bool form = type && type->starts_with("application/x-www-form-urlencoded");
  if (digest.empty() && !form && !body.empty())
    return refused("the body is no form and the URL has no bodySHA256, so the signature does not cover it");
  std::string fields;
  if (form && digest.empty())
    for (const auto& [name, values] : formOf(body))
      for (const std::string& value : values) fields += name + value;
  std::vector<std::string> contents = urlsOf(head);
  for (std::string& content : contents) content += fields;
  return contents;
}

Result<std::vector<std::string>> signedContents(const SignatureRule& rule, const SignatureClaim& claim,
                                                const net::RequestHead& head, std::string_view body) {
  const std::string text(body);
  switch (rule.scheme) {
    case WebhookScheme::twilio:
      return twilioContents(head, body);
    case WebhookScheme::stripe:
      return std::vector{claim.timestamp + "." + text};
    case WebhookScheme::slack:
      return std::vector{"v0:" + claim.timestamp + ":" + text};
    case WebhookScheme::standard:
      return std::vector{claim.id + "." + claim.timestamp + "." + text};
    default:
      return std::vector{claim.timestamp.empty() ? text : claim.timestamp + "." + text};
  }
}

// Standard Webhooks' secrets are base64 behind "whsec_"; all others are used as they are shown.
std::optional<std::string> keyOf(const SignatureRule& rule, std::string_view secret) {
  if (rule.scheme != WebhookScheme::standard) return std::string(secret);
  if (secret.starts_with("whsec_")) secret.remove_prefix(6);
  return base64Decode(secret);
}

}  // namespace

Result<WebhookScheme> webhookSchemeNamed(std::string_view name) {
  std::string known;
  for (const auto& [scheme, text] : kNames) {
    if (text == name) return scheme;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  return makeError(Code::invalidArgument, "'{}' is no scheme of signed webhooks; known are {}", name, known);
}

std::string_view nameOf(WebhookScheme scheme) {
  for (const auto& [known, text] : kNames)
    if (known == scheme) return text;
  return "";
}

Result<SignatureClaim> readClaim(const SignatureRule& rule, const net::RequestHead& head, Time now) {
  ASSIGN_OR_RETURN(SignatureClaim claim, claimOf(rule, head));
  if (claim.signatures.empty()) return refused("the {} signature is not well-formed or not whole", nameOf(rule.scheme));
  if (!claim.timestamp.empty()) RETURN_IF_ERROR(checkTime(rule, claim.timestamp, now));
  return claim;
}

Result<void> verifyClaim(const SignatureRule& rule, const SignatureClaim& claim,
                         const std::vector<std::string>& secrets, const net::RequestHead& head, std::string_view body) {
  ASSIGN_OR_RETURN(const std::vector<std::string> contents, signedContents(rule, claim, head, body));
  bool fits = false;
  int usable = 0;
  for (const std::string& secret : secrets) {
    const std::optional<std::string> key = keyOf(rule, secret);
    if (!key || key->empty()) continue;
    ++usable;
    for (const std::string& content : contents) {
      const std::string wanted = hmac(digestOf(rule), *key, content);
      for (const std::string& signature : claim.signatures) fits |= equalConstantTime(signature, wanted);
    }
  }
  if (fits) return {};
  if (usable == 0)
    return refused("none of the {} secrets can be a key of the {} scheme", secrets.size(), nameOf(rule.scheme));
  return refused("the signature fits {}",
                 usable == 1 ? "not the secret" : fmt::format("none of the {} secrets", usable));
}

}  // namespace gridiron::edge
