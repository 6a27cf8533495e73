#include <deque>
#include <map>

#include "edge/rpc/calls.h"
#include "modal_proto/api.pb.h"
#include "wire/functions.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;

constexpr int kMostInputs = 5000;  // of one answer; what is left out is told

void writeInputs(const CallParts& parts, const StoredCall& stored, int most, api::FunctionGetCallGraphResponse& out) {
  std::map<InputId, const Output*> outputs;
  for (const Output& output : stored.outputs) outputs[output.input] = &output;
  for (const Input& input : stored.inputs) {
    if (most-- <= 0) return;
    api::InputCallGraphInfo& item = *out.add_inputs();
    item.set_input_id(input.id.str());
    item.set_function_call_id(input.call.str());
    const auto output = outputs.find(input.id);
    if (output != outputs.end()) {
      item.set_status(static_cast<api::GenericResult::GenericStatus>(output->second->outcome.status));
      item.set_task_id(output->second->instance.str());
    } else if (const auto live = parts.calls.input(input.id)) {
      item.set_task_id(live->instance.str());
    }
  }
}

void writeCall(const CallParts& parts, const Call& call, const InputId& parent,
               api::FunctionGetCallGraphResponse& out) {
  api::FunctionCallCallGraphInfo& info = *out.add_function_calls();
  info.set_function_call_id(call.id.str());
  info.set_parent_input_id(parent.str());
  const auto function = parts.functions.find(call.function);
  if (!function) return;
  info.set_function_name(function->tag);
  info.set_module_name(wire::moduleOf(*function));
}

// The call that is asked for is the root, whoever made it; below each input the calls that it made.
Result<api::FunctionGetCallGraphResponse> callGraph(const CallParts& parts, Context& context,
                                                    api::FunctionGetCallGraphRequest in) {
  ASSIGN_OR_RETURN(CallInfo root, callFor(parts, context.caller, CallId{in.function_call_id()}));
  api::FunctionGetCallGraphResponse out;
  std::deque<std::pair<CallId, InputId>> ahead{{root.call.id, InputId{}}};
  for (; !ahead.empty(); ahead.pop_front()) {
    const auto [id, parent] = ahead.front();
    // A parent is what a client says: a call of somebody else is not shown for it.
    if (!callFor(parts, context.caller, id).ok()) continue;
    ASSIGN_OR_RETURN(std::optional<StoredCall> stored, parts.store.call(id));
    writeCall(parts, stored ? stored->call : root.call, parent, out);
    if (!stored) continue;
    const int before = out.inputs_size();
    writeInputs(parts, *stored, kMostInputs - before, out);
    for (int i = before; i < out.inputs_size(); ++i) {
      const InputId input{out.inputs(i).input_id()};
      ASSIGN_OR_RETURN(const std::vector<CallId> made, parts.store.callsBy(input));
      for (const CallId& child : made) ahead.emplace_back(child, input);
    }
    if (out.inputs_size() < kMostInputs) continue;
    out.set_truncated(ahead.size() > 1 || std::ssize(stored->inputs) > out.inputs_size() - before);
    break;
  }
  return out;
}

}  // namespace

void registerCallGraph(RpcServer& server, CallParts parts) {
  server.unary<api::FunctionGetCallGraphRequest, api::FunctionGetCallGraphResponse>(
      "FunctionGetCallGraph", {},
      [parts](Context& c, api::FunctionGetCallGraphRequest in) { return callGraph(parts, c, std::move(in)); });
}

}  // namespace gridiron::edge
