// Containers that are started before anything waits for them.
#include <algorithm>

#include "fleet/ground.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;

constexpr Nanos kMargin = 200ms;      // beside what a start takes
constexpr Nanos kScheduledLate = 3s;  // a function's own schedule is kept to the second
constexpr int kRecordsRead = 5000;    // of earlier containers, after a restart

}  // namespace

bool Fleet::Impl::predicts(const Function& function) const {
  return options.predicts && !function.isBuilder && options.predicts(function);
}

void Fleet::Impl::noteArrival(const FunctionId& id, Time at) {
  const auto entry = served.find(id);
  if (entry == served.end() || !entry->second.function || !predicts(*entry->second.function)) return;
  auto& sight = foresight[id];
  sight.arrivals.note(at);
  sight.stale = true;
}

// When the next start ahead shall begin, and when what was not used by then goes.
std::optional<Fleet::Foreseen> Fleet::Impl::foresee(const FunctionId& id, Foresight& sight) const {
  const Time now = clock.now();
  if (const auto next = options.scheduled ? options.scheduled(id) : std::nullopt) {
    sight.forecast = plan::Forecast{*next, Nanos{0}, kScheduledLate, 1, "its schedule"};
  } else if (std::exchange(sight.stale, false) || (sight.forecast && now > sight.forecast->until())) {
    sight.forecast = plan::forecast(sight.arrivals.all(), now);
  }
  if (!sight.forecast) return std::nullopt;
  Foreseen out{*sight.forecast, {}, {}};
  out.startAt = sight.forecast->from() - sight.starts.p90() - kMargin;
  out.stopAt = sight.forecast->until();
  return out;
}

// Is one to be there now? Looks again when that changes.
bool Fleet::Impl::wantsAhead(const FunctionId& id, const Function& function) {
  if (!predicts(function)) return false;
  auto& sight = foresight[id];
  const auto next = foresee(id, sight);
  if (!next) return false;
  const Time now = clock.now();
  // What is there stays, also when starts turn out to take less than was thought.
  if (now < next->startAt && sight.startedFor != next->forecast.due) {
    sooner(again, next->startAt);
    return false;
  }
  if (now > next->stopAt) return false;
  sooner(again, next->stopAt + 1ms);
  return true;
}

void Fleet::Impl::noteStartAhead(const FunctionId& id) {
  auto& sight = foresight[id];
  ++sight.started;
  if (sight.forecast) sight.startedFor = sight.forecast->due;
}

void Fleet::Impl::usedAhead(Record& record, Time queuedAt) {
  auto& instance = record.instance;
  if (!instance.ahead || instance.usedAt != Time{}) return;
  noteArrival(instance.function, queuedAt);
  instance.usedAt = clock.now();
  dirty.insert(instance.id);
  meter.container(instance);
  auto& sight = foresight[instance.function];
  ++sight.hits;
  sight.unused += std::max(instance.usedAt - instance.readyAt, Nanos{0});
}

// What is known of earlier starts, from their records: the first of each stretch of use, and how long they took.
void Fleet::Impl::recallArrivals() {
  if (!options.predicts) return;
  UsageQuery query;
  query.kind = UsageKind::container;
  query.order = UsageQuery::Order::newest;
  query.limit = kRecordsRead;
  const auto records = store.usage(query);
  if (!records.ok()) return;  // they are learnt again
  std::map<FunctionId, Time> until;
  for (auto record = records->rbegin(); record != records->rend(); ++record) {
    const auto function = functions.find(record->function);
    if (!function || !predicts(*function)) continue;
    auto& sight = foresight[record->function];
    sight.stale = true;
    sight.starts.note(record->startedAt - record->queuedAt);
    auto& last = until[record->function];
    const Time at = record->ahead ? record->usedAt : record->queuedAt;
    if (at != Time{} && at >= last) sight.arrivals.note(at);
    last = std::max(last, record->endedAt);
  }
}

std::optional<Fleet::Foreseen> Fleet::foreseen(const FunctionId& id) const {
  const auto entry = impl_->served.find(id);
  if (entry == impl_->served.end() || !entry->second.function || !impl_->predicts(*entry->second.function))
    return std::nullopt;
  return impl_->foresee(id, impl_->foresight[id]);
}

Fleet::AheadCounts Fleet::aheadCounts(const FunctionId& id) const {
  const auto found = impl_->foresight.find(id);
  if (found == impl_->foresight.end()) return {};
  return {found->second.started, found->second.hits, found->second.unused};
}

}  // namespace gridiron
