#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "net/http.h"

namespace gridiron::edge {

// How a sender of webhooks signs what it sends.
enum class WebhookScheme {
  github,    // X-Hub-Signature-256. https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
  stripe,    // Stripe-Signature. https://docs.stripe.com/webhooks#verify-manually
  slack,     // X-Slack-Signature. https://api.slack.com/authentication/verifying-requests-from-slack
  twilio,    // X-Twilio-Signature. https://www.twilio.com/docs/usage/security#validating-requests
  standard,  // Webhook-Signature (or Svix-…). https://github.com/standard-webhooks/standard-webhooks
  hmac,      // any other HMAC over the body, or over "<time>.<body>"
};

struct SignatureRule {
  WebhookScheme scheme = WebhookScheme::hmac;
  Nanos tolerance = std::chrono::minutes(5);  // of the signed time against ours, either way
  // Of `hmac` only. The signature is hexadecimal or base64, alone or behind "<algorithm>=".
  std::string header = "x-signature";  // lower case
  std::string timestampHeader;         // Unix seconds, signed in front of the body; "" = no time is signed
  std::string algorithm = "sha256";    // sha1, sha256 or sha512
};

// "github", "stripe", … as users write them.
Result<WebhookScheme> webhookSchemeNamed(std::string_view name);
std::string_view nameOf(WebhookScheme scheme);

// What a request says of its own signature, before its body is known.
struct SignatureClaim {
  std::vector<std::string> signatures;  // raw bytes; any one of them may fit (senders that rotate send several)
  std::string timestamp, id;            // as sent; "" where the scheme has none
};

// All functions here are pure, for any thread. Their errors (unauthenticated) say which check failed, for the owner of
// the function; senders are told nothing of it.

// Reads the claim and holds its time against `now`: what can be refused without reading the body.
Result<SignatureClaim> readClaim(const SignatureRule& rule, const net::RequestHead& head, Time now);

// Whether one of `secrets` (as the sender's pages show them) made the claim over this request. Compares in constant
// time and tries every secret.
Result<void> verifyClaim(const SignatureRule& rule, const SignatureClaim& claim,
                         const std::vector<std::string>& secrets, const net::RequestHead& head, std::string_view body);

}  // namespace gridiron::edge
