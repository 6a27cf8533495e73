#include "plan/scale.h"

#include <algorithm>

namespace gridiron::plan {
namespace {

// The client's loop settles a web input some milliseconds after its response has gone out. Who calls again at once must
// not get a second container for it, so where containers are ready a queue lasts at least so long before one is added.
constexpr Nanos kSettling = std::chrono::milliseconds(50);

int containersFor(int inputs, int slots) { return inputs <= 0 ? 0 : (inputs + slots - 1) / slots; }

constexpr Nanos kSoon = std::chrono::seconds(1);

// Containers that run what waits within kSoon, when inputs are short: not one each.
int containersByRate(const FunctionView& v, Time now) {
  const auto work = v.runTime.count() * v.queued;
  const auto each = kSoon.count() * v.slots;
  const auto seconds = std::clamp<std::int64_t>((now - v.oldestQueued) / kSoon, 0, 20);
  const auto containers = ((work + each - 1) / each) << seconds;
  return static_cast<int>(std::min<std::int64_t>(containers, containersFor(v.queued, v.slots)));
}

void sooner(std::optional<Time>& at, Time other) {
  if (!at || other < *at) at = other;
}

// What the function shall have, all told, before the maximum.
int wanted(const FunctionView& v, int live, bool mayGrow, Time now) {
  const bool isShort = v.runTime > Nanos{0} && v.runTime < kSoon;  // who is busy now serves the queue in a moment
  int freeSlots = v.starting * v.slots;
  for (const auto& c : v.ready) freeSlots += std::max(v.slots - c.held, 0);
  const int inUse = isShort ? std::max(containersFor(v.running, v.slots), containersByRate(v, now))
                            : containersFor(v.queued + v.running, v.slots);
  int total = inUse;
  if (inUse > 0) total = std::max(total, inUse + v.scaling.bufferContainers);
  if (!isShort && v.queued > freeSlots) total = std::max(total, live + containersFor(v.queued - freeSlots, v.slots));
  if (!mayGrow) total = std::min(total, live);
  return std::max(total, v.scaling.minContainers);
}

void letGo(const FunctionView& v, int live, int keep, int most, Time now, Scale& plan) {
  auto idle = v.ready;
  std::erase_if(idle, [](const ReadyContainer& c) { return c.held > 0; });
  std::stable_sort(idle.begin(), idle.end(), [](const auto& a, const auto& b) { return a.idleSince < b.idleSince; });
  for (const auto& c : idle) {
    if (live <= keep) return;
    const auto end = c.idleSince + v.scaling.scaledownWindow;
    if (live <= most && now < end) {
      sooner(plan.again, end);
      return;  // the others are idle for a shorter time
    }
    plan.drain.push_back(c.id);
    --live;
  }
}

}  // namespace

Nanos backoff(int failures) {
  if (failures <= 0) return Nanos{0};
  return std::min<Nanos>(std::chrono::seconds(1) * (1 << std::min(failures - 1, 6)), std::chrono::seconds(60));
}

Scale scale(const FunctionView& view, Time now) {
  FunctionView v = view;
  v.slots = std::max(v.slots, 1);
  if (v.runTime > Nanos{0} && v.runningFor >= kSoon) v.runTime = std::max(v.runTime, v.runningFor);
  Scale plan;
  const int live = static_cast<int>(v.ready.size()) + v.starting;
  const Nanos window = std::max(v.scaling.scaleupWindow, v.ready.empty() ? Nanos{0} : kSettling);
  const bool waits = live > 0 && v.queued > 0 && now < v.oldestQueued + window;
  if (waits) sooner(plan.again, v.oldestQueued + window);
  if (v.queued > 0 && v.runTime > Nanos{0} && v.runTime < kSoon) {
    sooner(plan.again, v.oldestQueued + (std::max<std::int64_t>((now - v.oldestQueued) / kSoon, 0) + 1) * kSoon);
    if (v.running > 0) sooner(plan.again, now + kSoon - v.runningFor);
  }
  const int most = v.scaling.maxContainers > 0 ? std::max(v.scaling.maxContainers - v.leaving, 0) : 1'000'000;
  const int needed = std::min(wanted(v, live, !waits, now), most);
  const int total = std::max(needed, std::min(v.ahead, most));
  plan.start = std::max(total - live, 0);
  if (plan.start > 0 && v.failures > 0) {
    const auto next = v.lastFailure + backoff(v.failures);
    plan.start = now < next || v.starting > 0 ? 0 : 1;
    if (now < next) sooner(plan.again, next);
  }
  plan.ahead = std::min(plan.start, total - std::max(needed, std::min(live, total)));
  letGo(v, live, total, most, now, plan);
  return plan;
}

}  // namespace gridiron::plan
