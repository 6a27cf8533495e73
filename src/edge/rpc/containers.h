#pragma once

#include "edge/rpc/calls.h"

namespace gridiron::edge {

// What containers ask, known by their worker's word: ContainerHello, ContainerHeartbeat (held up to 12 s, answers with
// inputs to cancel), FunctionGetInputs (held up to 10 s), FunctionPutOutputs, TaskResult,
// FunctionGetDynamicConcurrency, TaskClusterHello (a cluster of one); and ContainerStop, which callers use too.
void registerContainers(RpcServer& server, CallParts parts);

}  // namespace gridiron::edge
