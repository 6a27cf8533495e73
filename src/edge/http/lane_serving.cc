#include "edge/http/lane_serving.h"

#include <vector>

namespace gridiron::edge {
namespace {

constexpr Nanos kToStop = std::chrono::seconds(5);    // for an input that was cancelled, alone in its container
constexpr Nanos kOfTheEnd = std::chrono::seconds(3);  // of a container whose connection is lost

Outcome readOutcome(std::string failure) {
  Outcome outcome;
  outcome.status = failure.empty() ? OutcomeStatus::success : OutcomeStatus::failure;
  outcome.exception = std::move(failure);
  return outcome;
}

}  // namespace

void LaneServing::begin(std::string_view body, bool more) {
  if (std::exchange(begun_, true)) return;
  const LaneRequest request{web_->scope, place_->input.value, web_->call.value, web_->target.method, more};
  place_->socket->write(laneRequest(request, body));
}

bool LaneServing::withhold() {
  if (begun_) return false;
  begun_ = ended_ = true;
  outcome_.status = OutcomeStatus::terminated;
  return true;
}

void LaneServing::disconnect(std::string frame, Nanos patience) {
  if (withhold()) {
    place_->socket->interrupt();
    return;
  }
  place_->socket->write(std::move(frame));
  spawn(web_->parts.io, cancelLater(shared_from_this(), patience));
}

Task<void> LaneServing::cancelLater(std::shared_ptr<LaneServing> self, Nanos patience) {
  co_await sleepFor(self->web_->parts.io, patience);
  if (!self->web_->ended) (void)self->web_->parts.calls.cancel(self->web_->call);
}

Task<void> LaneServing::listen() {
  while (!ended_) {
    Result<LaneFrame> frame = co_await place_->socket->read();
    if (!frame.ok() && frame.error().code == Code::aborted) {
      if (!ended_) co_await stop();
    } else if (!frame.ok()) {
      co_await awaitVerdict();
      co_return;
    } else if (frame->kind == 'Z') {
      ended_ = true;
      outcome_ = readOutcome(std::move(frame->payload));
    } else if (frame->kind == 'G') {
      lanes_.refuse(place_->instance);
    } else {
      LaneFrame here = std::move(*frame);
      co_await take(std::move(here));
    }
  }
}

// The input was ended without the app, which is told to stop.
Task<void> LaneServing::stop() {
  if (withhold()) co_return;
  const auto status = place_->verdict ? place_->verdict->status : OutcomeStatus::terminated;
  place_->socket->write(laneFrame('C', status == OutcomeStatus::timeout ? "timeout" : "cancelled"));
  if (slotsOf(*web_->target.function) == 1) spawn(web_->parts.io, insist(shared_from_this()));
  co_await sayWhy();
}

// Code that hears no cancellation would hold the only place of the container for good.
Task<void> LaneServing::insist(std::shared_ptr<LaneServing> self) {
  co_await sleepFor(self->web_->parts.io, kToStop);
  if (self->web_->ended) co_return;
  self->web_->parts.fleet.interruptWanted(self->place_->instance, "it did not end an input that was cancelled");
}

// The connection is lost: how the container ended is about to be known.
Task<void> LaneServing::awaitVerdict() {
  const Time until = web_->parts.clock.now() + kOfTheEnd;
  while (!place_->verdict && web_->parts.clock.now() < until) {
    std::vector<Wake> wakes = {Wake::outputs(web_->call)};
    (void)co_await web_->parts.wakes.wait(std::move(wakes), until - web_->parts.clock.now());
  }
  outcome_.status = OutcomeStatus::internalFailure;
  outcome_.exception = "the container closed the connection of the request";
}

void LaneServing::leave() {
  web_->ended = true;
  lanes_.leave(place_, outcome_, ended_);
  web_->parts.calls.close(web_->call);
}

Answer LaneServing::reason() const {
  Output output;
  output.outcome = place_->verdict.value_or(outcome_);
  output.startedAt = web_->arrivedAt;  // it ran
  return answerTo(output);
}

}  // namespace gridiron::edge
