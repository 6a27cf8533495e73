#include "edge/http/signatures.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/digest.h"

namespace gridiron::edge {
namespace {

using namespace std::chrono_literals;

Time at(std::int64_t seconds) { return Time{std::chrono::seconds(seconds)}; }

std::string mac(const EVP_MD* digest, std::string_view key, std::string_view data) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  HMAC(digest, key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(data.data()),
       data.size(), out, &size);
  return {reinterpret_cast<const char*>(out), size};
}

// A request as a sender makes it, and the check of it.
struct Sent {
  SignatureRule rule;
  net::RequestHead head;
  std::string body;
  std::vector<std::string> secrets;
  Time now = at(0);

  Sent(WebhookScheme scheme, std::vector<std::string> keys, std::string text, std::int64_t seconds)
      : body(std::move(text)), secrets(std::move(keys)), now(at(seconds)) {
    rule.scheme = scheme;
    head.method = "POST";
    head.scheme = "https";
    head.authority = "grid.example";
    head.target = "/";
  }
  Sent& with(const std::string& name, const std::string& value) {
    net::Headers headers;
    for (const auto& [had, old] : head.headers.fields())
      if (had != name) headers.add(had, old);
    if (!value.empty()) headers.add(name, value);
    head.headers = headers;
    return *this;
  }
  Sent& without(const std::string& name) { return with(name, ""); }
  // "" when it verifies, else why not.
  std::string why() const {
    auto claim = readClaim(rule, head, now);
    if (!claim.ok()) return claim.error().message;
    auto verified = verifyClaim(rule, *claim, secrets, head, body);
    EXPECT_TRUE(verified.ok() || verified.error().code == Code::unauthenticated);
    return verified.ok() ? "" : verified.error().message;
  }
};

// The samples that the providers' documentation or libraries publish, unmodified.
Sent github() {
  Sent sent(WebhookScheme::github, {"It's a Secret to Everybody"}, "Hello, World!", 1'700'000'000);
  sent.with("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
  return sent;
}

Sent slack() {
  Sent sent(
      WebhookScheme::slack, {"8f742231b10e8888abcd99yyyzzz85a5"},
      "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
      "channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
      "response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&"
      "trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
      1'531'420'700);
  sent.with("x-slack-request-timestamp", "1531420618");
  sent.with("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503");
  return sent;
}

Sent twilio() {
  Sent sent(WebhookScheme::twilio, {"12345"},
            "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212",
            1'700'000'000);
  sent.head.authority = "mycompany.com";
  sent.head.target = "/myapp.php?foo=1&bar=2";
  sent.with("content-type", "application/x-www-form-urlencoded");
  sent.with("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
  return sent;
}

Sent standard() {
  Sent sent(WebhookScheme::standard, {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, R"({"test": 2432232314})",
            1'614'265'400);
  sent.with("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek").with("webhook-timestamp", "1614265330");
  sent.with("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  return sent;
}

// Stripe publishes no sample with its key: signed here as its page says.
std::string stripeSignature(const std::string& secret, const std::string& body) {
  return hexEncode(mac(EVP_sha256(), secret, "1492774577." + body));
}
Sent stripe() {
  const std::string body = R"({"id":"evt_test_webhook","object":"event"})";
  Sent sent(WebhookScheme::stripe, {"whsec_test_secret"}, body, 1'492'774'600);
  sent.with("stripe-signature", "t=1492774577,v1=" + stripeSignature("whsec_test_secret", body) +
                                    ",v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39");
  return sent;
}

// An HMAC of no particular provider, with a time.
Sent generic() {
  Sent sent(WebhookScheme::hmac, {"key"}, "payload", 1'700'000'000);
  sent.rule.header = "x-acme-signature";
  sent.rule.timestampHeader = "x-acme-time";
  sent.rule.algorithm = "sha512";
  sent.with("x-acme-time", "1699999990");
  sent.with("x-acme-signature", "sha512=" + hexEncode(mac(EVP_sha512(), "key", "1699999990.payload")));
  return sent;
}

struct Scheme {
  const char* name;
  Sent (*sample)();
  const char* header;  // that holds the signature
  bool timed;
};
void PrintTo(const Scheme& scheme, std::ostream* out) { *out << scheme.name; }

class EveryScheme : public ::testing::TestWithParam<Scheme> {};

TEST_P(EveryScheme, TheProvidersOwnSampleVerifies) { EXPECT_EQ(GetParam().sample().why(), ""); }

TEST_P(EveryScheme, AnotherBodyOrAnotherSecretDoesNot) {
  Sent changed = GetParam().sample();
  changed.body += "&x=1";
  EXPECT_EQ(changed.why(), "the signature fits not the secret");
  Sent other = GetParam().sample();
  other.secrets = {std::string(other.rule.scheme == WebhookScheme::standard ? "whsec_AAAA" : "another")};
  EXPECT_EQ(other.why(), "the signature fits not the secret");
}

TEST_P(EveryScheme, EitherOfTwoLiveSecretsWillDo) {
  Sent sent = GetParam().sample();
  const std::string live = sent.secrets.front();
  sent.secrets = {"c2Vjb25k", live};
  EXPECT_EQ(sent.why(), "");
  sent.secrets = {live, "c2Vjb25k"};
  EXPECT_EQ(sent.why(), "");
  sent.secrets = {"Zmlyc3Q=", "c2Vjb25k"};
  EXPECT_EQ(sent.why(), "the signature fits none of the 2 secrets");
}

TEST_P(EveryScheme, AMissingOrACutSignatureIsNamed) {
  Sent missing = GetParam().sample();
  missing.without(GetParam().header);
  EXPECT_NE(missing.why().find(
                std::string("no ") +
                (missing.rule.scheme == WebhookScheme::standard ? "webhook-signature" : GetParam().header) + " header"),
            std::string::npos)
      << missing.why();
  Sent cut = GetParam().sample();
  const std::string whole(*cut.head.headers.find(GetParam().header));
  for (std::size_t size = 1; size < whole.size(); ++size) {
    cut.with(GetParam().header, whole.substr(0, size));
    if (cut.rule.scheme == WebhookScheme::stripe && size >= 80)
      break;  // from there on only its v0 is cut, which nobody reads
    if (whole.find_first_not_of('=', size) == std::string::npos) break;  // base64's padding says nothing
    EXPECT_NE(cut.why(), "") << size;
  }
}

TEST_P(EveryScheme, WhatWasSignedLongAgoOrAheadIsRefusedWhereATimeIsSigned) {
  Sent old = GetParam().sample();
  old.now += 10min;
  Sent early = GetParam().sample();
  early.now -= 10min;
  if (GetParam().timed) {
    EXPECT_NE(old.why().find("at most 300 s are allowed"), std::string::npos) << old.why();
    EXPECT_NE(early.why().find("in the future"), std::string::npos) << early.why();
  } else {
    EXPECT_EQ(old.why(), "");
    EXPECT_EQ(early.why(), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Signatures, EveryScheme,
                         ::testing::Values(Scheme{"github", github, "x-hub-signature-256", false},
                                           Scheme{"stripe", stripe, "stripe-signature", true},
                                           Scheme{"slack", slack, "x-slack-signature", true},
                                           Scheme{"twilio", twilio, "x-twilio-signature", false},
                                           Scheme{"standard", standard, "webhook-signature", true},
                                           Scheme{"hmac", generic, "x-acme-signature", true}),
                         [](const auto& info) { return info.param.name; });

TEST(Signatures, ATimeThatIsNoNumberIsRefused) {
  for (const char* bad : {"", "x", "12x", "-1", "1e9", "99999999999999999999"}) {
    Sent sent = slack();
    sent.with("x-slack-request-timestamp", bad);
    EXPECT_NE(sent.why(), "") << bad;
  }
}

TEST(Signatures, StripeAndStandardMaySendSeveralSignatures) {
  Sent sent = stripe();
  sent.with("stripe-signature",
            "t=1492774577,v1=" + std::string(64, '0') + ",v1=" + stripeSignature("whsec_test_secret", sent.body));
  EXPECT_EQ(sent.why(), "");
  Sent rotated = standard();
  rotated.with("webhook-signature",
               "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= v1,g0hM9SsE+OTPJTGt/"
               "tmIKtSyZlE3uFJELVlNIOLJ1OE= "
               "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==");
  EXPECT_EQ(rotated.why(), "");
}

TEST(Signatures, StandardTakesSvixNamesAndSecretsWithoutTheirPrefix) {
  Sent sent = standard();
  for (const char* name : {"id", "timestamp", "signature"}) {
    const std::string value(*sent.head.headers.find(std::string("webhook-") + name));
    sent.without(std::string("webhook-") + name).with(std::string("svix-") + name, value);
  }
  sent.secrets = {"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
  EXPECT_EQ(sent.why(), "");
  sent.secrets = {"not base64!"};
  EXPECT_EQ(sent.why(), "none of the 1 secrets can be a key of the standard scheme");
}

TEST(Signatures, TwilioKnowsTheGridByTheAddressBeforeItsProxy) {
  Sent sent = twilio();
  sent.head.scheme = "http";  // TLS ended at a proxy
  EXPECT_EQ(sent.why(), "");
  sent.head.authority = "mycompany.com:8443";  // which also forwards to another port
  EXPECT_EQ(sent.why(), "");
}

TEST(Signatures, TwiliosOtherBodiesAreBoundByTheirDigest) {
  Sent sent(WebhookScheme::twilio, {"12345"}, R"({"a":1})", 0);
  sent.head.target = "/hook?bodySHA256=" + sha256(sent.body).hex();
  sent.with("content-type", "application/json");
  sent.with("x-twilio-signature", base64Encode(mac(EVP_sha1(), "12345", "https://grid.example" + sent.head.target)));
  EXPECT_EQ(sent.why(), "");
  sent.body = R"({"a":2})";
  EXPECT_EQ(sent.why(), "the body does not have the SHA-256 that the signed URL says");
  sent.head.target = "/hook";
  EXPECT_EQ(sent.why(), "the body is no form and the URL has no bodySHA256, so the signature does not cover it");
}

TEST(Signatures, AnyHmacMayBeHexOrBase64WithItsAlgorithmInFrontOrNot) {
  Sent sent(WebhookScheme::hmac, {"key"}, "payload", 0);
  const std::string bytes = mac(EVP_sha256(), "key", "payload");
  for (const std::string& text :
       {hexEncode(bytes), "sha256=" + hexEncode(bytes), base64Encode(bytes), "sha256=" + base64Encode(bytes)}) {
    sent.with("x-signature", text);
    EXPECT_EQ(sent.why(), "") << text;
  }
  sent.with("x-signature", "sha1=" + hexEncode(mac(EVP_sha1(), "key", "payload")));
  EXPECT_EQ(sent.why(), "the hmac signature is not well-formed or not whole");
}

TEST(Signatures, SchemesAreKnownByName) {
  for (const char* name : {"github", "stripe", "slack", "twilio", "standard", "hmac"})
    EXPECT_EQ(nameOf(*webhookSchemeNamed(name)), name);
  EXPECT_NE(webhookSchemeNamed("gitlab").error().message.find("known are github, stripe"), std::string::npos);
}

}  // namespace
}  // namespace gridiron::edge
