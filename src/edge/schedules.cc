#include "edge/schedules.h"

#include <spdlog/spdlog.h>

#include "wire/functions.h"

namespace gridiron::edge {

namespace {

constexpr const char* kKind = "schedule";  // id: the function's; created when it ran last
// ((), {}) as a pickle, which every client version reads.
constexpr char kNoArguments[] = {'\x80', '\x03', ')', '}', '\x86', '.'};

}  // namespace

Schedules::Schedules(Store& store, Calls& calls, const Apps& apps, const Clock& clock)
    : store_(store), calls_(calls), apps_(apps), clock_(clock) {}

Result<void> Schedules::load() {
  ObjectQuery query;
  query.kind = kKind;
  ASSIGN_OR_RETURN(const std::vector<Object> runs, store_.list(query));
  std::map<FunctionId, Time> ranAt;
  for (const Object& object : runs) ranAt[FunctionId{object.id}] = object.createdAt;
  for (const App& app : apps_.list("")) read(app, ranAt);
  return {};
}

void Schedules::read(const App& app, const std::map<FunctionId, Time>& ranAt) {
  if (app.state != AppState::deployed) return;
  for (const auto& function : apps_.functionsOf(app)) {
    const std::optional<plan::Schedule> schedule = wire::scheduleOf(*function);
    const auto known = entries_.find(function->id);
    if (!schedule) {
      if (known != entries_.end()) entries_.erase(known);
      continue;
    }
    // Only another scaling, say: what is due stays due.
    if (known != entries_.end() && known->second.schedule == *schedule && known->second.base == app.deployedAt)
      continue;
    Entry entry{app.id, *schedule, app.deployedAt, {}};
    const auto ran = ranAt.find(function->id);
    const Time last = ran == ranAt.end() ? entry.base : std::max(entry.base, ran->second);
    entry.next = plan::nextRun(entry.schedule, entry.base, entry.schedule.cron.empty() ? last : clock_.now());
    entries_[function->id] = entry;
  }
}

void Schedules::turn() {
  const Time now = clock_.now();
  for (auto& [function, entry] : entries_) {
    if (!entry.next || *entry.next > now) continue;
    run(function, entry);
    entry.next = plan::nextRun(entry.schedule, entry.base, now);
  }
}

void Schedules::run(const FunctionId& function, Entry& entry) {
  CallOptions options;
  options.function = function;
  options.mode = CallMode::async;
  entry.next.reset();
  // The run and the note of it are one change: after a crash there are both or neither.
  const auto note = Batch().put(Object{kKind, function.str(), "", "", "", true, clock_.now(), ""});
  const Result<CallId> call = calls_.open(options);
  Result<void> done = call.ok() ? Result<void>() : Result<void>(call.error());
  if (call.ok()) {
    std::vector<NewInput> inputs(1);
    inputs.front().args = Payload{DataFormat::pickle, std::string(kNoArguments, sizeof kNoArguments), {}};
    const auto accepted = calls_.put(*call, std::move(inputs), note);
    if (accepted.ok()) return;
    done = accepted.error();
    (void)calls_.cancel(*call);
  }
  spdlog::warn("a scheduled run of {} is left out: {}", function.str(), done.error().message);
  if (const auto noted = store_.apply(note); !noted.ok())
    spdlog::warn("the run of {} on schedule is not noted: {}", function.str(), noted.error().message);
}

std::optional<Schedules::Planned> Schedules::of(const FunctionId& function) const {
  const auto found = entries_.find(function);
  if (found == entries_.end()) return std::nullopt;
  return Planned{found->second.schedule, found->second.next};
}

void Schedules::functionChanged(const Function& function) {
  // Its neighbours too: the deployment is theirs as well.
  if (const auto app = apps_.get(function.app); app.ok()) read(*app, {});
}

void Schedules::functionRemoved(const Function& function, const std::string&) { entries_.erase(function.id); }

void Schedules::appStopped(const App& app, const std::string&) {
  std::erase_if(entries_, [&](const auto& entry) { return entry.second.app == app.id; });
}

bool mayStartAhead(const App& app, bool byGrid) {
  const auto tag = app.tags.find("predict");
  return tag == app.tags.end() ? byGrid : tag->second == "on";
}

}  // namespace gridiron::edge
