#include "edge/http/web_call.h"

#include <algorithm>
#include <charconv>

#include "edge/http/scope.h"
#include "edge/http/server_timing.h"

namespace gridiron::edge {
namespace {

constexpr Nanos kLookAgain = std::chrono::seconds(30);

std::optional<std::uint64_t> contentLength(const net::Headers& headers) {
  auto text = headers.find("content-length");
  std::uint64_t n = 0;
  if (!text) return std::nullopt;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), n);
  if (error != std::errc{} || end != text->data() + text->size()) return std::nullopt;
  return n;
}

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

// One response on its way out.
class Response {
 public:
  explicit Response(std::shared_ptr<WebCall> web) : web_(std::move(web)) {}

  bool headSent() const { return sent_; }
  bool complete() const { return complete_; }

  // Sends what `chunks` hold. An error: the response cannot go on.
  Task<Result<void>> take(std::vector<DataChunk> chunks) {
    std::vector<wire::ResponseEvent> events;
    for (DataChunk& chunk : chunks) {
      if (!chunk.payload.blob.empty()) {
        Result<std::string> bytes = co_await fetch(chunk.payload.blob);
        if (!bytes.ok()) co_return bytes.error();
        chunk.payload.data = std::move(*bytes);
      }
      Result<wire::ResponseEvent> event = wire::readResponseEvent(chunk.payload.data);
      if (!event.ok()) co_return event.error();
      events.push_back(std::move(*event));
    }
    Result<void> done = co_await send(std::move(events));
    co_return done;
  }

 private:
  Task<Result<std::string>> fetch(const BlobId& blob) {
    if (!web_->parts.blob) co_return makeError(Code::unimplemented, "the answer is in blob {}", blob.str());
    Result<std::string> bytes = co_await web_->parts.blob(blob);
    co_return bytes;
  }

  // Only the first start counts: an app whose request came late is started twice by its client.
  Task<Result<void>> send(std::vector<wire::ResponseEvent> events) {
    std::string body;
    bool more = true, hasBody = false;
    for (wire::ResponseEvent& event : events) {
      auto* start = std::get_if<wire::ResponseStart>(&event);
      if (start != nullptr && !start_ && start->status >= 200) start_ = std::move(*start);
      auto* piece = std::get_if<wire::ResponseBody>(&event);
      if (piece == nullptr || !start_ || !more) continue;
      hasBody = true;
      body += piece->body;
      more = piece->more;
    }
    if (!start_) co_return Result<void>{};
    Result<void> out;
    if (!sent_ && hasBody && !more) {
      out = co_await sendWhole(std::move(body));
      co_return out;
    }
    if (!sent_) out = co_await sendHead();
    if (out.ok() && hasBody) out = co_await sendBody(std::move(body), more);
    co_return out;
  }

  net::Headers head() {
    net::Headers headers = responseHeaders(start_->headers);
    std::string timing = serverTiming(phasesOf(*web_));
    if (!timing.empty()) headers.add("server-timing", std::move(timing));
    declared_ = contentLength(headers);
    const std::string& method = web_->exchange->head().method;
    bodyless_ = method == "HEAD" || start_->status == 204 || start_->status == 304;
    sent_ = true;
    return headers;
  }

  Task<Result<void>> sendWhole(std::string body) {
    net::Headers headers = head();
    complete_ = true;
    Result<void> out;
    if (bodyless_) {
      out = co_await web_->exchange->respond(start_->status, std::move(headers), true);
    } else if (declared_ && *declared_ != body.size()) {
      out = wrongLength(body.size());
    } else {
      out = co_await web_->exchange->answer(start_->status, std::move(headers), std::move(body));
    }
    co_return out;
  }

  Task<Result<void>> sendHead() {
    net::Headers headers = head();
    Result<void> out = co_await web_->exchange->respond(start_->status, std::move(headers), bodyless_);
    co_return out;
  }

  Task<Result<void>> sendBody(std::string body, bool more) {
    written_ += body.size();
    if (declared_ && !bodyless_ && (written_ > *declared_ || (!more && written_ < *declared_)))
      co_return wrongLength(written_);
    Result<void> out;
    if (!body.empty() && !bodyless_) out = co_await web_->exchange->write(std::move(body));
    if (out.ok() && !more) {
      complete_ = true;
      if (!bodyless_) out = co_await web_->exchange->finish();
    }
    co_return out;
  }

  Error wrongLength(std::uint64_t written) const {
    return makeError(Code::internal, "the function declared {} bytes and sent {}", *declared_, written);
  }

  std::shared_ptr<WebCall> web_;
  std::optional<wire::ResponseStart> start_;
  std::optional<std::uint64_t> declared_;
  std::uint64_t written_ = 0;
  bool sent_ = false, complete_ = false, bodyless_ = false;
};

Answer answerTo(const Output& output) {
  const Outcome& outcome = output.outcome;
  const bool neverRan = output.startedAt == Time{};
  switch (outcome.status) {
    case OutcomeStatus::timeout:
      return timeoutAnswer(outcome.exception);
    case OutcomeStatus::initFailure:
      return startFailedAnswer(outcome.exception);
    case OutcomeStatus::failure:
      return neverRan ? startFailedAnswer(outcome.exception) : inputFailedAnswer(outcome.exception);
    case OutcomeStatus::terminated:
      return textAnswer(503, "The request was cancelled: " + outcome.exception);
    case OutcomeStatus::success:
      return textAnswer(502, "The function ended without an answer.");
    default:
      return lostContainerAnswer(outcome.exception);
  }
}

Time heldUntil(const WebCall& web) {
  const Function& function = *web.target.function;
  return web.arrivedAt + function.timeout + function.startupTimeout + web.parts.extraWait;
}

void acknowledgeOut(const WebCall& web, std::int64_t upTo) {
  web.parts.calls.acknowledge(web.call, Direction::out, upTo);
  web.parts.wakes.ring(Wake::room(web.call, Direction::out));
}

}  // namespace

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

// The phases of a start as callers see them: what the worker did, step by step, is their "sandbox"; how the interpreter
// came about is "fork", or "boot" with why it was none.
std::vector<TimedPhase> foldStart(const std::vector<StartPhase>& steps) {
  TimedPhase sandbox{"sandbox", Nanos::zero(), ""};
  std::vector<TimedPhase> before, after;
  for (const StartPhase& step : steps) {
    if (step.name == "queue") {
      before.push_back({step.name, step.took});
    } else if (step.name == "fork" || step.name == "parked") {
      after.push_back({step.name, step.took});
    } else if (step.name.starts_with("exec: ")) {
      after.push_back({"boot", step.took, step.name.substr(6)});
    } else if (step.name == "interpreter" || step.name == "import") {
      after.push_back({step.name, step.took});
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
  Response response(web);
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
