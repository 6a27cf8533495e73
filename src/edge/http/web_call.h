#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edge/http/answers.h"
#include "edge/http/ingress.h"
#include "edge/http/server_timing.h"
#include "wire/asgi.h"

namespace gridiron::edge {

// One HTTP request on its way through a call: what ingress's coroutines share.
struct WebCall {
  const IngressParts& parts;
  std::shared_ptr<net::Exchange> exchange;
  WebTarget target;
  CallId call;
  InputId input;
  Time arrivedAt{};
  wire::HttpScope scope;
  bool ended = false;  // the response is complete or given up: the body is not read any more
};

// How long the request is held before its answer begins.
Nanos patienceOf(const WebCall& web);

// Reads the request's body into the call's data-in, at the pace of the container. The first chunk is there at the
// latest `firstChunkAfter` after the start. Ends with the body, the peer or the call.
Task<void> pumpBody(std::shared_ptr<WebCall> web);

// Streams the call's data-out to the peer. Nothing when an answer went out whole; else why there was none (yet): then
// the head was not sent.
Task<std::optional<Answer>> pumpResponse(std::shared_ptr<WebCall> web);

// Where the time went until now: "queue", "run", and for a container that was started for this request the parts of
// its start.
std::vector<TimedPhase> phasesOf(const WebCall& web);

}  // namespace gridiron::edge
