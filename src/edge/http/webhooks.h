#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "edge/http/function_name.h"
#include "edge/http/signatures.h"
#include "model/function.h"
#include "net/http.h"

namespace gridiron::edge {

// The senders of a web function must sign, and with what.
struct WebhookRule {
  SignatureRule signature;
  std::string secret;  // name of a Secret in the function's environment
};

// From the tags of the function's app. "webhook.<function>" = "<scheme>.<secret>" turns the check on; for `hmac` there
// are also "webhook.<function>.header", ".timestamp" and ".algorithm". Nothing when there is no such tag.
Result<std::optional<WebhookRule>> webhookRuleOf(const std::map<std::string, std::string>& tags,
                                                 const std::string& function);

// One entry of the grid's own configuration: "[environment/]app/function scheme secret [header=…] [timestamp=…]
// [algorithm=…] [tolerance=seconds]".
struct ConfiguredWebhook : FunctionPath {
  WebhookRule rule;
};
Result<ConfiguredWebhook> parseWebhook(const std::string& text);

// The values that may be keys: those of variables that begin with WEBHOOK_SECRET (two live ones while a sender
// rotates), else that of the only variable. failedPrecondition when there is neither.
Result<std::vector<std::string>> webhookSecretsIn(const std::map<std::string, std::string>& variables);

struct WebhookParts {
  asio::io_context& io;
  const Clock& clock;
  // The rule of a function; an error closes the function to everybody.
  std::function<Result<std::optional<WebhookRule>>(const Function&, const std::string& method)> rule;
  // The variables of a Secret.
  std::function<Result<std::map<std::string, std::string>>(const std::string& environment, const std::string& name)>
      secret;
  // A line for the owner's log.
  std::function<void(const Function&, const std::string& line)> tell;
  std::size_t maxBody = 26 * 1024 * 1024;        // of one signed request: what GitHub sends at most, and a little
  std::size_t maxBuffered = 256 * 1024 * 1024;   // of all whose bodies are being read
  std::size_t maxRemembered = 100'000;           // signatures; the oldest are forgotten first
  Nanos bodyTimeout = std::chrono::seconds(60);  // for the whole of it
};

// Holds signed requests at the door until their signature was found good, so that nobody else can start a container.
// What a time was signed into is taken once within its window. Memory only: a restart forgets what was seen. Loop
// thread only.
class WebhookGuard {
 public:
  explicit WebhookGuard(WebhookParts parts) : parts_(std::move(parts)) {}

  struct Admitted {
    std::shared_ptr<net::Exchange> exchange;  // the one that was given, or one that has its body in memory
    std::string seen;                         // for forget()
  };
  // Errors, with texts that tell a sender nothing: unauthenticated, exhausted (the body is too long), unavailable (too
  // many at once), cancelled (the peer is gone, or was cut off because its body did not come), failedPrecondition (the
  // rule is not in order).
  Task<Result<Admitted>> admit(std::shared_ptr<net::Exchange> exchange, std::shared_ptr<const Function> function,
                               std::string method);
  // The request got no answer of the function: its sender may come again with the same signature.
  void forget(const std::string& seen) { seen_.erase(seen); }

 private:
  Task<Result<std::string>> readBody(std::shared_ptr<net::Exchange> exchange);
  Result<std::string> check(const Function& function, const WebhookRule& rule, const SignatureClaim& claim,
                            const net::RequestHead& head, std::string_view body);
  Result<void> once(const std::string& key, Nanos window);
  Error refuse(const Function& function, const std::string& name, const Error& why);

  WebhookParts parts_;
  std::size_t buffered_ = 0;
  std::unordered_set<std::string> seen_;
  std::deque<std::pair<Time, std::string>> expiries_;  // of seen_, the earliest first
  struct Told {
    Time at{};
    int untold = 0;
  };
  std::map<FunctionId, Told> told_;
};

}  // namespace gridiron::edge
