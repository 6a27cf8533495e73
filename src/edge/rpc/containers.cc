#include "edge/rpc/containers.h"

#include "edge/rpc/patience.h"
#include "modal_proto/api.pb.h"
#include "wire/calls.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;
using Empty = google::protobuf::Empty;

constexpr Nanos kInputsPoll = std::chrono::seconds(10);
constexpr Nanos kHeartbeatPoll = std::chrono::seconds(12);  // below the client's attempt time-out of 15.1 s

Result<void> hello(const CallParts& parts, Context& context, Empty) {
  parts.fleet.containerHello(context.caller.task);
  return {};
}

Task<Result<api::ContainerHeartbeatResponse>> heartbeat(CallParts parts, Context& context,
                                                        api::ContainerHeartbeatRequest) {
  const InstanceId task = context.caller.task;
  Patience patience(parts.wakes, context.call, kHeartbeatPoll);
  for (;;) {
    if (context.call.cancelled()) co_return makeError(Code::cancelled, "the container is gone");
    std::vector<InputId> cancelled = parts.calls.takeCancelled(task);
    if (!cancelled.empty() || patience.over()) {
      api::ContainerHeartbeatResponse out;
      for (const InputId& input : cancelled) out.mutable_cancel_input_event()->add_input_ids(input.str());
      co_return out;
    }
    std::vector<Wake> wakes = {Wake::instance(task)};
    co_await patience.wait(std::move(wakes));
  }
}

void writeLease(const Lease& lease, bool last, api::FunctionGetInputsItem& out) {
  out.set_input_id(lease.input.id.str());
  wire::writeInput(lease.input, *out.mutable_input());
  out.mutable_input()->set_final_input(last);
  out.set_function_call_id(lease.input.call.str());
  out.set_function_call_invocation_type(static_cast<api::FunctionCallInvocationType>(lease.mode));
  out.set_retry_count(static_cast<std::uint32_t>(lease.input.attempt));
  out.set_function_map_idx(lease.input.index);
}

Task<Result<api::FunctionGetInputsResponse>> getInputs(CallParts parts, Context& context,
                                                       api::FunctionGetInputsRequest) {
  const InstanceId task = context.caller.task;
  const FunctionId function = context.caller.function;
  auto definition = parts.functions.find(function);
  const bool single = definition && definition->singleUse;
  parts.fleet.askedForInputs(task);
  const bool byLane = parts.hasLane && parts.hasLane(task);
  Patience patience(parts.wakes, context.call, kInputsPoll);
  for (;;) {
    api::FunctionGetInputsResponse out;
    if (context.call.cancelled()) co_return makeError(Code::cancelled, "the container is gone");
    if (parts.fleet.killSwitch(task)) {
      out.add_inputs()->set_kill_switch(true);
      co_return out;
    }
    const int most = byLane && parts.calls.isWebNext(function) ? 0 : 1;
    std::vector<Lease> leases = parts.calls.lease(task, function, most, context.idempotencyKey);
    for (const Lease& lease : leases) writeLease(lease, single, *out.add_inputs());
    if (!leases.empty() || patience.over()) co_return out;
    std::vector<Wake> wakes = {Wake::inputs(function), Wake::instance(task)};
    co_await patience.wait(std::move(wakes));
  }
}

Result<void> serverReady(const CallParts& parts, Context& context, api::ContainerServerLifecycleReadyRequest) {
  if (parts.serverEntered) parts.serverEntered(context.caller.task);
  return {};
}

Result<void> putOutputs(const CallParts& parts, Context& context, api::FunctionPutOutputsRequest in) {
  for (auto& item : *in.mutable_outputs()) {
    Outcome outcome = wire::readOutcome(std::move(*item.mutable_result()), item.data_format());
    const auto attempt = static_cast<int>(item.retry_count());
    // Only who will be missed may hold something.
    if (parts.fleet.lives(context.caller.task))
      parts.calls.reclaim(context.caller.task, context.caller.function, InputId{item.input_id()}, attempt);
    // Where the store says that this container has the input, control would go on waiting for it after a power cut.
    if (parts.calls.leaseIsNoted(InputId{item.input_id()})) context.awaitsDisk = true;
    // stale: cancelled or run elsewhere meanwhile; there is nothing that the container could do about it.
    RETURN_IF_ERROR(parts.calls.settle(context.caller.task, InputId{item.input_id()}, std::move(outcome), attempt));
  }
  return {};
}

Result<void> taskResult(const CallParts& parts, Context& context, api::TaskResultRequest in) {
  Outcome outcome = wire::readOutcome(std::move(*in.mutable_result()), api::DATA_FORMAT_UNSPECIFIED);
  if (outcome.status == OutcomeStatus::success || outcome.status == OutcomeStatus::unspecified) return {};
  parts.fleet.startupFailed(context.caller.task, outcome);
  return {};
}

// More at once than the target only while others wait.
Result<api::FunctionGetDynamicConcurrencyResponse> concurrency(const CallParts& parts, Context& context,
                                                               api::FunctionGetDynamicConcurrencyRequest in) {
  api::FunctionGetDynamicConcurrencyResponse out;
  const bool waiting = parts.calls.demandOf(context.caller.function).queued > 0;
  out.set_concurrency(waiting ? in.max_concurrency() : in.target_concurrency());
  return out;
}

Result<api::ContainerStopResponse> stop(const CallParts& parts, Context& context, api::ContainerStopRequest in) {
  InstanceId task{in.task_id()};
  Error no = makeError(Code::notFound, "Container '{}' not found", in.task_id());
  std::optional<Instance> instance = parts.fleet.find(task);
  if (!instance) return no;
  if (!functionFor(parts, context.caller, instance->function).ok()) return no;
  const bool itself = context.caller.task == task;
  RETURN_IF_ERROR(parts.fleet.stop(task, in.graceful(), itself ? "it asked to stop" : "stopped by its owner"));
  return api::ContainerStopResponse();
}

Result<api::TaskClusterHelloResponse> cluster(const CallParts&, Context& context, api::TaskClusterHelloRequest in) {
  api::TaskClusterHelloResponse out;
  out.set_cluster_id(context.caller.task.str());
  out.set_cluster_rank(0);
  out.add_container_ips(in.container_ip());
  return out;
}

}  // namespace

void registerContainers(RpcServer& server, CallParts parts) {
  // What containers tell may be forgotten with the power that their machine loses too: a lease is then given again, and
  // an output that nobody was shown (FunctionGetOutputs waits) is made again.
  const Method container{.access = Access::container, .awaitsDisk = false};
  server.unary<Empty, Empty>("ContainerHello", container,
                             [parts](Context& c, Empty in) { return hello(parts, c, std::move(in)); });
  // Its worker sees this pass: what is kept is made there.
  server.unary<api::ContainerCheckpointRequest, Empty>(
      "ContainerCheckpoint", container, [](Context&, api::ContainerCheckpointRequest) -> Result<void> { return {}; });
  server.unary<api::ContainerHeartbeatRequest, api::ContainerHeartbeatResponse>(
      "ContainerHeartbeat", container,
      [parts](Context& c, api::ContainerHeartbeatRequest in) { return heartbeat(parts, c, std::move(in)); });
  server.unary<api::FunctionGetInputsRequest, api::FunctionGetInputsResponse>(
      "FunctionGetInputs", container,
      [parts](Context& c, api::FunctionGetInputsRequest in) { return getInputs(parts, c, std::move(in)); });
  server.unary<api::ContainerServerLifecycleReadyRequest, Empty>(
      "ContainerServerLifecycleReady", container, [parts](Context& c, api::ContainerServerLifecycleReadyRequest in) {
        return serverReady(parts, c, std::move(in));
      });
  server.unary<api::FunctionPutOutputsRequest, Empty>(
      "FunctionPutOutputs", container,
      [parts](Context& c, api::FunctionPutOutputsRequest in) { return putOutputs(parts, c, std::move(in)); });
  server.unary<api::TaskResultRequest, Empty>("TaskResult", container, [parts](Context& c, api::TaskResultRequest in) {
    return taskResult(parts, c, std::move(in));
  });
  server.unary<api::FunctionGetDynamicConcurrencyRequest, api::FunctionGetDynamicConcurrencyResponse>(
      "FunctionGetDynamicConcurrency", container, [parts](Context& c, api::FunctionGetDynamicConcurrencyRequest in) {
        return concurrency(parts, c, std::move(in));
      });
  server.unary<api::ContainerStopRequest, api::ContainerStopResponse>(
      "ContainerStop", {}, [parts](Context& c, api::ContainerStopRequest in) { return stop(parts, c, std::move(in)); });
  server.unary<api::TaskClusterHelloRequest, api::TaskClusterHelloResponse>(
      "TaskClusterHello", {.access = Access::container, .works = Works::partly, .note = "clusters of one container"},
      [parts](Context& c, api::TaskClusterHelloRequest in) { return cluster(parts, c, std::move(in)); });
}

}  // namespace gridiron::edge
