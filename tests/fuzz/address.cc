// Where a request goes, by host and path; what its function is told of it; what it claims of its signature.
#include "edge/http/router.h"
#include "edge/http/scope.h"
#include "edge/http/signatures.h"
#include "tests/fuzz/fuzz.h"

FUZZ(address) {
  using namespace gridiron;
  net::RequestHead head;
  head.method = fuzz::choice(bytes) % 2 == 0 ? "GET" : "POST";
  const auto line = bytes.find('\n');
  head.authority = bytes.substr(0, line);
  head.target = "/" + std::string(line == std::string_view::npos ? bytes : bytes.substr(line + 1));
  const edge::Route route = edge::routeOf(head, "grid.example.org");
  if (route.kind == edge::Route::Kind::function) {
    fuzz::require(!route.function.label.empty(), "a function's address names it");
    fuzz::require(head.target.starts_with(route.function.rootPath), "the prefix is the path's");
    for (const WebKind kind : {WebKind::asgiApp, WebKind::webServer}) {
      const wire::HttpScope scope = edge::scopeOf(head, route.function, kind);
      fuzz::require(scope.path.starts_with('/'), "a path begins with a slash");
    }
  }
  (void)edge::percentDecode(bytes);
  for (const char* scheme : {"github", "stripe", "slack", "twilio", "standard", "hmac"}) {
    edge::SignatureRule rule;
    rule.scheme = *edge::webhookSchemeNamed(scheme);
    rule.timestampHeader = "x-time";
    net::RequestHead signedHead = head;
    for (const char* name :
         {"x-hub-signature-256", "stripe-signature", "x-slack-signature", "x-slack-request-timestamp",
          "x-twilio-signature", "webhook-id", "webhook-timestamp", "webhook-signature", "x-signature", "x-time"})
      signedHead.headers.add(name, std::string(bytes));
    const auto claim = edge::readClaim(rule, signedHead, Time{std::chrono::seconds(1'700'000'000)});
    if (!claim.ok()) continue;
    fuzz::require(
        !edge::verifyClaim(rule, *claim, {"a key"}, signedHead, bytes).ok() || claim->signatures.empty() == false,
        "nothing is signed by nobody");
  }
}
