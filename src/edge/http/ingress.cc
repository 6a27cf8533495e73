#include "edge/http/ingress.h"

#include "edge/http/answers.h"
#include "edge/http/lane_call.h"
#include "edge/http/lane_websocket.h"
#include "edge/http/port_call.h"
#include "edge/http/scope.h"
#include "edge/http/trace_context.h"
#include "edge/http/web_call.h"

namespace gridiron::edge {
namespace {

constexpr Nanos kLookAgain = std::chrono::seconds(30);

Task<void> reply(std::shared_ptr<net::Exchange> exchange, Answer answer) {
  (void)co_await exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
}

// The proxy token of a request: Modal-Key and Modal-Secret, or both in one bearer ("wk-….ws-…").
std::pair<std::string, std::string> proxyTokenOf(const net::RequestHead& head) {
  auto key = head.headers.find("modal-key"), secret = head.headers.find("modal-secret");
  if (key && secret) return {std::string(*key), std::string(*secret)};
  auto authorization = head.headers.find("authorization");
  constexpr std::string_view kBearer = "Bearer ";
  if (!authorization || !authorization->starts_with(kBearer)) return {};
  std::string_view token = authorization->substr(kBearer.size());
  std::size_t dot = token.find('.');
  if (dot == std::string_view::npos) return {};
  return {std::string(token.substr(0, dot)), std::string(token.substr(dot + 1))};
}

bool mayCall(const IngressParts& parts, const WebTarget& target, const net::RequestHead& head) {
  if (!target.web.requiresProxyAuth) return true;
  auto [id, secret] = proxyTokenOf(head);
  return !id.empty() && parts.proxyToken && parts.proxyToken(*target.function, id, secret);
}

std::string askedFor(const net::RequestHead& head, const FunctionAddress& address) {
  return address.rootPath.empty() ? hostOf(head.authority) : address.rootPath;
}

// What the access log tells of a call beside its request.
void noteCall(Followed& followed, const std::shared_ptr<WebCall>& web) {
  followed.facts().call = web->call.str();
  followed.facts().input = web->input.str();
  followed.atTheEnd([weak = std::weak_ptr<WebCall>(web)](RequestFacts& facts) {
    const auto here = weak.lock();
    if (!here) return;
    facts.phases = phasesOf(*here);
    const std::optional<Input> input = here->parts.calls.input(here->input);
    if (input) facts.container = input->instance.str();
  });
}

// A web method's target, for the class instance that the address names.
Result<WebTarget> withParameters(const IngressParts& parts, WebTarget target, const net::RequestHead& head) {
  if (target.method.empty() || !parts.instance) return target;
  const std::size_t question = head.target.find('?');
  const std::string_view query =
      question == std::string::npos ? std::string_view() : std::string_view(head.target).substr(question + 1);
  ASSIGN_OR_RETURN(target.function, parts.instance(*target.function, queryFields(query)));
  return target;
}

// Opens the call and gives it its one input; nothing is left behind on failure.
Result<std::shared_ptr<WebCall>> openCall(const IngressParts& parts, std::shared_ptr<net::Exchange> exchange,
                                          WebTarget target, const FunctionAddress& address, Followed* followed) {
  const Time now = parts.clock.now();
  CallOptions options;
  options.function = target.function->id;
  options.kind = CallKind::web;
  ASSIGN_OR_RETURN(CallId call, parts.calls.open(options));
  wire::HttpScope scope = scopeOf(exchange->head(), address, target.web.kind);
  scope.webSocket = wantsWebSocket(exchange->head());
  if (scope.webSocket) scope.scheme = scope.scheme == "https" ? "wss" : "ws";
  if (followed != nullptr && followed->logged()) followed->facts().traceparent = traceInto(scope.headers);
  NewInput input;
  input.args = Payload{DataFormat::pickle, wire::pickleScope(scope), {}};
  input.method = target.method;
  std::vector<NewInput> inputs;
  inputs.push_back(std::move(input));
  Result<std::vector<AcceptedInput>> accepted = parts.calls.put(call, std::move(inputs));
  if (!accepted.ok()) {
    parts.calls.close(call);
    return accepted.error();
  }
  auto web = std::make_shared<WebCall>(
      WebCall{parts, std::move(exchange), std::move(target), call, accepted->front().id, now, std::move(scope), false});
  if (followed != nullptr && followed->logged()) noteCall(*followed, web);
  return web;
}

// The app is told and its input cancelled; the container gets a moment to read the news from the call's stream.
Task<void> cancelCall(std::shared_ptr<WebCall> web) {
  DataChunk chunk;
  chunk.payload = Payload{DataFormat::asgi, wire::disconnectChunk(), {}};
  std::vector<DataChunk> chunks;
  chunks.push_back(std::move(chunk));
  (void)web->parts.calls.push(web->call, Direction::in, std::move(chunks));
  (void)web->parts.calls.cancel(web->call);
  co_await sleepFor(web->parts.io, std::chrono::seconds(2));
  web->parts.calls.close(web->call);
}

// The answer is out; what the app still does (background tasks) ends with its input.
Task<void> closeCall(std::shared_ptr<WebCall> web) {
  for (;;) {
    Result<OutputPage> page = web->parts.calls.outputs(web->call, OutputQuery{});
    if (!page.ok() || page->unfinishedInputs == 0) break;
    std::vector<Wake> wakes = {Wake::outputs(web->call)};
    (void)co_await web->parts.wakes.wait(std::move(wakes), kLookAgain);
  }
  web->parts.calls.close(web->call);
}

// By what the container asks for and tells of: RPCs.
Task<bool> serveByAsking(std::shared_ptr<WebCall> web) {
  const std::shared_ptr<net::Exchange> exchange = web->exchange;
  exchange->onGone([web] { web->parts.wakes.ring(Wake::outputs(web->call)); });
  spawn(web->parts.io, pumpBody(web));
  std::optional<Answer> failed = co_await pumpResponse(web);
  web->ended = true;
  web->parts.wakes.ring(Wake::room(web->call, Direction::in));
  const bool gone = exchange->gone();
  const bool answered = !failed && !gone;
  if (failed && !gone) co_await reply(exchange, std::move(*failed));
  exchange->onGone({});
  spawn(web->parts.io, answered ? closeCall(web) : cancelCall(web));
  co_return answered;
}

// True when the peer got the app's answer.
Task<bool> serveCall(std::shared_ptr<WebCall> web) {
  Lanes* lanes = web->parts.lanes;
  std::shared_ptr<LanePlace> place;
  if (lanes != nullptr) {
    web->exchange->onGone([web, lanes] { lanes->forget(web->input); });
    place = co_await lanes->enter(web->target.function->id, web->input, patienceOf(*web), portOf(web->target));
  }
  bool answered = false;
  if (place && !place->ports.empty()) {
    answered = co_await serveByPort(web, std::move(place), *lanes);
  } else if (place && web->scope.webSocket) {
    answered = co_await serveWebSocket(web, std::move(place), *lanes);
  } else if (place) {
    answered = co_await serveByLane(web, std::move(place), *lanes);
  } else if (web->scope.webSocket) {
    co_await reply(web->exchange, webSocketAnswer());
    spawn(web->parts.io, cancelCall(web));
  } else {
    answered = co_await serveByAsking(web);
  }
  co_return answered;
}

// What its sender had to sign, if anything, is good; else it got its answer.
Task<std::optional<WebhookGuard::Admitted>> admit(const IngressParts& parts, std::shared_ptr<net::Exchange> exchange,
                                                  const WebTarget& target, Followed* followed) {
  if (parts.webhooks == nullptr) co_return WebhookGuard::Admitted{std::move(exchange), {}};
  Result<WebhookGuard::Admitted> verdict = co_await parts.webhooks->admit(exchange, target.function, target.method);
  if (verdict.ok()) co_return std::move(*verdict);
  if (followed != nullptr) followed->refuse("signature");
  co_await reply(exchange, unverifiedAnswer(verdict.error()));
  co_return std::nullopt;
}

std::optional<Answer> answerTo(const Result<std::optional<RequestLimiter::Refusal>>& verdict, Followed* followed) {
  if (!verdict.ok()) return limitProblemAnswer();
  if (!*verdict) return std::nullopt;
  if (followed != nullptr) followed->refuse((*verdict)->why);
  return tooManyAnswer((*verdict)->text, (*verdict)->retryAfterSeconds);
}

// Why a request does not even get so far that its body is read.
std::optional<Answer> refusalOf(const IngressParts& parts, const std::optional<WebTarget>& target,
                                const net::RequestHead& head, const FunctionAddress& address, Followed* followed) {
  if (!target) return unknownFunctionAnswer(askedFor(head, address), parts.domain);
  if (followed != nullptr) followed->isFor(*target->function, functionName(*target->function, target->method));
  if (parts.limits != nullptr) {
    auto no = answerTo(parts.limits->askForAddress(*target->function, target->method, head.peerHost), followed);
    if (no) return no;
  }
  if (wantsWebSocket(head) && parts.lanes == nullptr) return webSocketAnswer();
  if (wantsWebSocket(head) && webSocketProblem(head)) return webSocketProblem(head);
  if (mayCall(parts, *target, head)) return std::nullopt;
  if (followed != nullptr) followed->refuse("proxy_token");
  return proxyAuthAnswer();
}

// A server takes so many requests at once in each container, and more are not queued while one is there.
std::optional<Answer> fullServer(const IngressParts& parts, const Function& service) {
  if (!service.isServer) return std::nullopt;
  const int containers = parts.fleet.stats(service.id).containers;
  const Demand demand = parts.calls.demandOf(service.id);
  if (containers == 0 || demand.running + demand.queued < containers * slotsOf(service)) return std::nullopt;
  return tooManyAnswer(fmt::format("The server takes {} requests at a time.", containers * slotsOf(service)), 1);
}

// `instance`: what it is for, of `service`, whose limits count: a queue is an instance's, a rate all of them
// together's.
std::optional<Answer> overLimit(const IngressParts& parts, const Function& service, const WebTarget& instance,
                                Followed* followed) {
  if (auto full = fullServer(parts, service)) return full;
  if (parts.limits == nullptr) return std::nullopt;
  const int queued = parts.calls.demandOf(instance.function->id).queued;
  return answerTo(parts.limits->askForFunction(service, instance.method, queued), followed);
}

}  // namespace

Task<void> Ingress::serve(std::shared_ptr<net::Exchange> exchange, FunctionAddress address) {
  const std::shared_ptr<Followed> followed = parts_.book != nullptr ? parts_.book->follow(exchange) : nullptr;
  if (followed) exchange = followed;
  const net::RequestHead& head = exchange->head();
  std::optional<WebTarget> target = parts_.find ? parts_.find(address) : std::nullopt;
  std::optional<Answer> no = refusalOf(parts_, target, head, address, followed.get());
  if (no) {
    co_await reply(exchange, std::move(*no));
    co_return;
  }
  std::optional<WebhookGuard::Admitted> admitted = co_await admit(parts_, exchange, *target, followed.get());
  if (!admitted) co_return;
  exchange = admitted->exchange;
  const std::shared_ptr<const Function> service = target->function;
  Result<WebTarget> instance = withParameters(parts_, std::move(*target), head);
  no = instance.ok() ? overLimit(parts_, *service, *instance, followed.get()) : errorAnswer(instance.error());
  Result<std::shared_ptr<WebCall>> opened = Error{Code::exhausted, ""};
  if (!no) {
    opened = openCall(parts_, exchange, std::move(*instance), address, followed.get());
    if (!opened.ok()) no = errorAnswer(opened.error());
    if (!opened.ok() && followed && opened.error().code == Code::exhausted) followed->refuse("queue");
  }
  if (no) {
    if (!admitted->seen.empty()) parts_.webhooks->forget(admitted->seen);
    co_await reply(exchange, std::move(*no));
    co_return;
  }
  const bool answered = co_await serveCall(*opened);
  if (!answered && !admitted->seen.empty()) parts_.webhooks->forget(admitted->seen);
  if (followed) followed->end();
}

}  // namespace gridiron::edge
