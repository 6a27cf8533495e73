#include "edge/http/port_call.h"

#include "edge/http/function_name.h"
#include "edge/http/ports.h"
#include "edge/http/server_timing.h"
#include "edge/http/web_response.h"
#include "net/proxy.h"

namespace gridiron::edge {
namespace {

// What the door says itself of who asked and how; what others said is left out.
bool isTold(std::string_view name) {
  return name == "x-forwarded-for" || name == "x-forwarded-proto" || name == "x-forwarded-host" || name == "forwarded";
}

net::PassedRequest requestOf(const WebCall& web) {
  const wire::HttpScope& scope = web.scope;
  net::PassedRequest out;
  out.webSocket = scope.webSocket;
  out.method = scope.webSocket ? "GET" : scope.method;  // an extended CONNECT is HTTP/2's way to ask for one
  out.target = scope.rawPath;
  if (!scope.query.empty()) out.target.append("?").append(scope.query);
  std::string_view host;
  for (const auto& [name, value] : scope.headers) {
    if (name == "content-length" || isTold(name)) continue;
    if (name == "host") host = value;
    out.headers.add(name, value);
  }
  out.headers.add("x-forwarded-for", scope.clientHost);
  out.headers.add("x-forwarded-proto", scope.scheme == "wss" ? "https" : scope.scheme == "ws" ? "http" : scope.scheme);
  if (!host.empty()) out.headers.add("x-forwarded-host", std::string(host));
  return out;
}

net::Headers answerHeaders(const WebCall& web, const net::ResponseHead& head) {
  net::Headers out = net::withoutHop(head.headers);
  std::string timing = serverTiming(phasesOf(web));
  if (!timing.empty()) out.add("server-timing", std::move(timing));
  return out;
}

class PortCall final : public net::Upstreams {
 public:
  PortCall(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes)
      : web_(std::move(web)), place_(std::move(place)), lanes_(lanes), port_(portOf(web_->target)) {}

  Task<bool> run() {
    const auto passing =
        std::make_shared<net::PassingOn>(web_->parts.io, web_->exchange, *this, requestOf(*web_),
                                         [this](const net::ResponseHead& head) { return answerHeaders(*web_, head); });
    place_->interrupted = [&passing] { passing->stop(); };
    if (place_->verdict) passing->stop();
    const net::PassedOn passed = co_await passing->run();
    place_->interrupted = {};
    const Outcome outcome = outcomeOf(passed);
    if (passed.end == net::PassedOn::End::noAnswer) co_await reply(passed.why);
    web_->ended = true;
    lanes_.leave(place_, outcome, true);
    web_->parts.calls.close(web_->call);
    co_return passed.end == net::PassedOn::End::answered;
  }

  // --- its connections ---
  std::shared_ptr<net::Upstream> spare() override { return lanes_.spare(place_->instance, port_); }
  void keep(std::shared_ptr<net::Upstream> upstream) override {
    lanes_.keep(place_->instance, port_, std::move(upstream));
  }
  Task<Result<std::shared_ptr<net::Upstream>>> dial() override {
    Result<Fd> socket = co_await dialInside(web_->parts.io, place_->ports, port_);
    deserted_ = !socket.ok() && socket.error().code == Code::notFound;
    if (!socket.ok()) co_return socket.error();
    co_return net::Upstream::open(web_->parts.io, std::move(*socket));
  }

 private:
  // Nobody will answer there any more: the container goes, as the client would have it.
  void nobodyListens(const std::string& why) {
    lanes_.refuse(place_->instance);
    (void)web_->parts.fleet.stop(place_->instance, true, "its server takes no connections: " + why);
  }

  Outcome outcomeOf(const net::PassedOn& passed) {
    using End = net::PassedOn::End;
    Outcome out;
    out.status = OutcomeStatus::success;
    if (passed.end == End::peerGone) {
      out.status = OutcomeStatus::terminated;
      out.exception = "the caller hung up";
    } else if (passed.end != End::answered) {
      out.status = OutcomeStatus::failure;
      out.exception = passed.why.message;
      if (deserted_ && !place_->verdict) nobodyListens(passed.why.message);
      if (!place_->verdict) tell(passed.why);
    }
    return out;
  }

  // Its owner reads of it in the app's log.
  void tell(const Error& why) {
    if (!web_->parts.tell || why.code == Code::invalidArgument) return;
    if (!lanes_.mayTell(place_->instance, web_->parts.clock.now())) return;
    const Function& function = *web_->target.function;
    web_->parts.tell(function, fmt::format("{} was asked for {} {}: {}", functionName(function, web_->target.method),
                                           web_->scope.method, web_->scope.rawPath, why.message));
  }

  Task<void> reply(Error why) {
    Answer answer;
    if (place_->verdict) {
      Output output;
      output.outcome = *place_->verdict;
      output.startedAt = web_->arrivedAt;  // it ran
      answer = answerTo(output);
    } else if (why.code == Code::invalidArgument) {
      answer = textAnswer(400, why.message);
    } else {
      answer = textAnswer(502, fmt::format("The function's server at port {} did not answer: {}.", port_, why.message));
    }
    (void)co_await web_->exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
  }

  const std::shared_ptr<WebCall> web_;
  const std::shared_ptr<LanePlace> place_;
  Lanes& lanes_;
  const int port_;
  bool deserted_ = false;  // nobody listens
};

}  // namespace

int portOf(const WebTarget& target) { return target.web.kind == WebKind::webServer ? target.web.port : 0; }

Task<bool> serveByPort(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes) {
  PortCall call(std::move(web), std::move(place), lanes);
  const bool answered = co_await call.run();
  co_return answered;
}

}  // namespace gridiron::edge
