#pragma once

#include <string>

#include "edge/rpc/server.h"

namespace gridiron::edge {

// docs/compatibility.md: each RPC of the client API, whether it works, and what is missing.
std::string compatibilityPage(const RpcServer& server);

}  // namespace gridiron::edge
