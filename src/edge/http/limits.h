#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "edge/http/function_name.h"
#include "model/function.h"

namespace gridiron::edge {

// So many requests in so much time, and as many at once as `burst`. count 0: no limit.
struct Rate {
  int count = 0;
  Nanos per = std::chrono::seconds(1);
  int burst = 0;  // 0: as many as `count`, at least 1
  bool operator==(const Rate&) const = default;
};
// "100-per-second" (or minute, hour), and "none". Errors say what would be right.
Result<Rate> readRate(const std::string& text);

// What a web function takes; the first two by the request, the third by what waits.
struct LimitRule {
  Rate all;       // from everybody together
  Rate client;    // from one address
  int queue = 0;  // requests that may wait for a container; 0: no limit but the grid's own
  bool operator==(const LimitRule&) const = default;
};

// One entry of the grid's own configuration: "[environment/]app/function [all=100-per-second] [burst=200]
// [client=10-per-minute] [client-burst=5] [queue=50]"; app and function may be "*".
struct ConfiguredLimit : FunctionPath {
  LimitRule rule;
};
Result<ConfiguredLimit> parseLimit(const std::string& text);

// From the tags of the function's app: "limit.<function>" for all together, and with ".burst", ".client",
// ".client-burst", ".queue" behind it. Nothing when there is none of them.
Result<std::optional<LimitRule>> limitRuleOf(const std::map<std::string, std::string>& tags,
                                             const std::string& function);

// When the next request of each of many keys is due (GCRA): one time a key. Those that have been quiet for their whole
// burst are forgotten, and beyond `most` those that were quiet longest. Loop thread only.
class RateTable {
 public:
  explicit RateTable(std::size_t most) : most_(most) {}
  // Zero: the request is let through. Else how long until one would be.
  Nanos ask(const std::string& key, const Rate& rate, Time now);
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Time due{};
    std::list<std::string>::iterator place;
  };
  const std::size_t most_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> order_;  // asked longest ago first
};

struct LimiterParts {
  const Clock& clock;
  // An error closes the function to everybody.
  std::function<Result<std::optional<LimitRule>>(const Function&, const std::string& method)> rule;
  // A line for the owner's log. Unset: nobody is told.
  std::function<void(const Function&, const std::string& line)> tell;
  std::size_t mostAddresses = 100'000;
};

// Lets requests to web functions through, or not, and tells the owner so, once a minute a function. In memory: a
// restart forgets. Loop thread only.
class RequestLimiter {
 public:
  explicit RequestLimiter(LimiterParts parts)
      : parts_(std::move(parts)), addresses_(parts_.mostAddresses), functions_(kMostFunctions), told_(kMostFunctions) {}

  struct Refusal {
    std::string why;   // which limit it was: "client_rate", "rate", "queue"
    std::string text;  // for the peer
    int retryAfterSeconds = 1;
  };
  using Verdict = Result<std::optional<Refusal>>;
  // By the address it comes from. An error: the function's rule is not in order, and it takes nothing.
  Verdict askForAddress(const Function& function, const std::string& method, const std::string& host);
  // By the function: of all requests that got so far. `queued`: those that wait now.
  Verdict askForFunction(const Function& function, const std::string& method, int queued);

 private:
  static constexpr std::size_t kMostFunctions = 10'000;
  Verdict refuse(const Function& function, const std::string& method, Refusal refusal);
  Result<std::optional<LimitRule>> ruleOf(const Function& function, const std::string& method);
  void tell(const Function& function, const std::string& key, const std::string& line);

  const LimiterParts parts_;
  RateTable addresses_, functions_, told_;
};

}  // namespace gridiron::edge
