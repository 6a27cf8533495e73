#include "meter/meter.h"

#include <algorithm>

namespace gridiron {
namespace {

void add(UsageSum& sum, const UsageRecord& record, Time from, Time to) {
  const auto took = std::max(to - from, Nanos{0});
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
  if (record.kind == UsageKind::input) {
    ++sum.inputs;
    sum.inputMillis += millis;
    sum.failedInputs += record.outcome != nameOf(OutcomeStatus::success);
    return;
  }
  const double seconds = static_cast<double>(millis) / 1000;
  ++sum.containers;
  if (record.ahead) {
    ++sum.aheadContainers;
    const bool used = record.usedAt != Time{};
    sum.aheadHits += used;
    const auto unused = std::max((used ? std::min(record.usedAt, to) : to) - from, Nanos{0});
    sum.aheadUnusedMillis += std::chrono::duration_cast<std::chrono::milliseconds>(unused).count();
  }
  sum.containerMillis += millis;
  sum.cpuSeconds += seconds * static_cast<double>(record.resources.milliCpu) / 1000;
  sum.memoryGibSeconds += seconds * static_cast<double>(record.resources.memoryMb) / 1024;
  if (record.resources.gpuCount > 0) sum.gpuSeconds[record.resources.gpuType] += seconds * record.resources.gpuCount;
}

}  // namespace

void Meter::container(const Instance& instance) {
  if (instance.readyAt == Time{}) return;
  UsageRecord record;
  record.id = instance.id.value;
  record.kind = UsageKind::container;
  record.app = instance.app;
  record.function = instance.function;
  record.instance = instance.id;
  record.resources = instance.resources;
  record.queuedAt = instance.orderedAt;
  record.startedAt = instance.readyAt;
  record.endedAt = instance.goneAt;
  record.outcome = instance.why;
  record.ahead = instance.ahead;
  record.usedAt = instance.usedAt;
  pending_[record.id] = std::move(record);
}

void Meter::input(UsageRecord record) { pending_[record.id] = std::move(record); }

Result<void> Meter::closeOpen(const std::set<InstanceId>& alive) {
  UsageQuery query;
  query.kind = UsageKind::container;
  query.since = clock_.now();  // and what has not ended
  ASSIGN_OR_RETURN(auto records, store_.usage(query));
  for (auto& record : records) {
    if (record.endedAt != Time{} || alive.contains(record.instance) || pending_.contains(record.id)) continue;
    record.endedAt = record.startedAt;
    record.outcome = "control was restarted";
    pending_[record.id] = std::move(record);
  }
  return {};
}

Result<void> Meter::flush(std::size_t most) {
  if (pending_.empty()) return {};
  Batch batch;
  std::vector<std::string> ids;
  for (auto at = pending_.upper_bound(written_); ids.size() < std::min(most, pending_.size()); ++at) {
    if (at == pending_.end()) at = pending_.begin();
    ids.push_back(at->first);
    batch.put(at->second);
  }
  RETURN_IF_ERROR(store_.apply(batch));
  for (const std::string& id : ids) pending_.erase(id);
  written_ = ids.back();
  return {};
}

Result<std::vector<UsageSum>> Meter::sum(Time since, Time until, UsageBy by) {
  UsageQuery query;
  query.since = since;
  query.until = until;
  ASSIGN_OR_RETURN(auto records, store_.usage(query));
  std::map<std::string, UsageRecord> newest;
  for (auto& record : records) newest[record.id] = std::move(record);
  for (const auto& [id, record] : pending_) newest[id] = record;
  std::map<std::pair<AppId, FunctionId>, UsageSum> sums;
  for (const auto& [id, record] : newest) {
    const auto end = record.endedAt == Time{} ? clock_.now() : record.endedAt;
    if (end < since || record.startedAt >= until) continue;
    const auto function = by == UsageBy::function ? record.function : FunctionId{};
    auto& sum = sums[{record.app, function}];
    sum.app = record.app;
    sum.function = function;
    add(sum, record, std::max(record.startedAt, since), std::min(end, until));
  }
  std::vector<UsageSum> list;
  for (auto& [key, sum] : sums) list.push_back(std::move(sum));
  return list;
}

}  // namespace gridiron
