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
constexpr std::size_t kMostStarts = 1000;  // of a function, the newest

double milliseconds(Nanos span) { return std::chrono::duration<double, std::milli>(span).count(); }
double rounded(double number) { return std::round(number * 100) / 100; }

// Of sorted samples, of which there is one at least.
double percentile(const std::vector<double>& sorted, double part) {
  const auto rank = static_cast<std::size_t>(std::ceil(part * static_cast<double>(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

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

std::string dearestLine(const std::string& name, const Samples& samples, double all,
                        const std::vector<std::string>& leftOut) {
  std::string line = fmt::format("{}: {:.0f}% of the starts", name, 100 * samples.sum() / all);
  if (name == "import" && !leftOut.empty()) return line + fmt::format("; not learnt: {}", fmt::join(leftOut, ", "));
  const std::string note = samples.commonNote();
  return note.empty() ? line : line + "; " + note;
}

json phasesJson(const std::vector<StartPhase>& phases) {
  json list = json::array();
  for (const NotedPhase& phase : notedPhases(phases)) {
    json row = {{"name", phase.name}, {"ms", rounded(milliseconds(phase.took))}};
    if (!phase.note.empty()) row["note"] = phase.note;
    list.push_back(std::move(row));
  }
  return list;
}

// Inputs that run now, each alone in its container. What has been answered runs until its container says so, a moment
// later.
std::vector<UsageRecord> runningInputs(const Fleet& fleet, const Calls* calls) {
  std::vector<UsageRecord> out;
  for (const Instance& instance : fleet.instances()) {
    const auto input = calls == nullptr ? std::nullopt : calls->currentInput(instance.id);
    if (!input) continue;
    UsageRecord record;
    record.id = input->attempt == 0 ? input->id.str() : fmt::format("{}/{}", input->id.str(), input->attempt);
    record.kind = UsageKind::input;
    record.app = instance.app;
    record.function = instance.function;
    record.instance = instance.id;
    record.queuedAt = input->createdAt;
    record.startedAt = input->startedAt;
    record.outcome = "running";
    record.call = input->call;
    out.push_back(std::move(record));
  }
  return out;
}

}  // namespace

std::vector<NotedPhase> notedPhases(const std::vector<StartPhase>& phases) {
  constexpr std::string_view kExec = "exec: ";
  std::vector<NotedPhase> out;
  for (const StartPhase& phase : phases) {
    const bool boot = phase.name == "exec" || phase.name.starts_with(kExec);
    const std::string note = phase.name.starts_with(kExec) ? phase.name.substr(kExec.size()) : "";
    out.push_back({boot ? "boot" : phase.name, note, phase.took});
  }
  return out;
}

json coldSummary(std::span<const Instance> starts, const std::vector<std::string>& leftOut) {
  std::map<std::string, Samples> byName;
  std::vector<std::string> order;
  Samples totals;
  for (const Instance& start : starts) {
    double total = 0;
    for (const NotedPhase& phase : notedPhases(start.phases)) {
      if (!byName.contains(phase.name)) order.push_back(phase.name);
      Samples& samples = byName[phase.name];
      samples.took.push_back(milliseconds(phase.took));
      if (!phase.note.empty()) ++samples.notes[phase.note];
      total += milliseconds(phase.took);
    }
    totals.took.push_back(total);
  }
  json out = {{"starts", starts.size()}, {"phases", json::array()}, {"dearest", ""}};
  if (starts.empty()) return out;
  const double all = totals.sum();
  std::string dearest = order.front();
  for (const std::string& name : order) {
    if (byName[name].sum() > byName[dearest].sum()) dearest = name;
  }
  for (const std::string& name : order) {
    json row = byName[name].toJson(all);
    row["name"] = name;
    out["phases"].push_back(std::move(row));
  }
  out["total"] = totals.toJson(all);
  out["dearest"] = dearestLine(dearest, byName[dearest], all, leftOut);
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
  json inputs = json::array();
  std::vector<UsageRecord> all = runningInputs(*parts_.fleet, parts_.calls);
  all.insert(all.end(), records->begin(), records->end());
  for (const UsageRecord& record : all) {
    const std::string input = record.id.substr(0, record.id.find('/'));
    if (id != record.call.str() && id != input && id != record.id && id != record.instance.str()) continue;
    json row = {{"input", record.id},
                {"call", record.call.str()},
                {"container", record.instance.str()},
                {"app", names.app(record.app)},
                {"function", names.function(record.function, record.app)},
                {"queued_at", momentJson(record.queuedAt)},
                {"outcome", record.outcome},
                {"wait_ms", rounded(milliseconds(record.startedAt - record.queuedAt))},
                {"run_ms", record.endedAt == Time{} ? json(nullptr)
                                                    : json(rounded(milliseconds(record.endedAt - record.startedAt)))}};
    const auto instance = parts_.fleet->find(record.instance);
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
      std::vector<Instance> starts = parts_.fleet->startsOf(id);
      if (starts.size() > kMostStarts) starts.erase(starts.begin(), starts.end() - kMostStarts);
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
