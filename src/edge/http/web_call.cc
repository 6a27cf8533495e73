#include "edge/http/web_call.h"

#include <fmt/format.h>

#include "edge/http/web_response.h"

namespace gridiron::edge {
namespace {

constexpr Nanos kLookAgain = std::chrono::seconds(30);

// True when the call has it; false when there is no use in sending more.
Task<bool> pushChunk(std::shared_ptr<WebCall> web, std::string chunk) {
  while (!web->ended) {
    DataChunk piece;
    piece.payload = Payload{DataFormat::asgi, chunk, {}};
    std::vector<DataChunk> pieces;
    pieces.push_back(std::move(piece));
    Result<void> pushed = web->parts.calls.push(web->call, Direction::in, std::move(pieces));
    if (pushed.ok()) co_return true;
    if (pushed.error().code != Code::exhausted) co_return false;
    std::vector<Wake> room = {Wake::room(web->call, Direction::in)};
    (void)co_await web->parts.wakes.wait(std::move(room), kLookAgain);
  }
  co_return false;
}

// Whether the call has (or is about to get) its first chunk.
struct Opening {
  explicit Opening(asio::io_context& io) : changed(io) {}
  void done() {
    opened = true;
    changed.notifyAll();
  }
  bool opened = false;
  Notifier changed;
};

// The app must see the beginning of a request within seconds, however slowly its body comes.
Task<void> openInTime(std::shared_ptr<WebCall> web, std::shared_ptr<Opening> opening) {
  (void)co_await opening->changed.wait(web->parts.firstChunkAfter);
  if (opening->opened || web->ended) co_return;
  opening->done();
  (void)co_await pushChunk(web, wire::requestChunk("", true));
}

Time heldUntil(const WebCall& web) { return web.arrivedAt + patienceOf(web); }

void acknowledgeOut(const WebCall& web, std::int64_t upTo) {
  web.parts.calls.acknowledge(web.call, Direction::out, upTo);
  web.parts.wakes.ring(Wake::room(web.call, Direction::out));
}

}  // namespace

Nanos patienceOf(const WebCall& web) {
  const Function& function = *web.target.function;
  return function.timeout + function.startupTimeout + web.parts.extraWait;
}

Task<void> pumpBody(std::shared_ptr<WebCall> web) {
  auto opening = std::make_shared<Opening>(web->parts.io);
  const std::optional<std::uint64_t> declared = contentLength(web->exchange->head().headers);
  std::uint64_t got = 0;
  bool more = true;
  spawn(web->parts.io, openInTime(web, opening));
  while (more && !web->ended) {
    std::string body;
    if (!declared || got < *declared) {
      Result<std::optional<std::string>> piece = co_await web->exchange->read();
      if (!piece.ok() || web->ended) opening->done();
      if (!piece.ok() || web->ended) co_return;  // a peer that is gone is looked after by the response
      more = piece->has_value();
      if (more) body = std::move(**piece);
    }
    got += body.size();
    if (declared && got >= *declared) more = false;
    if (!opening->opened) opening->done();
    const bool pushed = co_await pushChunk(web, wire::requestChunk(std::move(body), more));
    if (!pushed) co_return;
  }
}

namespace {

// The first of an import's parts, which is the dearest, is its note: "numpy 61.2".
void notePart(TimedPhase& import, const StartPhase& part) {
  if (!import.note.empty()) return;
  const std::string name = part.name.substr(part.name.rfind(' ') + 1);
  import.note = fmt::format("{} {:.1f}", name, std::chrono::duration<double, std::milli>(part.took).count());
}

// The phases of a start as callers see them: what the worker did, step by step, is their "sandbox"; how the interpreter
// came about is "fork", "parked" or "restore", or "boot" with why it was none of them.
std::vector<TimedPhase> foldStart(const std::vector<StartPhase>& steps) {
  TimedPhase sandbox{"sandbox", Nanos::zero(), ""};
  std::vector<TimedPhase> before, after;
  for (const StartPhase& step : steps) {
    if (step.name == "queue" || step.name == "place") {
      before.push_back({step.name, step.took});
    } else if (step.name == "fork" || step.name == "parked" || step.name == "restore") {
      after.push_back({step.name, step.took});
    } else if (step.name.starts_with("exec: ")) {
      after.push_back({"boot", step.took, step.name.substr(6)});
    } else if (step.name == "interpreter" || step.name == "import" || step.name == "enter") {
      after.push_back({step.name, step.took});
    } else if (step.name.starts_with("import ") || step.name.starts_with("own import ")) {
      if (!after.empty()) notePart(after.back(), step);
    } else {
      sandbox.took += step.took;
    }
  }
  before.push_back(std::move(sandbox));
  before.insert(before.end(), after.begin(), after.end());
  return before;
}

}  // namespace

std::vector<TimedPhase> phasesOf(const WebCall& web) {
  std::vector<TimedPhase> phases;
  std::optional<Input> input = web.parts.calls.input(web.input);
  if (!input || input->startedAt == Time{}) return phases;
  std::optional<Instance> instance = web.parts.fleet.find(input->instance);
  if (instance && instance->readyAt > web.arrivedAt) {
    phases = foldStart(instance->phases);
  } else {
    phases.push_back({"queue", input->startedAt - web.arrivedAt});
  }
  phases.push_back({"run", web.parts.clock.now() - input->startedAt});
  return phases;
}

Task<std::optional<Answer>> pumpResponse(std::shared_ptr<WebCall> web) {
  const IngressParts& parts = web->parts;
  WebResponse response(web);
  std::int64_t after = 0;
  for (;;) {
    if (web->exchange->gone()) co_return std::nullopt;
    // The outcome first: what the container wrote before it is then among the chunks.
    Result<OutputPage> page = parts.calls.outputs(web->call, OutputQuery{});
    Result<std::vector<DataChunk>> chunks = parts.calls.read(web->call, Direction::out, after);
    if (!page.ok() || !chunks.ok()) {
      if (response.headSent()) web->exchange->abort();
      if (response.headSent()) co_return std::nullopt;
      co_return errorAnswer(page.ok() ? chunks.error() : page.error());
    }
    if (!chunks->empty()) {
      after = chunks->back().index;
      Result<void> sent = co_await response.take(std::move(*chunks));
      acknowledgeOut(*web, after);
      if (response.complete() && sent.ok()) co_return std::nullopt;
      if (!sent.ok() && response.headSent()) web->exchange->abort();
      if (!sent.ok() && response.headSent()) co_return std::nullopt;
      if (!sent.ok()) co_return textAnswer(502, "The function's answer is not HTTP: " + sent.error().message);
      continue;
    }
    if (!page->outputs.empty()) {
      if (!response.headSent()) co_return answerTo(page->outputs.front());
      web->exchange->abort();
      co_return std::nullopt;
    }
    const Time until = heldUntil(*web);
    if (!response.headSent() && parts.clock.now() >= until)
      co_return timeoutAnswer("no container was free to run the request in time");
    std::vector<Wake> wakes = {Wake::data(web->call, Direction::out), Wake::outputs(web->call)};
    (void)co_await parts.wakes.wait(std::move(wakes), kLookAgain);
  }
}

}  // namespace gridiron::edge
