#include <algorithm>
#include <set>

#include "edge/rpc/calls.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;

constexpr int kMost = 20'000;  // of one answer, as clients ask for it
constexpr std::int64_t kMostBuckets = 10'000;

struct Run {
  api::FunctionCallInputInfo info;
  Time enqueued{};
};

Time timeOf(const google::protobuf::Timestamp& at) {
  return Time{std::chrono::seconds(at.seconds()) + std::chrono::nanoseconds(at.nanos())};
}

void write(Time time, google::protobuf::Timestamp& out) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time.time_since_epoch());
  out.set_seconds(seconds.count());
  out.set_nanos(static_cast<std::int32_t>((time.time_since_epoch() - seconds).count()));
}

api::FunctionCallInputStatus statusOf(const std::string& outcome) {
  using S = OutcomeStatus;
  static const std::map<std::string, api::FunctionCallInputStatus> all = {
      {nameOf(S::success), api::FUNCTION_CALL_INPUT_STATUS_SUCCESS},
      {nameOf(S::failure), api::FUNCTION_CALL_INPUT_STATUS_FAILURE},
      {nameOf(S::terminated), api::FUNCTION_CALL_INPUT_STATUS_TERMINATED},
      {nameOf(S::timeout), api::FUNCTION_CALL_INPUT_STATUS_TIMEOUT},
      {nameOf(S::initFailure), api::FUNCTION_CALL_INPUT_STATUS_INIT_FAILURE},
      {nameOf(S::internalFailure), api::FUNCTION_CALL_INPUT_STATUS_INTERNAL_FAILURE},
      {nameOf(S::idleTimeout), api::FUNCTION_CALL_INPUT_STATUS_IDLE_TIMEOUT},
      {nameOf(S::memoryEviction), api::FUNCTION_CALL_INPUT_STATUS_MEMORY_MANAGER_EVICTION}};
  const auto found = all.find(outcome);
  return found == all.end() ? api::FUNCTION_CALL_INPUT_STATUS_UNSPECIFIED : found->second;
}

Run runOf(const Input& input) {
  Run run;
  run.enqueued = input.createdAt;
  const bool runs = input.state == InputState::running;
  run.info.set_status(runs ? api::FUNCTION_CALL_INPUT_STATUS_RUNNING : api::FUNCTION_CALL_INPUT_STATUS_PENDING);
  if (runs) write(input.startedAt, *run.info.mutable_started_at());
  if (runs) run.info.set_container_id(input.instance.str());
  run.info.set_function_call_id(input.call.str());
  if (!input.method.empty()) run.info.set_service_method_name(input.method);
  write(input.createdAt, *run.info.mutable_enqueued_at());
  return run;
}

Run runOf(const UsageRecord& record) {
  Run run;
  run.enqueued = record.queuedAt;
  run.info.set_status(statusOf(record.outcome));
  run.info.set_container_id(record.instance.str());
  run.info.set_function_call_id(record.call.str());
  run.info.set_execution_time_seconds(std::chrono::duration<double>(record.endedAt - record.startedAt).count());
  if (!record.method.empty()) run.info.set_service_method_name(record.method);
  write(record.startedAt, *run.info.mutable_started_at());
  write(record.queuedAt, *run.info.mutable_enqueued_at());
  return run;
}

// The last attempts of the function's inputs, newest first. `since` is when inputs were accepted; without it `most`.
Result<std::vector<Run>> runsOf(const CallParts& parts, const Function& function, std::optional<Time> since, int most) {
  std::vector<Run> runs;
  std::set<std::string> seen;  // inputs
  for (const Input& input : parts.calls.unsettled(function.id, since ? kMost : most)) {
    seen.insert(input.id.str());
    runs.push_back(runOf(input));
  }
  UsageQuery query;
  query.app = function.app;
  query.function = function.id;
  query.kind = UsageKind::input;
  query.since = since;
  query.order = UsageQuery::Order::newest;
  query.limit = since ? 0 : most;
  ASSIGN_OR_RETURN(const std::vector<UsageRecord> records, parts.store.usage(query));
  for (const UsageRecord& record : records) {
    if (seen.insert(record.id.substr(0, record.id.find('/'))).second) runs.push_back(runOf(record));
  }
  std::stable_sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.enqueued > b.enqueued; });
  return runs;
}

Result<api::FunctionCallFetchResponse> fetch(const CallParts& parts, Context& context,
                                             const api::FunctionCallFetchRequest& in) {
  ASSIGN_OR_RETURN(const auto function, functionFor(parts, context.caller, FunctionId{in.function_id()}));
  api::FunctionCallFetchResponse out;
  if (in.has_tail()) {
    const int most = std::clamp(static_cast<int>(in.tail().count()), 1, kMost);
    ASSIGN_OR_RETURN(std::vector<Run> runs, runsOf(parts, *function, std::nullopt, most));
    if (std::ssize(runs) > most) runs.resize(static_cast<std::size_t>(most));
    for (Run& run : runs) *out.add_function_call_inputs() = std::move(run.info);
    return out;
  }
  const Time since = timeOf(in.range().since()), until = timeOf(in.range().until());
  const int most = in.range().limit() == 0 ? kMost : std::min(static_cast<int>(in.range().limit()), kMost);
  ASSIGN_OR_RETURN(std::vector<Run> runs, runsOf(parts, *function, since, most));
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {  // oldest first
    if (run->enqueued < since || run->enqueued >= until) continue;
    if (out.function_call_inputs_size() == most) break;
    *out.add_function_call_inputs() = std::move(run->info);
  }
  return out;
}

Result<api::FunctionCallCountResponse> count(const CallParts& parts, Context& context,
                                             const api::FunctionCallCountRequest& in) {
  ASSIGN_OR_RETURN(const auto function, functionFor(parts, context.caller, FunctionId{in.function_id()}));
  const Time since = timeOf(in.since()), until = timeOf(in.until());
  const Nanos width = std::chrono::seconds(std::max<std::uint32_t>(in.bucket_secs(), 1));
  if (until <= since) return Error{Code::invalidArgument, "the time range ends before it begins"};
  if ((until - since) / width > kMostBuckets)
    return makeError(Code::invalidArgument, "{} s are too few for a bucket of so long a time", in.bucket_secs());
  ASSIGN_OR_RETURN(const std::vector<Run> runs, runsOf(parts, *function, since, kMost));
  std::map<Time, std::uint64_t> counts;  // every bucket, also empty ones
  const Time first{since.time_since_epoch() / width * width};
  for (Time start = first; start < until; start += width) counts[start] = 0;
  for (const Run& run : runs) {
    if (run.enqueued >= since && run.enqueued < until) ++std::prev(counts.upper_bound(run.enqueued))->second;
  }
  api::FunctionCallCountResponse out;
  for (const auto& [start, number] : counts) {
    auto& bucket = *out.add_buckets();
    write(start, *bucket.mutable_bucket_start_at());
    bucket.set_count(number);
  }
  return out;
}

}  // namespace

void registerCallHistory(RpcServer& server, CallParts parts) {
  server.unary<api::FunctionCallFetchRequest, api::FunctionCallFetchResponse>(
      "FunctionCallFetch", {.works = Works::partly, .note = "no startup_time_seconds; all_variants is not looked at"},
      [parts](Context& c, api::FunctionCallFetchRequest in) { return fetch(parts, c, in); });
  server.unary<api::FunctionCallCountRequest, api::FunctionCallCountResponse>(
      "FunctionCallCount", {.works = Works::partly, .note = "all_variants is not looked at"},
      [parts](Context& c, api::FunctionCallCountRequest in) { return count(parts, c, in); });
}

}  // namespace gridiron::edge
