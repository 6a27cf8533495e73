#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "base/clock.h"
#include "base/loop.h"
#include "calls/calls.h"
#include "edge/rpc/server.h"
#include "edge/rpc/wakes.h"
#include "fleet/fleet.h"
#include "model/function.h"
#include "store/store.h"

namespace gridiron::edge {

// What the RPCs around calls need; all of it outlives the server.
struct CallParts {
  Calls& calls;
  Fleet& fleet;
  Store& store;
  const Functions& functions;
  Wakes& wakes;  // an observer of calls and fleet
  const Clock& clock;
  // Does the container take web inputs by a way of its own (edge/http/lanes)? Unset: none does.
  std::function<bool(const InstanceId&)> hasLane = nullptr;
  // The enter methods of a server's container have returned. Unset: nobody reaches servers.
  std::function<void(const InstanceId&)> serverEntered = nullptr;
};

// What callers do with calls: FunctionMap, PutInputs, GetOutputs, FinishInputs, RetryInputs, FunctionCallCancel,
// FromId, GetInfo, call graph, and the data streams (FunctionCallGetDataIn, …GetDataOut, …PutDataOut) of callers and
// containers.
void registerCalls(RpcServer& server, CallParts parts);
// What `modal function calls` shows: FunctionCallFetch and FunctionCallCount; registerCalls does it too.
void registerCallHistory(RpcServer& server, CallParts parts);
// The call graph only; registerCalls does it too.
void registerCallGraph(RpcServer& server, CallParts parts);

// By call: the last item that was sent to a reader of its data-out who is still there. Loop thread only.
using ItemsSent = std::unordered_map<CallId, std::int64_t>;
// The streams only; registerCalls does it too. Keeps `sent`, and rings Wake::room(call, out) after each item.
void registerCallStreams(RpcServer& server, CallParts parts, std::shared_ptr<ItemsSent> sent);

// What comes of a running map within such a time goes to its client in one answer. Each time it asks for more it names
// all inputs that it waits for, which costs both sides more the more they are.
Nanos gatheringFor(int named);

// The function, when it is there and the caller's workspace has it; else notFound.
Result<std::shared_ptr<const Function>> functionFor(const CallParts& parts, const Caller& caller, const FunctionId& id);
// The same for a call, by its function.
Result<CallInfo> callFor(const CallParts& parts, const Caller& caller, const CallId& id);

}  // namespace gridiron::edge
