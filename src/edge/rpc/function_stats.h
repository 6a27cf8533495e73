#pragma once

#include "edge/rpc/objects.h"

namespace gridiron::edge {

// FunctionGetTimeRangeStats: what a function's inputs and containers did in a period, by the usage records (its newest
// are there some seconds later). FunctionGetCurrentStats, of now, is in functions.cc.
void registerFunctionStats(RpcServer& server, ObjectParts parts);

}  // namespace gridiron::edge
