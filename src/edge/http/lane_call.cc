#include "edge/http/lane_call.h"

#include <vector>

#include "edge/http/web_response.h"

namespace gridiron::edge {
namespace {

constexpr Nanos kDisconnectFirst = std::chrono::seconds(2);  // the app is told; then its input is cancelled
constexpr Nanos kToStop = std::chrono::seconds(5);           // for an input that was cancelled, alone in its container
constexpr Nanos kOfTheEnd = std::chrono::seconds(3);         // of a container whose connection is lost

// One request in a lane.
class LaneCall : public std::enable_shared_from_this<LaneCall> {
 public:
  LaneCall(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes)
      : web_(std::move(web)), place_(std::move(place)), lanes_(lanes), response_(web_) {}

  Task<bool> run() {
    const auto self = shared_from_this();
    std::string body;
    const bool whole = web_->exchange->readBuffered(body);
    web_->exchange->onGone([weak = weak_from_this()] {
      if (const auto here = weak.lock()) here->peerGone();
    });
    if (whole || !body.empty()) {
      begin(body, !whole);
    } else {
      spawn(web_->parts.io, beginInTime(self));
    }
    if (!whole) spawn(web_->parts.io, sendBody(self, body.size()));
    co_await listen();
    if (!ended_) co_await awaitVerdict();
    const bool answered = response_.complete();
    co_await sayWhy();
    web_->ended = true;
    web_->exchange->onGone({});
    lanes_.leave(place_, std::move(outcome_), ended_);
    web_->parts.calls.close(web_->call);
    co_return answered;
  }

 private:
  // The request goes to the app, once.
  void begin(std::string_view body, bool more) {
    if (std::exchange(begun_, true)) return;
    const LaneRequest request{web_->scope, place_->input.value, web_->call.value, web_->target.method, false, more};
    place_->socket->write(laneRequest(request, body));
  }

  // Without a body, when the first piece of it is late.
  static Task<void> beginInTime(std::shared_ptr<LaneCall> self) {
    co_await sleepFor(self->web_->parts.io, self->web_->parts.firstChunkAfter);
    self->begin({}, true);
  }

  // The (rest of the) request's body, as fast as the app takes it.
  static Task<void> sendBody(std::shared_ptr<LaneCall> self, std::size_t got) {
    const std::optional<std::uint64_t> declared = contentLength(self->web_->exchange->head().headers);
    for (bool more = true; more;) {
      Result<std::optional<std::string>> piece = co_await self->web_->exchange->read();
      if (!piece.ok() || self->web_->ended) co_return;  // a peer that is gone is seen by onGone
      std::string bytes;
      if (piece->has_value()) bytes = std::move(**piece);
      got += bytes.size();
      more = piece->has_value() && !(declared && got >= *declared);
      if (self->begun_) {
        self->place_->socket->write(laneFrame(more ? 'B' : 'F', bytes));
      } else {
        self->begin(bytes, more);
      }
      const bool alive = co_await self->place_->socket->drain();
      if (!alive || self->web_->ended) co_return;
    }
  }

  // The app has not heard of the request, and will not.
  bool withhold() {
    if (begun_) return false;
    begun_ = ended_ = true;
    outcome_.status = OutcomeStatus::terminated;
    return true;
  }

  void peerGone() {
    gone_ = true;
    if (withhold()) {
      place_->socket->interrupt();
      return;
    }
    place_->socket->write(laneFrame('D'));
    spawn(web_->parts.io, cancelLater(shared_from_this()));
  }

  static Task<void> cancelLater(std::shared_ptr<LaneCall> self) {
    co_await sleepFor(self->web_->parts.io, kDisconnectFirst);
    if (!self->web_->ended) (void)self->web_->parts.calls.cancel(self->web_->call);
  }

  // Until the app has returned, or its connection is lost.
  Task<void> listen() {
    while (!ended_) {
      Result<LaneFrame> frame = co_await place_->socket->read();
      if (!frame.ok() && frame.error().code == Code::aborted) {
        if (!ended_) co_await stop();
      } else if (!frame.ok()) {
        co_return;
      } else if (frame->kind == 'Z') {
        ended_ = true;
        outcome_ = outcomeOf(frame->payload);
      } else if (frame->kind == 'G') {
        lanes_.refuse(place_->instance);
      } else {
        LaneFrame here = std::move(*frame);
        co_await take(std::move(here));
      }
    }
  }

  // What the app answers, to the peer. After the peer's end nobody listens.
  Task<void> take(LaneFrame frame) {
    if (gone_ || broken_ || response_.complete() || place_->verdict) co_return;
    std::vector<wire::ResponseEvent> events;
    if (frame.kind == 'A' || frame.kind == 'S') {
      const bool more = frame.kind == 'S';
      Result<LaneHead> head = readLaneHead(std::move(frame));
      if (!head.ok()) {
        co_await breakOff("The function's answer is not HTTP: " + head.error().message);
        co_return;
      }
      events.emplace_back(std::move(head->start));
      events.emplace_back(wire::ResponseBody{std::move(head->body), more});
    } else if (frame.kind == 'P' || frame.kind == 'E') {
      events.emplace_back(wire::ResponseBody{std::move(frame.payload), frame.kind == 'P'});
    } else {
      co_return;
    }
    Result<void> sent = co_await response_.send(std::move(events));
    if (sent.ok() || web_->exchange->gone()) co_return;
    co_await breakOff("The function's answer is not HTTP: " + sent.error().message);
  }

  // The answer cannot go on.
  Task<void> breakOff(std::string why) {
    broken_ = true;
    if (response_.headSent()) {
      web_->exchange->abort();
      co_return;
    }
    Answer answer = textAnswer(502, std::move(why));
    (void)co_await web_->exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
  }

  // The input was ended without the app, which is told to stop.
  Task<void> stop() {
    if (withhold()) co_return;
    const auto status = place_->verdict ? place_->verdict->status : OutcomeStatus::terminated;
    place_->socket->write(laneFrame('C', status == OutcomeStatus::timeout ? "timeout" : "cancelled"));
    if (slotsOf(*web_->target.function) == 1) spawn(web_->parts.io, insist(shared_from_this()));
    co_await sayWhy();
  }

  // Code that hears no cancellation would hold the only place of the container for good.
  static Task<void> insist(std::shared_ptr<LaneCall> self) {
    co_await sleepFor(self->web_->parts.io, kToStop);
    if (self->web_->ended) co_return;
    self->web_->parts.fleet.interruptWanted(self->place_->instance, "it did not end an input that was cancelled");
  }

  // The connection is lost: how the container ended is about to be known.
  Task<void> awaitVerdict() {
    if (response_.headSent() && !response_.complete()) web_->exchange->abort();
    const Time until = web_->parts.clock.now() + kOfTheEnd;
    while (!place_->verdict && web_->parts.clock.now() < until) {
      std::vector<Wake> wakes = {Wake::outputs(web_->call)};
      (void)co_await web_->parts.wakes.wait(std::move(wakes), until - web_->parts.clock.now());
    }
    outcome_.status = OutcomeStatus::internalFailure;
    outcome_.exception = "the container closed the connection of the request";
  }

  // A peer that has no answer gets one now; one that has half of it sees its connection cut.
  Task<void> sayWhy() {
    if (gone_ || broken_ || response_.complete()) co_return;
    broken_ = true;
    if (response_.headSent()) {
      web_->exchange->abort();
      co_return;
    }
    Output output;
    output.outcome = place_->verdict.value_or(outcome_);
    output.startedAt = web_->arrivedAt;  // it ran
    Answer answer = answerTo(output);
    (void)co_await web_->exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
  }

  static Outcome outcomeOf(std::string failure) {
    Outcome outcome;
    outcome.status = failure.empty() ? OutcomeStatus::success : OutcomeStatus::failure;
    outcome.exception = std::move(failure);
    return outcome;
  }

  const std::shared_ptr<WebCall> web_;
  const std::shared_ptr<LanePlace> place_;
  Lanes& lanes_;
  WebResponse response_;
  Outcome outcome_;
  bool begun_ = false;   // the app has the request, or is not to have it
  bool ended_ = false;   // the app has returned
  bool gone_ = false;    // the peer is
  bool broken_ = false;  // the peer gets nothing (more) of the app's
};

}  // namespace

Task<bool> serveByLane(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes) {
  const auto call = std::make_shared<LaneCall>(std::move(web), std::move(place), lanes);
  const bool answered = co_await call->run();
  co_return answered;
}

}  // namespace gridiron::edge
