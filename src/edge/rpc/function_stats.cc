#include "edge/rpc/function_stats.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <set>

#include "modal_proto/api.pb.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;
using google::protobuf::util::TimeUtil;
using Request = api::FunctionGetTimeRangeStatsRequest;
using Response = api::FunctionGetTimeRangeStatsResponse;

constexpr int kMostInstances = 20000;  // that are looked at, the newest of the app

struct Range {
  Time since, until;
  bool contains(Time at) const { return at >= since && at < until; }
};

double secondsBetween(Time from, Time to) { return std::chrono::duration<double>(to - from).count(); }

// The nearest rank, as of all that is known: nothing is sampled.
void writePercentiles(std::vector<double> values, api::StatsPercentileDistribution& out) {
  out.set_unit("s");
  std::sort(values.begin(), values.end());
  for (const std::uint32_t basisPoints : {5000u, 9000u, 9900u}) {
    const auto rank = (values.size() * basisPoints + 9999) / 10000;
    api::StatsPercentile& percentile = *out.add_percentiles();
    percentile.set_percentile_basis_points(basisPoints);
    percentile.set_value(values[std::max<std::size_t>(rank, 1) - 1]);
  }
}

// An input counts by its last attempt.
std::map<std::string, UsageRecord> lastAttempts(std::vector<UsageRecord> records) {
  std::map<std::string, UsageRecord> last;
  for (UsageRecord& record : records) {
    UsageRecord& kept = last[record.id.substr(0, record.id.find('/'))];
    if (kept.id.empty() || kept.startedAt <= record.startedAt) kept = std::move(record);
  }
  return last;
}

void countInputs(std::vector<UsageRecord> records, const Range& range, Response& out) {
  std::vector<double> ran, took;
  for (const auto& [id, record] : lastAttempts(std::move(records))) {
    if (!range.contains(record.endedAt)) {
      if (record.startedAt < range.until) out.set_input_running_at_end_count(out.input_running_at_end_count() + 1);
      continue;
    }
    if (record.outcome == nameOf(OutcomeStatus::success)) {
      out.set_input_success_count(out.input_success_count() + 1);
    } else if (record.outcome == nameOf(OutcomeStatus::timeout)) {
      out.set_input_timeout_count(out.input_timeout_count() + 1);
    } else {
      out.set_input_failure_count(out.input_failure_count() + 1);
    }
    ran.push_back(secondsBetween(record.startedAt, record.endedAt));
    took.push_back(secondsBetween(record.queuedAt, record.endedAt));
  }
  if (ran.empty()) return;
  writePercentiles(std::move(ran), (*out.mutable_input_percentile_stats())["Execution time (s)"]);
  writePercentiles(std::move(took), (*out.mutable_input_percentile_stats())["End-to-end latency (s)"]);
}

void countContainers(const std::map<InstanceId, Instance>& instances, const Range& range, Response& out) {
  std::vector<double> startup;
  for (const auto& [id, instance] : instances) {
    const bool gone = instance.goneAt != Time{};
    if (instance.orderedAt == Time{} || instance.orderedAt >= range.until) continue;
    if (gone && instance.goneAt < range.since) continue;
    out.set_container_total_count(out.container_total_count() + 1);
    const bool ready = instance.readyAt != Time{};
    if (ready && range.contains(instance.readyAt)) {
      out.set_container_started_count(out.container_started_count() + 1);
      startup.push_back(secondsBetween(instance.orderedAt, instance.readyAt));
    }
    const Time done = ready ? instance.readyAt : instance.goneAt;
    if ((!ready && !gone) || done >= range.until)
      out.set_container_creating_at_end_count(out.container_creating_at_end_count() + 1);
    if (gone && instance.exitCode != 0 && range.contains(instance.goneAt))
      out.set_container_error_count(out.container_error_count() + 1);
  }
  if (!startup.empty())
    writePercentiles(std::move(startup), (*out.mutable_container_percentile_stats())["Startup time (s)"]);
}

Result<Response> stats(const ObjectParts& parts, const Caller& caller, const Request& in) {
  ASSIGN_OR_RETURN(auto function, parts.catalog.apps().get(FunctionId{in.function_id()}));
  if (function->workspace != caller.workspace)
    return makeError(Code::notFound, "Function '{}' not found", in.function_id());
  const auto timeOf = [](const google::protobuf::Timestamp& at) {
    return Time{Nanos{TimeUtil::TimestampToNanoseconds(at)}};
  };
  Range range{timeOf(in.since()), in.has_until() ? timeOf(in.until()) : parts.clock.now()};
  if (!in.has_since()) range.since = range.until - std::chrono::hours(1);
  if (range.since >= range.until) return makeError(Code::invalidArgument, "the range ends before it begins");

  std::set<FunctionId> variants;
  const auto counts = [&](const FunctionId& id, const InstanceId& instance) {
    if (!in.container_id().empty() && instance.str() != in.container_id()) return false;
    if (id == function->id) return true;
    const auto other = in.rollup() ? parts.catalog.apps().find(id) : nullptr;
    if (!other || other->boundFrom != function->id) return false;
    variants.insert(id);
    return true;
  };
  UsageQuery query{function->app, in.rollup() ? FunctionId{} : function->id, UsageKind::input, range.since, {}};
  ASSIGN_OR_RETURN(std::vector<UsageRecord> records, parts.store.usage(query));
  std::erase_if(records, [&](const UsageRecord& record) { return !counts(record.function, record.instance); });
  ASSIGN_OR_RETURN(const std::vector<Instance> stored, parts.store.instances(function->app, false, kMostInstances));
  std::map<InstanceId, Instance> instances;
  for (const Instance& instance : stored) instances[instance.id] = instance;
  for (const Instance& instance : parts.fleet.instances()) instances[instance.id] = instance;  // newer than stored
  std::erase_if(instances, [&](const auto& entry) { return !counts(entry.second.function, entry.first); });

  Response out;
  *out.mutable_since() = TimeUtil::NanosecondsToTimestamp(range.since.time_since_epoch().count());
  *out.mutable_until() = TimeUtil::NanosecondsToTimestamp(range.until.time_since_epoch().count());
  countInputs(std::move(records), range, out);
  countContainers(instances, range, out);
  const bool untilNow = range.until + std::chrono::seconds(1) >= parts.clock.now();
  if (untilNow && in.container_id().empty()) {
    int running = parts.fleet.stats(function->id).running;
    for (const FunctionId& id : variants) running += parts.fleet.stats(id).running;
    out.set_input_running_at_end_count(out.input_running_at_end_count() + running);
  }
  out.set_variant_count(static_cast<std::uint32_t>(variants.size()));
  return out;
}

}  // namespace

void registerFunctionStats(RpcServer& server, ObjectParts parts) {
  server.unary<Request, Response>("FunctionGetTimeRangeStats", {}, [parts](Context& context, Request request) {
    return stats(parts, context.caller, request);
  });
}

}  // namespace gridiron::edge
