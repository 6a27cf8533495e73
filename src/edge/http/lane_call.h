#pragma once

#include <memory>

#include "edge/http/lanes.h"
#include "edge/http/web_call.h"

namespace gridiron::edge {

// Serves the request by its place in a container's lane, to the end of what the app does for it. The place is left
// then. False: the peer got no answer of the app's, or not all of it.
Task<bool> serveByLane(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes);

}  // namespace gridiron::edge
