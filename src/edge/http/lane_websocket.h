#pragma once

#include <memory>
#include <optional>

#include "edge/http/answers.h"
#include "edge/http/lanes.h"
#include "edge/http/web_call.h"

namespace gridiron::edge {

// Does the request ask for a WebSocket?
bool wantsWebSocket(const net::RequestHead& head);
// What is wrong with how it asks (RFC 6455, 4.2); nothing when all is well.
std::optional<Answer> webSocketProblem(const net::RequestHead& head);

// As serveByLane, for a WebSocket: the door speaks RFC 6455 with the peer, the app gets messages. True: the app
// accepted it.
Task<bool> serveWebSocket(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes);

}  // namespace gridiron::edge
