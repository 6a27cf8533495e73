#include "edge/rpc/calls.h"

#include <utility>

#include "edge/rpc/patience.h"
#include "modal_proto/api.pb.h"
#include "wire/calls.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;

constexpr Nanos kLongestPoll = std::chrono::seconds(55);
constexpr std::uint32_t kInputsOutstanding = 1000;  // of one map, before its client holds back
// A failure waits so long for the reader of the items before it.
constexpr Nanos kItemsFirst = std::chrono::seconds(1);

Nanos pollOf(float seconds) {
  if (!(seconds > 0)) return Nanos::zero();
  return std::min<Nanos>(kLongestPoll, std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)));
}

template <class Items>
Result<std::vector<NewInput>> readInputs(Items& items) {
  std::vector<NewInput> inputs;
  for (auto& item : items) {
    NewInput input;
    input.index = item.idx();
    input.method = item.input().method_name();
    ASSIGN_OR_RETURN(input.args, wire::readPayload(std::move(*item.mutable_input())));
    inputs.push_back(std::move(input));
  }
  return inputs;
}

void writeAccepted(const AcceptedInput& accepted, api::FunctionPutInputsResponseItem& out) {
  out.set_idx(accepted.index);
  out.set_input_id(accepted.id.str());
  out.set_input_jwt(wire::writeInputToken(accepted.id, accepted.index));
}

// A full queue is the caller's to wait for: it comes back by itself.
Error putFailed(Context& context, Error error) {
  if (error.code == Code::exhausted) context.retryAfter = std::chrono::seconds(1);
  return error;
}

Result<api::FunctionMapResponse> functionMap(const CallParts& parts, Context& context, api::FunctionMapRequest in) {
  FunctionId id{in.function_id()};
  RETURN_IF_ERROR(functionFor(parts, context.caller, id));
  ASSIGN_OR_RETURN(std::vector<NewInput> inputs, readInputs(*in.mutable_pipelined_inputs()));
  CallOptions options;
  options.function = id;
  options.kind = in.function_call_type() == api::FUNCTION_CALL_TYPE_MAP ? CallKind::map : CallKind::unary;
  if (api::FunctionCallInvocationType_IsValid(in.function_call_invocation_type()) &&
      in.function_call_invocation_type() != 0)
    options.mode = static_cast<CallMode>(in.function_call_invocation_type());
  options.returnExceptions = in.return_exceptions();
  options.fromSpawnMap = in.from_spawn_map();
  options.parent = InputId{in.parent_input_id()};
  if (!context.idempotencyKey.empty()) options.key = context.caller.key() + "|" + context.idempotencyKey;
  ASSIGN_OR_RETURN(CallId call, parts.calls.open(options));
  api::FunctionMapResponse out;
  if (!inputs.empty()) {
    Result<std::vector<AcceptedInput>> accepted = parts.calls.put(call, std::move(inputs));
    if (!accepted.ok()) {
      (void)parts.calls.cancel(call);
      return putFailed(context, accepted.error());
    }
    for (const AcceptedInput& input : *accepted) writeAccepted(input, *out.add_pipelined_inputs());
  }
  out.set_function_call_id(call.str());
  out.set_function_call_jwt(call.str());
  out.mutable_retry_policy();                  // none for the client:
  out.set_sync_client_retries_enabled(false);  // the grid runs failed inputs again itself
  out.set_max_inputs_outstanding(kInputsOutstanding);
  return out;
}

Result<api::FunctionPutInputsResponse> putInputs(const CallParts& parts, Context& context,
                                                 api::FunctionPutInputsRequest in) {
  CallId call{in.function_call_id()};
  RETURN_IF_ERROR(callFor(parts, context.caller, call));
  ASSIGN_OR_RETURN(std::vector<NewInput> inputs, readInputs(*in.mutable_inputs()));
  Result<std::vector<AcceptedInput>> accepted = parts.calls.put(call, std::move(inputs));
  if (!accepted.ok()) return putFailed(context, accepted.error());
  api::FunctionPutInputsResponse out;
  for (const AcceptedInput& input : *accepted) writeAccepted(input, *out.add_inputs());
  return out;
}

bool anyFailed(const OutputPage& page) {
  return std::any_of(page.outputs.begin(), page.outputs.end(),
                     [](const Output& output) { return output.outcome.status != OutcomeStatus::success; });
}

// A client stops reading a generator's items when it hears of a failure, so that goes behind the items that came before
// it. For a moment only: nobody may be reading them.
Task<void> letItemsGoFirst(const CallParts& parts, const ItemsSent& sent, CallId call, Patience& patience) {
  const auto until = std::chrono::steady_clock::now() + kItemsFirst;
  for (;;) {
    const auto reader = sent.find(call);
    const auto items = parts.calls.read(call, Direction::out, reader == sent.end() ? 0 : reader->second);
    const Nanos left = until - std::chrono::steady_clock::now();
    if (!items.ok() || items->empty() || left <= Nanos::zero() || patience.over()) co_return;
    std::vector<Wake> wakes = {Wake::room(call, Direction::out)};
    co_await patience.wait(std::move(wakes), left);
  }
}

Task<Result<api::FunctionGetOutputsResponse>> getOutputs(CallParts parts, std::shared_ptr<const ItemsSent> sent,
                                                         Context& context, api::FunctionGetOutputsRequest in) {
  CallId call{in.function_call_id()};
  Result<CallInfo> info = callFor(parts, context.caller, call);
  if (!info.ok()) co_return info.error();
  OutputQuery query;
  query.after = in.last_entry_id();
  query.clearOnSuccess = in.clear_on_success();
  query.most = in.max_values();
  if (in.has_start_idx() && in.has_end_idx()) query.indices = {in.start_idx(), in.end_idx()};
  Patience patience(parts.wakes, context.call, pollOf(in.timeout()));
  bool gathered = info->call.kind != CallKind::map || in.timeout() <= 0;
  for (;;) {
    if (context.call.cancelled()) co_return makeError(Code::cancelled, "the caller is gone");
    Result<OutputPage> page = parts.calls.outputs(call, query);
    if (!page.ok()) co_return page.error();
    if (!page->outputs.empty() && page->unfinishedInputs > 0 && !std::exchange(gathered, true)) {
      std::vector<Wake> none;
      co_await patience.wait(std::move(none), gatheringFor(in.input_jwts_size()));
      continue;
    }
    // A map's client asks again at once; more inputs may come, so an empty answer waits its time.
    const bool over = page->finished && info->call.kind != CallKind::map;
    if (!page->outputs.empty() || over || patience.over()) {
      if (info->call.kind != CallKind::map && anyFailed(*page)) co_await letItemsGoFirst(parts, *sent, call, patience);
      api::FunctionGetOutputsResponse out;
      for (const Output& output : page->outputs) wire::writeOutput(output, *out.add_outputs());
      out.set_last_entry_id(page->lastEntryId.empty() ? "0-0" : page->lastEntryId);
      out.set_num_unfinished_inputs(page->unfinishedInputs);
      co_return out;
    }
    std::vector<Wake> wakes = {Wake::outputs(call)};
    co_await patience.wait(std::move(wakes));
  }
}

Result<void> finishInputs(const CallParts& parts, Context& context, api::FunctionFinishInputsRequest in) {
  CallId call{in.function_call_id()};
  RETURN_IF_ERROR(callFor(parts, context.caller, call));
  return parts.calls.finishInputs(call, static_cast<int>(in.num_inputs()));
}

// Inputs whose failure the caller does not take: by clients that retry themselves (after internal failures JS and Go
// do). The call's token is its id.
Result<api::FunctionRetryInputsResponse> retryInputs(const CallParts& parts, Context& context,
                                                     api::FunctionRetryInputsRequest in) {
  CallId call{in.function_call_jwt()};
  RETURN_IF_ERROR(callFor(parts, context.caller, call));
  std::vector<RetriedInput> inputs;
  for (auto& item : *in.mutable_inputs()) {
    ASSIGN_OR_RETURN(wire::InputToken token, wire::readInputToken(item.input_jwt()));
    RetriedInput input;
    input.index = token.index;
    input.again = static_cast<int>(item.retry_count());
    input.method = item.input().method_name();
    ASSIGN_OR_RETURN(input.args, wire::readPayload(std::move(*item.mutable_input())));
    inputs.push_back(std::move(input));
  }
  Result<std::vector<AcceptedInput>> accepted = parts.calls.retry(call, std::move(inputs));
  if (!accepted.ok()) return putFailed(context, accepted.error());
  api::FunctionRetryInputsResponse out;
  for (const AcceptedInput& input : *accepted) out.add_input_jwts(wire::writeInputToken(input.id, input.index));
  return out;
}

Result<void> cancelCall(const CallParts& parts, Context& context, api::FunctionCallCancelRequest in) {
  CallId call{in.function_call_id()};
  RETURN_IF_ERROR(callFor(parts, context.caller, call));
  return parts.calls.cancel(call, in.terminate_containers() ? Terminate::containers : Terminate::no);
}

Result<api::FunctionCallFromIdResponse> callFromId(const CallParts& parts, Context& context,
                                                   api::FunctionCallFromIdRequest in) {
  ASSIGN_OR_RETURN(CallInfo info, callFor(parts, context.caller, CallId{in.function_call_id()}));
  api::FunctionCallFromIdResponse out;
  out.set_function_call_id(info.call.id.str());
  out.set_num_inputs(info.inputs);
  out.mutable_metadata()->set_app_id(info.call.app.str());
  out.mutable_metadata()->set_function_id(info.call.function.str());
  return out;
}

Result<api::FunctionCallGetInfoResponse> callGetInfo(const CallParts& parts, Context& context,
                                                     api::FunctionCallGetInfoRequest in) {
  ASSIGN_OR_RETURN(CallInfo info, callFor(parts, context.caller, CallId{in.function_call_id()}));
  api::FunctionCallGetInfoResponse response;
  api::FunctionCallInfo& out = *response.mutable_info();
  out.set_function_call_id(info.call.id.str());
  out.set_created_at(toSeconds(info.call.createdAt));
  out.set_scheduled_at(toSeconds(info.call.createdAt));
  out.mutable_pending_inputs()->set_total(info.unfinished);
  out.mutable_succeeded_inputs()->set_total(info.succeeded);
  out.mutable_cancelled_inputs()->set_total(info.cancelled);
  out.mutable_timeout_inputs()->set_total(info.timedOut);
  out.mutable_failed_inputs()->set_total(info.failed - info.cancelled - info.timedOut);
  out.set_total_inputs(info.inputs);
  return response;
}

}  // namespace

Result<std::shared_ptr<const Function>> functionFor(const CallParts& parts, const Caller& caller,
                                                    const FunctionId& id) {
  std::shared_ptr<const Function> function = parts.functions.find(id);
  if (!function || function->workspace != caller.workspace)
    return makeError(Code::notFound, "Function '{}' not found: was its app stopped?", id.str());
  return function;
}

Result<CallInfo> callFor(const CallParts& parts, const Caller& caller, const CallId& id) {
  Error no = makeError(Code::notFound, "FunctionCall '{}' not found, or its results have expired", id.str());
  Result<CallInfo> info = parts.calls.info(id);
  if (!info.ok()) return info.error().code == Code::notFound ? no : info.error();
  // Of a function that is no more only the id of the call tells whose it is; nobody can guess one.
  std::shared_ptr<const Function> function = parts.functions.find(info->call.function);
  if (function && function->workspace != caller.workspace) return no;
  return info;
}

Nanos gatheringFor(int named) {
  using namespace std::chrono_literals;
  return std::clamp<Nanos>(named * 50us, 10ms, 50ms);
}

void registerCalls(RpcServer& server, CallParts parts) {
  const auto sent = std::make_shared<ItemsSent>();
  server.unary<api::FunctionMapRequest, api::FunctionMapResponse>(
      "FunctionMap", {.once = true},
      [parts](Context& c, api::FunctionMapRequest in) { return functionMap(parts, c, std::move(in)); });
  server.unary<api::FunctionPutInputsRequest, api::FunctionPutInputsResponse>(
      "FunctionPutInputs", {},
      [parts](Context& c, api::FunctionPutInputsRequest in) { return putInputs(parts, c, std::move(in)); });
  server.unary<api::FunctionGetOutputsRequest, api::FunctionGetOutputsResponse>(
      "FunctionGetOutputs", {}, [parts, sent](Context& c, api::FunctionGetOutputsRequest in) {
        return getOutputs(parts, sent, c, std::move(in));
      });
  server.unary<api::FunctionFinishInputsRequest, google::protobuf::Empty>(
      "FunctionFinishInputs", {},
      [parts](Context& c, api::FunctionFinishInputsRequest in) { return finishInputs(parts, c, std::move(in)); });
  server.unary<api::FunctionRetryInputsRequest, api::FunctionRetryInputsResponse>(
      "FunctionRetryInputs", {.once = true},
      [parts](Context& c, api::FunctionRetryInputsRequest in) { return retryInputs(parts, c, std::move(in)); });
  server.unary<api::FunctionCallCancelRequest, google::protobuf::Empty>(
      "FunctionCallCancel", {},
      [parts](Context& c, api::FunctionCallCancelRequest in) { return cancelCall(parts, c, std::move(in)); });
  server.unary<api::FunctionCallFromIdRequest, api::FunctionCallFromIdResponse>(
      "FunctionCallFromId", {},
      [parts](Context& c, api::FunctionCallFromIdRequest in) { return callFromId(parts, c, std::move(in)); });
  server.unary<api::FunctionCallGetInfoRequest, api::FunctionCallGetInfoResponse>(
      "FunctionCallGetInfo", {},
      [parts](Context& c, api::FunctionCallGetInfoRequest in) { return callGetInfo(parts, c, std::move(in)); });
  registerCallHistory(server, parts);
  registerCallGraph(server, parts);
  registerCallStreams(server, parts, sent);
}

}  // namespace gridiron::edge
