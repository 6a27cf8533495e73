#pragma once

#include <memory>
#include <string>

#include "edge/http/lanes.h"
#include "edge/http/web_call.h"
#include "edge/http/web_response.h"

namespace gridiron::edge {

// One request or WebSocket in a lane: what both have in common. Held by its coroutines.
class LaneServing : public std::enable_shared_from_this<LaneServing> {
 public:
  LaneServing(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes)
      : web_(std::move(web)), place_(std::move(place)), lanes_(lanes) {}
  virtual ~LaneServing() = default;

 protected:
  // What the app sends to the peer.
  virtual Task<void> take(LaneFrame frame) = 0;
  // The app ends, or has ended, without (all of) an answer: the peer is told, once.
  virtual Task<void> sayWhy() = 0;

  // The request goes to the app, once.
  void begin(std::string_view body, bool more);
  // True: the app has not heard of the request, and now will not.
  bool withhold();
  // The app is told by `frame` that nobody listens any more, and cancelled some time after.
  void disconnect(std::string frame, Nanos patience);
  // Until the app has returned or its connection is lost; then the outcome is known.
  Task<void> listen();
  // The input is settled and the place left.
  void leave();
  // Why there is no answer.
  Answer reason() const;

  const std::shared_ptr<WebCall> web_;
  const std::shared_ptr<LanePlace> place_;
  Lanes& lanes_;
  Outcome outcome_;
  bool begun_ = false;   // the app has the request, or is not to have it
  bool ended_ = false;   // the app has returned
  bool gone_ = false;    // the peer is
  bool broken_ = false;  // the peer gets nothing (more) of the app's

 private:
  static Task<void> cancelLater(std::shared_ptr<LaneServing> self, Nanos patience);
  static Task<void> insist(std::shared_ptr<LaneServing> self);
  Task<void> stop();
  Task<void> awaitVerdict();
};

}  // namespace gridiron::edge
