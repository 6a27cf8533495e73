#include "edge/http/lane_call.h"

#include <vector>

#include "edge/http/lane_serving.h"

namespace gridiron::edge {
namespace {

constexpr Nanos kDisconnectFirst = std::chrono::seconds(2);  // the app is told; then its input is cancelled

// One HTTP request.
class LaneCall final : public LaneServing {
 public:
  LaneCall(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes)
      : LaneServing(std::move(web), std::move(place), lanes), response_(web_) {}

  Task<bool> run() {
    const auto self = std::static_pointer_cast<LaneCall>(shared_from_this());
    std::string body;
    const bool whole = web_->exchange->readBuffered(body);
    web_->exchange->onGone([weak = std::weak_ptr<LaneCall>(self)] {
      if (const auto here = weak.lock()) here->peerGone();
    });
    if (whole || !body.empty()) {
      begin(body, !whole);
    } else {
      spawn(web_->parts.io, beginInTime(self));
    }
    if (!whole) spawn(web_->parts.io, sendBody(self, body.size()));
    co_await listen();
    const bool answered = response_.complete();
    co_await sayWhy();
    web_->exchange->onGone({});
    leave();
    co_return answered;
  }

 private:
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

  void peerGone() {
    gone_ = true;
    disconnect(laneFrame('D'), kDisconnectFirst);
  }

  // After the peer's end, and the input's, nobody listens.
  Task<void> take(LaneFrame frame) override {
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

  // A peer that has no answer gets one now; one that has half of it sees its connection cut.
  Task<void> sayWhy() override {
    if (gone_ || broken_ || response_.complete()) co_return;
    broken_ = true;
    if (response_.headSent()) {
      web_->exchange->abort();
      co_return;
    }
    Answer answer = reason();
    (void)co_await web_->exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
  }

  WebResponse response_;
};

}  // namespace

Task<bool> serveByLane(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes) {
  const auto call = std::make_shared<LaneCall>(std::move(web), std::move(place), lanes);
  const bool answered = co_await call->run();
  co_return answered;
}

}  // namespace gridiron::edge
