#include "main/acme.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "base/digest.h"
#include "base/fd.h"
#include "base/testing.h"

namespace gridiron {
namespace {

using nlohmann::json;
using std::chrono::hours;
using std::chrono::minutes;
using testing::HasSubstr;

// RFC 7638 hashes the names in order, without spaces. The key is that of RFC 7515, appendix A.3.
constexpr const char* kKey =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff\n"
    "H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp\n"
    "7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt\n"
    "-----END PRIVATE KEY-----\n";

TEST(AcmeKeys, AKeyIsReadAndHasItsJwk) {
  const auto made = EcKey::generate();
  ASSERT_TRUE(made.ok());
  const auto again = EcKey::fromPem(made->pem());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->jwk(), made->jwk());
  EXPECT_EQ(again->thumbprint(), made->thumbprint());
  EXPECT_FALSE(EcKey::fromPem("no key").ok());
  EXPECT_EQ(base64Decode(made->sign("text")).value().size(), 64u);
}

TEST(AcmeKeys, TheThumbprintIsThatOfRfc7638) {
  const auto key = EcKey::fromPem(kKey);
  ASSERT_TRUE(key.ok()) << key.error().message;
  EXPECT_EQ(key->jwk()["x"], "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
  EXPECT_EQ(key->thumbprint(), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");  // by Python's hashlib
}

TEST(AcmeKeys, ACertificateFitsItsKeyAndItsName) {
  const auto key = EcKey::generate(), other = EcKey::generate();
  const std::string certificate = key->selfSigned("a.example.org");
  EXPECT_TRUE(key->fits(certificate, "a.example.org").ok());
  EXPECT_THAT(key->fits(certificate, "b.example.org").error().message, HasSubstr("not for b.example.org"));
  EXPECT_THAT(other->fits(certificate, "a.example.org").error().message, HasSubstr("another key's"));
  const auto validity = validityOf(certificate);
  ASSERT_TRUE(validity.ok());
  EXPECT_TRUE(validity->selfSigned);
  EXPECT_EQ(validity->until - validity->from, hours(25));
}

TEST(Acme, IsTriedAgainLaterAndLaterAndRenewedWithAThirdLeft) {
  EXPECT_EQ(acmeBackOff(1), minutes(1));
  EXPECT_EQ(acmeBackOff(2), minutes(2));
  EXPECT_EQ(acmeBackOff(5), minutes(16));
  EXPECT_EQ(acmeBackOff(100), hours(24));
  Validity validity;
  validity.from = Time{hours(0)};
  validity.until = Time{hours(90 * 24)};
  EXPECT_EQ(acmeRenewAt(validity), Time{hours(60 * 24)});
}

TEST(Acme, NamesWithoutACertificateGetAMakeshiftAndAGoodOneIsKept) {
  const TemporaryDirectory folder;
  const SystemClock clock;
  const AcmeOptions options{.directory = "https://localhost:1/dir",
                            .authority = "",
                            .email = "",
                            .names = {"a.example.org"},
                            .folder = folder.path() + "/acme"};
  std::string first;
  for (int i = 0; i < 2; ++i) {
    const auto acme = Acme::open(options, clock);
    ASSERT_TRUE(acme.ok()) << acme.error().message;
    const auto files = (*acme)->files();
    ASSERT_EQ(files.size(), 1u);
    EXPECT_TRUE(net::TlsContext::server(files).ok());
    const std::string bytes = readFile(files[0].certificate).value();
    EXPECT_TRUE(first.empty() || bytes == first);
    first = bytes;
    EXPECT_FALSE((*acme)->answerTo("/.well-known/acme-challenge/x").has_value());
  }
}

// Answers in turn.
class PlayedAuthority {
 public:
  std::deque<AcmeAnswer> answers;
  std::vector<json> asked;  // what POSTs had in them: protected and payload
  AcmeParts parts() {
    return {
        .ask = [this](const std::string& method, const std::string&, const std::string& body) -> Result<AcmeAnswer> {
          if (method == "HEAD") return AcmeAnswer{200, {{"replay-nonce", "n0"}}, ""};
          if (method == "POST") {
            const json jws = json::parse(body);
            asked.push_back(json::parse(*base64Decode(jws["protected"].get<std::string>())));
          }
          if (answers.empty()) return Error{Code::unavailable, "no more answers"};
          AcmeAnswer next = std::move(answers.front());
          answers.pop_front();
          return next;
        },
        .publish = [](const std::string&, const std::string&) {},
        .sleep = [](Nanos) { return true; }};
  }
};

json directory() { return {{"newNonce", "n"}, {"newAccount", "a"}, {"newOrder", "o"}}; }

TEST(AcmeClientTest, ANonceThatWasRefusedIsReplacedAndNotUsedAgain) {
  PlayedAuthority authority;
  const json bad = {{"type", "urn:ietf:params:acme:error:badNonce"}};
  authority.answers = {{200, {}, directory().dump()},
                       {400, {{"replay-nonce", "n1"}}, bad.dump()},
                       {201, {{"location", "acct"}, {"replay-nonce", "n2"}}, "{}"},
                       {500, {}, ""}};
  AcmeClient client(authority.parts(), "dir", "", *EcKey::generate());
  EXPECT_FALSE(client.obtain("a.example.org", *EcKey::generate()).ok());
  ASSERT_EQ(authority.asked.size(), 3u);
  EXPECT_EQ(authority.asked[0]["nonce"], "n0");
  EXPECT_EQ(authority.asked[1]["nonce"], "n1");
  EXPECT_TRUE(authority.asked[1].contains("jwk"));
  EXPECT_EQ(authority.asked[2]["nonce"], "n2");
  EXPECT_EQ(authority.asked[2]["kid"], "acct");
}

TEST(AcmeClientTest, WhatAnAuthoritySaysIsTold) {
  PlayedAuthority authority;
  const json limited = {{"type", "urn:ietf:params:acme:error:rateLimited"}, {"detail", "too many"}};
  authority.answers = {{200, {}, directory().dump()},
                       {201, {{"location", "acct"}}, "{}"},
                       {429, {{"retry-after", "7200"}}, limited.dump()}};
  AcmeClient client(authority.parts(), "dir", "", *EcKey::generate());
  const auto refused = client.obtain("a.example.org", *EcKey::generate());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::exhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("HTTP 429, rateLimited: too many"));
  EXPECT_EQ(client.retryAfter(), Nanos(hours(2)));
}

struct Junk {
  const char* what;
  AcmeAnswer answer;
};
class JunkOfAuthorities : public testing::TestWithParam<Junk> {};
TEST_P(JunkOfAuthorities, IsAnError) {
  for (const bool asDirectory : {true, false}) {
    PlayedAuthority authority;
    if (!asDirectory) {
      authority.answers.push_back({200, {}, directory().dump()});
      authority.answers.push_back({201, {{"location", "acct"}}, "{}"});
    }
    for (int i = 0; i < 5; ++i) authority.answers.push_back(GetParam().answer);
    AcmeClient client(authority.parts(), "dir", "", *EcKey::generate());
    EXPECT_FALSE(client.obtain("a.example.org", *EcKey::generate()).ok()) << GetParam().what;
  }
}
INSTANTIATE_TEST_SUITE_P(
    Answers, JunkOfAuthorities,
    testing::Values(Junk{"nothing", {200, {}, ""}}, Junk{"no JSON", {200, {{"location", "x"}}, "<html>"}},
                    Junk{"a list", {200, {{"location", "x"}}, "[1]"}},
                    Junk{"numbers", {200, {{"location", "x"}}, R"({"authorizations":[1],"newOrder":1,"status":2})"}},
                    Junk{"an odd state", {200, {{"location", "x"}}, R"({"authorizations":["u"],"status":"x"})"}},
                    Junk{"errors of no type", {400, {{"location", "x"}}, R"({"type":5,"detail":[]})"}}));

}  // namespace
}  // namespace gridiron
