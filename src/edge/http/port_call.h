#pragma once

#include <memory>

#include "edge/http/lanes.h"
#include "edge/http/web_call.h"

namespace gridiron::edge {

// The port that the request is for, of a server of the user's (@web_server); 0: it is for an app.
int portOf(const WebTarget& target);

// As serveByLane, for a place whose `ports` are known: the door passes the request on to the server that listens inside
// the container, WebSockets as bytes. False: the peer got no answer of the server's, or not all of it.
Task<bool> serveByPort(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes);

}  // namespace gridiron::edge
