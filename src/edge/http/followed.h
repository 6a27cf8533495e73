#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "edge/http/access_log.h"
#include "edge/http/server_timing.h"
#include "model/function.h"
#include "net/http.h"

namespace gridiron::edge {

// What is known of one request; what does not apply is empty. The access log's line is made of it.
struct RequestFacts {
  Time at{};
  std::string environment, app, function;  // of the web function
  std::string call, input, container;
  std::string traceparent;
  std::string refused;  // why it did not reach the function: "rate", "client_rate", "queue", "signature", "proxy_token"
  int status = 0;       // 499: the peer left before there was one
  bool complete = false;
  std::uint64_t bytesIn = 0, bytesOut = 0;  // of bodies
  Nanos toHead{}, took{};
  std::vector<TimedPhase> phases;
};

// One line of JSON (docs/formats.md), without its end. What the peer says is cut to a length, and the query left out:
// queries hold tokens.
std::string accessLine(const net::RequestHead& head, const RequestFacts& facts);

// What was counted of a web function since the grid began.
struct RequestCounts {
  // Seconds; the last one of `took` is beyond all of them.
  static constexpr std::array<double, 10> kBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30};
  std::map<int, std::uint64_t> byStatus;
  std::map<std::string, std::uint64_t> refused;  // by RequestFacts::refused
  std::uint64_t bytesIn = 0, bytesOut = 0;
  std::array<std::uint64_t, kBounds.size() + 1> took{};
  double seconds = 0;
};

class Followed;

// Follows requests to their end, counts them, and writes their lines. Loop thread only; must outlive what it follows.
class RequestBook {
 public:
  // `log` may be null: then requests are only counted. `appName` gives what people call an app.
  RequestBook(const Clock& clock, AccessLog* log, std::function<std::string(const AppId&)> appName)
      : clock_(clock), log_(log), appName_(std::move(appName)) {}

  // The exchange to go on with.
  std::shared_ptr<Followed> follow(std::shared_ptr<net::Exchange> exchange);

  bool logs() const { return log_ != nullptr; }
  using Name = std::tuple<std::string, std::string, std::string>;  // environment, app, function
  // By name; with too many names the rest is under ("", "", "").
  const std::map<Name, RequestCounts>& counts() const { return counts_; }

 private:
  friend class Followed;
  void done(const net::RequestHead& head, const RequestFacts& facts);

  const Clock& clock_;
  AccessLog* const log_;
  const std::function<std::string(const AppId&)> appName_;
  std::map<Name, RequestCounts> counts_;
};

// An exchange whose status and bytes are noted as they pass. Its line is written when the answer is complete or the
// exchange is given up.
class Followed final : public net::PassedExchange {
 public:
  Followed(RequestBook& book, std::shared_ptr<net::Exchange> inner);
  ~Followed() override;

  // Which function it is for; `name` as people call it ("Cls.method").
  void isFor(const Function& function, std::string name);
  void refuse(std::string why) { facts_.refused = std::move(why); }
  // What is known only when it ends is asked for then.
  void atTheEnd(std::function<void(RequestFacts&)> fill) { fill_ = std::move(fill); }
  RequestFacts& facts() { return facts_; }
  bool logged() const { return book_.logs(); }
  // There will be no (more) answer.
  void end();

  Task<Result<std::optional<std::string>>> read() override;
  bool readBuffered(std::string& out) override;
  Task<Result<void>> upgrade(net::Headers headers) override;
  Task<Result<void>> respond(int status, net::Headers headers, bool endStream) override;
  Task<Result<void>> write(std::string chunk) override;
  Task<Result<void>> finish(net::Headers trailers) override;
  Task<Result<void>> answer(int status, net::Headers headers, std::string body) override;

 private:
  void headSent(int status);
  void completed();

  RequestBook& book_;
  RequestFacts facts_;
  std::function<void(RequestFacts&)> fill_;
  bool bodiless_ = false;
  bool told_ = false;
};

}  // namespace gridiron::edge
