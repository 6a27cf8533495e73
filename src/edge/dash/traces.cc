#include "edge/dash/traces.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "edge/dash/admin.h"
#include "edge/dash/names.h"
#include "edge/dash/reports.h"

namespace gridiron::edge {
namespace {

using nlohmann::json;

constexpr int kMostRecords = 20'000;       // of usage that are looked through for a call
constexpr int kMostOpen = 1000;            // inputs of a function that wait or run
constexpr std::size_t kMostParts = 12;     // of an import that are shown
constexpr int kMostStored = 5000;          // containers of an app that are looked through
constexpr std::size_t kMostStarts = 1000;  // of a function, the newest

double milliseconds(Nanos span) { return std::chrono::duration<double, std::milli>(span).count(); }
double rounded(double number) { return std::round(number * 100) / 100; }

// Of sorted samples, of which there is one at least.
double percentile(const std::vector<double>& sorted, double part) {
  const auto rank = static_cast<std::size_t>(std::ceil(part * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

struct ByName {
  bool operator()(const ImportPart& a, const ImportPart& b) const {
    return std::pair(a.own, a.name) < std::pair(b.own, b.name);
  }
};

// What the starts took for one phase.
struct Samples {
  std::vector<double> took;
  std::map<std::string, int> notes;

  double sum() const {
    double all = 0;
    for (const double each : took) all += each;
    return all;
  }
  std::string commonNote() const {
    const auto most =
        std::max_element(notes.begin(), notes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == notes.end() ? "" : most->first;
  }
  json toJson(double all) {
    std::sort(took.begin(), took.end());
    json row = {{"count", took.size()},
                {"p50_ms", rounded(percentile(took, 0.5))},
                {"p99_ms", rounded(percentile(took, 0.99))},
                {"share", all > 0 ? rounded(sum() / all) : 0}};
    if (const std::string note = commonNote(); !note.empty()) row["note"] = note;
    return row;
  }
};

std::string topOf(const std::string& module) { return module.substr(0, module.find_first_of(". ")); }

// "numpy: 61% of import; not learnt because it starts threads", of the dearest part.
std::string dearestPart(const std::map<ImportPart, Samples, ByName>& parts, double import,
                        const std::vector<std::string>& leftOut) {
  const auto most = std::max_element(parts.begin(), parts.end(),
                                     [](const auto& a, const auto& b) { return a.second.sum() < b.second.sum(); });
  const ImportPart& part = most->first;
  std::string line = fmt::format("{}: {:.0f}% of import", part.name, 100 * most->second.sum() / std::max(import, 1e-9));
  if (part.own) return line + "; the app's own module, which every container imports";
  const auto left =
      std::find_if(leftOut.begin(), leftOut.end(), [&](const auto& one) { return topOf(one) == part.name; });
  if (left == leftOut.end()) return line;
  std::string why = left->substr(std::min(left->find('('), left->size() - 1) + 1);
  while (!why.empty() && why.back() == ')') why.pop_back();
  const bool verb = topOf(why).ends_with('s') && !why.starts_with("its ");
  return line + fmt::format("; not learnt{} {}", verb ? " because it" : ":", why);
}

json phasesJson(const std::vector<StartPhase>& phases) {
  json list = json::array();
  for (const NotedPhase& phase : notedPhases(phases)) {
    json row = {{"name", phase.name}, {"ms", rounded(milliseconds(phase.took))}};
    if (!phase.note.empty()) row["note"] = phase.note;
    for (const ImportPart& part : phase.parts) {
      row["parts"].push_back({{"name", part.name}, {"own", part.own}, {"ms", rounded(milliseconds(part.took))}});
    }
    list.push_back(std::move(row));
  }
  return list;
}

// Inputs that wait or run now. What has been answered runs until its container says so, a moment later.
std::vector<UsageRecord> openInputs(const Calls* calls, Names& names) {
  std::vector<UsageRecord> out;
  for (const Demand& demand : calls == nullptr ? std::vector<Demand>{} : calls->demand()) {
    const auto function = names.findFunction(demand.function);
    for (const Input& input : calls->unsettled(demand.function, kMostOpen)) {
      UsageRecord record;
      record.id = input.attempt == 0 ? input.id.str() : fmt::format("{}/{}", input.id.str(), input.attempt);
      record.kind = UsageKind::input;
      if (function) record.app = function->app;
      record.function = input.function;
      record.instance = input.instance;
      record.queuedAt = input.createdAt;
      record.startedAt = input.startedAt;
      record.outcome = input.startedAt == Time{} ? "waiting" : "running";
      record.call = input.call;
      out.push_back(std::move(record));
    }
  }
  return out;
}

// The last starts of the function, newest last: also those of before the grid began, as far back as they are among the
// app's last.
std::vector<Instance> startsOf(const Fleet& fleet, Store& store, const AppId& app, const FunctionId& function) {
  std::map<InstanceId, Instance> all;
  const auto stored = store.instances(app, false, kMostStored);
  for (const Instance& instance : stored.ok() ? *stored : std::vector<Instance>{}) {
    if (instance.function == function && instance.readyAt != Time{}) all[instance.id] = instance;
  }
  for (Instance& instance : fleet.startsOf(function)) all[instance.id] = std::move(instance);
  std::vector<Instance> out;
  for (auto& [id, instance] : all) out.push_back(std::move(instance));
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.readyAt < b.readyAt; });
  if (out.size() > kMostStarts) out.erase(out.begin(), out.end() - kMostStarts);
  return out;
}

}  // namespace

std::vector<NotedPhase> notedPhases(const std::vector<StartPhase>& phases) {
  constexpr std::string_view kExec = "exec: ", kPackage = "import ", kOwn = "own import ";
  std::vector<NotedPhase> out;
  for (const StartPhase& phase : phases) {
    const bool package = phase.name.starts_with(kPackage), own = phase.name.starts_with(kOwn);
    if ((package || own) && !out.empty()) {
      out.back().parts.push_back({phase.name.substr((own ? kOwn : kPackage).size()), own, phase.took});
      continue;
    }
    const bool boot = phase.name == "exec" || phase.name.starts_with(kExec);
    const std::string note = phase.name.starts_with(kExec) ? phase.name.substr(kExec.size()) : "";
    out.push_back({boot ? "boot" : phase.name, note, phase.took, {}});
  }
  return out;
}

namespace {

// All that the starts took, by phase in the order that they come in.
struct Summed {
  std::map<std::string, Samples> byName;
  std::vector<std::string> order;
  std::map<ImportPart, Samples, ByName> parts;
  Samples totals;

  void add(const Instance& start) {
    double total = 0;
    for (const NotedPhase& phase : notedPhases(start.phases)) {
      if (!byName.contains(phase.name)) order.push_back(phase.name);
      Samples& samples = byName[phase.name];
      samples.took.push_back(milliseconds(phase.took));
      if (!phase.note.empty()) ++samples.notes[phase.note];
      for (const ImportPart& part : phase.parts) parts[part].took.push_back(milliseconds(part.took));
      total += milliseconds(phase.took);
    }
    totals.took.push_back(total);
  }

  std::string dearest() const {
    const auto less = [&](const auto& a, const auto& b) { return byName.at(a).sum() < byName.at(b).sum(); };
    return *std::max_element(order.begin(), order.end(), less);
  }

  // Of an import, the dearest first.
  json partsJson(double import) {
    std::vector<std::pair<double, json>> rows;
    for (auto& [part, samples] : parts) {
      json row = samples.toJson(import);
      row["name"] = part.name;
      row["own"] = part.own;
      rows.emplace_back(samples.sum(), std::move(row));
    }
    std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    json out = json::array();
    for (auto& [sum, row] : rows) {
      if (out.size() < kMostParts) out.push_back(std::move(row));
    }
    return out;
  }

  std::string dearestLine(double all, const std::vector<std::string>& leftOut) const {
    const std::string name = dearest();
    const Samples& samples = byName.at(name);
    const std::string line = fmt::format("{}: {:.0f}% of the starts", name, 100 * samples.sum() / std::max(all, 1e-9));
    if (name == "import" && !parts.empty()) return line + "; " + dearestPart(parts, samples.sum(), leftOut);
    if (name == "import" && !leftOut.empty()) return line + fmt::format("; not learnt: {}", fmt::join(leftOut, ", "));
    const std::string note = samples.commonNote();
    return note.empty() ? line : line + "; " + note;
  }
};

}  // namespace

json coldSummary(std::span<const Instance> starts, const std::vector<std::string>& leftOut) {
  Summed sums;
  for (const Instance& start : starts) sums.add(start);
  json out = {{"starts", starts.size()}, {"phases", json::array()}, {"dearest", ""}};
  if (sums.order.empty()) return out;
  const double all = sums.totals.sum();
  for (const std::string& name : sums.order) {
    Samples& samples = sums.byName[name];
    json row = samples.toJson(all);
    row["name"] = name;
    if (name == "import" && !sums.parts.empty()) row["parts"] = sums.partsJson(samples.sum());
    out["phases"].push_back(std::move(row));
  }
  out["total"] = sums.totals.toJson(all);
  out["dearest"] = sums.dearestLine(all, leftOut);
  return out;
}

// What became of a call, an input, or all that a container ran: where the time went.
AdminAnswer AdminApi::trace(const std::string& id) {
  if (!parts_.fleet) return adminErrorAnswer(Error{Code::unavailable, "no grid runs on this data folder"});
  if (auto flushed = parts_.meter.flush(); !flushed.ok()) return adminErrorAnswer(flushed.error());
  UsageQuery wanted;
  wanted.kind = UsageKind::input;
  wanted.order = UsageQuery::Order::newest;
  wanted.limit = kMostRecords;
  auto records = parts_.store.usage(wanted);
  if (!records.ok()) return adminErrorAnswer(records.error());
  Names names(parts_.store);
  const auto known = [this](const InstanceId& id) {
    auto found = parts_.fleet->find(id);
    if (found || id.empty()) return found;
    auto stored = parts_.store.instance(id);
    return stored.ok() ? *stored : std::nullopt;
  };
  json inputs = json::array();
  std::vector<UsageRecord> all = openInputs(parts_.calls, names);
  all.insert(all.end(), records->begin(), records->end());
  for (const UsageRecord& record : all) {
    const std::string input = record.id.substr(0, record.id.find('/'));
    if (id != record.call.str() && id != input && id != record.id && id != record.instance.str()) continue;
    const auto instance = known(record.instance);
    const Time begun = record.startedAt != Time{} ? record.startedAt : parts_.clock.now();
    json row = {{"input", record.id},
                {"call", record.call.str()},
                {"container", record.instance.str()},
                {"app", names.app(record.app)},
                {"function", names.function(record.function, record.app)},
                {"queued_at", momentJson(record.queuedAt)},
                {"outcome", record.outcome},
                {"wait_ms", rounded(milliseconds(begun - record.queuedAt))},
                {"run_ms", record.endedAt == Time{} ? json(nullptr)
                                                    : json(rounded(milliseconds(record.endedAt - record.startedAt)))}};
    row["cold"] = instance && instance->readyAt > record.queuedAt;
    row["phases"] = row["cold"].get<bool>() ? phasesJson(instance->phases) : json::array();
    inputs.push_back(std::move(row));
  }
  if (inputs.empty())
    return adminErrorAnswer(makeError(Code::notFound, "nothing is known of {}: a call, an input or a container", id));
  return {200, {{"inputs", inputs}}};
}

// The last cold starts of the functions that are called so ("function" or "app/function", or an id).
AdminAnswer AdminApi::coldStarts(const std::string& asked) {
  if (!parts_.fleet) return adminErrorAnswer(Error{Code::unavailable, "no grid runs on this data folder"});
  Names names(parts_.store);
  for (const App& app : liveApps(parts_.catalog)) {
    for (const auto& [tag, id] : app.functions) {
      if (asked != tag && asked != id.str() && asked != names.app(app.id) + "/" + tag) continue;
      const std::vector<Instance> starts = startsOf(*parts_.fleet, parts_.store, app.id, id);
      const auto function = names.findFunction(id);
      std::vector<std::string> leftOut;
      for (const Worker& worker : parts_.fleet->workers()) {
        for (const ZygoteView& zygote : worker.zygotes) {
          if (function && zygote.image == function->image) leftOut = zygote.leftOut;
        }
      }
      json summary = coldSummary(starts, leftOut);
      summary["app"] = names.app(app.id);
      summary["function"] = tag;
      return {200, summary};
    }
  }
  return adminErrorAnswer(makeError(Code::notFound, "no live app has a function {}", asked));
}

}  // namespace gridiron::edge
