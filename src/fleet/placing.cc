#include <algorithm>

#include "fleet/ground.h"

namespace gridiron {
namespace {

// So long a container that runs nothing stays for who may come back, whoever else wants its room: but not before a
// function that has none.
constexpr Nanos kWarm = std::chrono::seconds(10);
// So long one that was told to make room is waited for, before another is told.
constexpr Nanos kYielding = std::chrono::seconds(5);
// And so long, where no other may be told: then small containers may have the gap.
constexpr Nanos kSlowest = std::chrono::minutes(1);
// A container that starts computes for about so long (it imports). More at once than there are cores are ready no
// sooner, and what runs beside them is slower.
constexpr Nanos kComputing = std::chrono::seconds(2);

bool isWeb(const Function& function) {
  return function.web.kind != WebKind::none ||
         std::any_of(function.methods.begin(), function.methods.end(),
                     [](const Method& method) { return method.web.kind != WebKind::none; });
}

}  // namespace

plan::Claim Fleet::Impl::claimOf(const Function& function, int count, Time since) const {
  const bool works = calls.demandOf(function.id).queued > 0;
  return {function.workspace, function.id, withDefaults(function.resources), count, works, isWeb(function), since};
}

std::vector<plan::WorkerView> Fleet::Impl::workerViews() const {
  std::vector<plan::WorkerView> views;
  std::unordered_map<WorkerId, std::size_t> places;
  for (const auto& [id, entry] : workers) {
    if (!entry.port) continue;
    const auto& w = entry.worker;
    places[id] = views.size();
    views.push_back({id, w.milliCpu, w.milliCpu, w.memoryMb, w.memoryMb, w.gpus, w.gpus});
  }
  for (const auto& [instance, record] : records) {
    const auto place = places.find(record.instance.worker);
    if (place == places.end()) continue;
    auto& view = views[place->second];
    view.freeMilliCpu -= record.reserved.milliCpu;
    view.freeMemoryMb -= record.reserved.memoryMb;
    for (int i = 0; i < record.reserved.gpuCount; ++i) {
      const auto gpu = std::find_if(view.freeGpus.begin(), view.freeGpus.end(), [&](const std::string& has) {
        return plan::gpuFits(record.reserved.gpuType, has);
      });
      if (gpu != view.freeGpus.end()) view.freeGpus.erase(gpu);
    }
  }
  return views;
}

// What there will be when those have gone that are about to: those that run nothing, and those that were told to make
// room so lately.
std::vector<plan::WorkerView> Fleet::Impl::viewsSoon(Nanos yielding) {
  auto views = workerViews();
  for (const auto& [id, record] : records) {
    const auto& instance = record.instance;
    if (instance.state != InstanceState::draining) continue;
    const bool yields = clock.now() < record.yieldedAt + yielding;
    if (yields) sooner(again, record.yieldedAt + yielding);
    if (calls.heldBy(id) > 0 && !yields) continue;
    const auto view = std::find_if(views.begin(), views.end(), [&](const auto& v) { return v.id == instance.worker; });
    if (view == views.end()) continue;
    view->freeMilliCpu += record.reserved.milliCpu;
    view->freeMemoryMb += record.reserved.memoryMb;
    view->freeGpus.insert(view->freeGpus.end(), static_cast<std::size_t>(record.reserved.gpuCount),
                          record.reserved.gpuType);
  }
  return views;
}

// One container after another, each for whose turn it is. What finds no room waits: claims are made anew each turn.
void Fleet::Impl::placeAll(std::vector<plan::Claim> claims) {
  std::map<std::size_t, InstanceId> named;  // builders: their containers have a name already
  for (const auto& [id, record] : records) {
    if (!record.instance.worker.empty()) continue;
    named[claims.size()] = id;
    claims.push_back(claimOf(*record.function, 1, record.instance.wantedAt));
  }
  if (claims.empty()) return;
  const auto views = workerViews();
  plan::Placer placer(views);
  std::optional<plan::Placer> soon;
  plan::Shares shares(views);
  for (const auto& [id, record] : records) {
    const bool stays = !record.instance.worker.empty() && record.instance.state != InstanceState::draining;
    if (stays) shares.add(record.function->workspace, record.instance.function, record.reserved);
  }
  auto starts = startsThatCompute(placer);
  while (const auto next = shares.next(claims)) {
    auto& claim = claims[*next];
    // Who has none does not stand behind others' further ones.
    const auto crowded = shares.hasNone(claim) ? plan::Placer::Crowded::take : plan::Placer::Crowded::avoid;
    const auto placement = placer.place(claim.each, crowded);
    if (placement && order(recordFor(claim, named[*next]), *placement)) {
      shares.add(claim.workspace, claim.function, placement->reserved);
      if (++starts[placement->worker] >= startsAtOnce(placement->worker)) placer.crowd(placement->worker);
      sooner(again, clock.now() + kComputing);
      --claim.count;
      continue;
    }
    claim.count = 0;
    if (placement || placer.fits(claim.each)) continue;
    if (const auto why = plan::impossible(claim.each, views)) {
      refuse(recordFor(claim, named[*next]), *why);
    } else if (claim.works) {  // a minimum does not push out others
      if (!soon) soon.emplace(viewsSoon(kYielding));
      const auto later = soon->place(claim.each);
      auto worker = later ? later->worker : makeRoom(claim, shares);
      // Nobody else may be told: those that were are waited for.
      if (worker.empty()) {
        const auto last = plan::Placer(viewsSoon(kSlowest)).place(claim.each);
        if (last) worker = last->worker;
      }
      // What is made room for is not overtaken by what needs less of it.
      if (!worker.empty()) placer.withhold(worker);
    }
  }
}

int Fleet::Impl::startsAtOnce(const WorkerId& worker) const {
  const auto it = workers.find(worker);
  return it == workers.end() ? 0 : std::max(static_cast<int>(it->second.worker.milliCpu / 1000), 2);
}

// How many containers begin on each worker just now. Those with enough of them are crowded.
std::map<WorkerId, int> Fleet::Impl::startsThatCompute(plan::Placer& placer) {
  std::map<WorkerId, int> starts;
  for (const auto& [id, record] : records) {
    const auto& instance = record.instance;
    if (instance.worker.empty() || instance.state != InstanceState::starting) continue;
    const auto until = instance.orderedAt + kComputing;
    if (clock.now() >= until) continue;
    sooner(again, until);
    if (++starts[instance.worker] >= startsAtOnce(instance.worker)) placer.crowd(instance.worker);
  }
  return starts;
}

Fleet::Impl::Record& Fleet::Impl::recordFor(const plan::Claim& claim, const InstanceId& name) {
  if (!name.empty()) return records.at(name);
  const auto& function = served.at(claim.function).function;
  Record record;
  record.instance.id = newInstanceId();
  record.instance.function = claim.function;
  record.instance.app = function->app;
  record.instance.definition = function->definitionId;
  record.instance.resources = claim.each;
  record.instance.wantedAt = claim.since;
  record.instance.ahead = claim.ahead;
  if (claim.ahead) noteStartAhead(claim.function);
  record.claimedAt = served.at(claim.function).claimedAt;
  record.function = function;
  return records.emplace(record.instance.id, std::move(record)).first->second;
}

// Tells idle containers to go, or else busy ones of those who have more. The worker on which there will be room; "": on
// none.
WorkerId Fleet::Impl::makeRoom(const plan::Claim& claim, const plan::Shares& shares) {
  const auto views = workerViews();
  auto going = plan::evict(claim.each, views, idleFor(claim));
  std::string why = "made room for another function";
  if (going.empty()) {
    const auto busyAll = busyOnes();
    for (const auto& busy : busyAll) {
      if (const auto turn = busy.readyAt + plan::Shares::kTurn; clock.now() < turn) sooner(again, turn);
    }
    const auto makingRoom = [&](const std::vector<plan::Busy>& all) {
      std::vector<plan::Evictable> yielding;
      for (const auto& busy : all) yielding.push_back({busy.id, busy.worker, busy.reserved, busy.readyAt});
      return plan::evict(claim.each, views, std::move(yielding));
    };
    going = makingRoom(shares.mayYield(claim, busyAll));
    if (going.empty()) going = makingRoom(shares.mayTakeTurns(claim, busyAll, clock.now()));
    why = "made room for a function that has less";
  }
  WorkerId worker;
  for (const auto& id : going) {
    auto* record = find(id);
    if (!record) continue;
    worker = record->instance.worker;
    record->yieldedAt = clock.now();
    drain(*record, why);
  }
  return worker;
}

// How many containers of each function are ready beyond its minimum.
std::map<FunctionId, int> Fleet::Impl::spare() const {
  std::map<FunctionId, int> count;
  for (const auto& [id, record] : records) {
    if (record.instance.state == InstanceState::ready) ++count[record.instance.function];
  }
  for (auto& [id, ready] : count) {
    const auto entry = served.find(id);
    if (entry != served.end() && entry->second.function && entry->second.deployed)
      ready -= entry->second.function->scaling.minContainers;
  }
  return count;
}

std::vector<plan::Evictable> Fleet::Impl::idleFor(const plan::Claim& claim) {
  const bool hasNone = std::none_of(records.begin(), records.end(), [&](const auto& entry) {
    const auto& instance = entry.second.instance;
    return instance.function == claim.function && !instance.worker.empty() && instance.state != InstanceState::draining;
  });
  std::vector<plan::Evictable> idle;
  auto left = spare();
  for (const auto& [id, record] : records) {
    const auto& function = record.instance.function;
    if (record.instance.state != InstanceState::ready || function == claim.function) continue;
    if (record.unheard || calls.heldBy(id) > 0 || calls.demandOf(function).queued > 0 || left[function] <= 0) continue;
    const auto warmUntil = record.idleSince + kWarm;
    if (!hasNone && clock.now() < warmUntil) {
      sooner(again, warmUntil);
      continue;
    }
    --left[function];
    idle.push_back({id, record.instance.worker, record.reserved, record.idleSince});
  }
  return idle;
}

std::vector<plan::Busy> Fleet::Impl::busyOnes() const {
  std::vector<plan::Busy> all;
  auto left = spare();
  for (const auto& [id, record] : records) {
    const auto& instance = record.instance;
    const bool busy = calls.heldBy(id) > 0 || calls.demandOf(instance.function).queued > 0;
    if (instance.state != InstanceState::ready || record.once || !busy) continue;
    if (left[instance.function]-- <= 0) continue;
    all.push_back(
        {id, record.function->workspace, instance.function, instance.worker, record.reserved, instance.readyAt});
  }
  return all;
}

void Fleet::Impl::refuse(Record& record, const std::string& why) {
  const auto id = record.instance.id;
  countFailure(record, initFailure(why), 0);
  bury(id, why, Blame::grid);
}

// False: it could not be ordered, what waited has been told.
bool Fleet::Impl::order(Record& record, const plan::Placement& placement) {
  auto& instance = record.instance;
  auto order = orders.compose(instance, *record.function);
  if (!order.ok()) {
    refuse(record, order.error().message);
    return false;
  }
  const auto worker = workers.find(placement.worker);
  GRID_CHECK(worker != workers.end() && worker->second.port);
  instance.worker = placement.worker;
  instance.orderedAt = clock.now();
  record.reserved = placement.reserved;
  record.stopAt = clock.now() + (record.once ? record.function->timeout : Nanos{}) + record.function->startupTimeout;
  order->instance = instance.id;
  order->function = instance.function;
  order->resources = placement.reserved;
  order->prompt = isWeb(*record.function);
  worker->second.port->start(*order);
  changed(instance);
  return true;
}

}  // namespace gridiron
