#include "edge/dash/reports.h"

#include <cmath>

namespace gridiron::edge {
namespace {

using nlohmann::json;

double seconds(Nanos span) { return std::chrono::duration<double>(span).count(); }
double seconds(std::int64_t millis) { return static_cast<double>(millis) / 1000; }

// Since when the container has been in its state.
Time stateSince(const Instance& instance) {
  if (instance.state == InstanceState::gone && instance.goneAt > Time{}) return instance.goneAt;
  if (instance.state != InstanceState::starting && instance.readyAt > Time{}) return instance.readyAt;
  return instance.orderedAt > Time{} ? instance.orderedAt : instance.wantedAt;
}

}  // namespace

json momentJson(Time at) {
  if (at == Time{}) return nullptr;
  return static_cast<double>(toMillis(at)) / 1000;
}

json instanceJson(const Instance& instance, int inputs) {
  json phases = json::array();
  for (const auto& phase : instance.phases) {
    const bool part = phase.name.starts_with("import ") || phase.name.starts_with("own import ");
    if (!part) phases.push_back({{"name", phase.name}, {"seconds", seconds(phase.took)}});
  }
  return {{"id", instance.id.str()},
          {"app_id", instance.app.str()},
          {"function_id", instance.function.str()},
          {"state", nameOf(instance.state)},
          {"since", momentJson(stateSince(instance))},
          {"ready_at", momentJson(instance.readyAt)},
          {"worker", instance.worker.str()},
          {"inputs", inputs},
          {"milli_cpu", instance.resources.milliCpu},
          {"memory_mb", instance.resources.memoryMb},
          {"gpu", instance.resources.gpuCount > 0 ? instance.resources.gpuType : ""},
          {"phases", phases}};
}

json workerJson(const Worker& worker) {
  json zygotes = json::array();
  for (const ZygoteView& zygote : worker.zygotes) {
    zygotes.push_back({{"image_id", zygote.image.str()},
                       {"client_version", zygote.clientVersion},
                       {"memory_bytes", zygote.memoryBytes},
                       {"starts", zygote.starts},
                       {"parked", zygote.parked},
                       {"parked_bytes", zygote.parkedBytes},
                       {"left_out", zygote.leftOut},
                       {"begun_at", momentJson(zygote.begunAt)}});
  }
  return {{"id", worker.id.str()},        {"host", worker.host},
          {"milli_cpu", worker.milliCpu}, {"memory_mb", worker.memoryMb},
          {"gpus", worker.gpus},          {"connected_at", momentJson(worker.connectedAt)},
          {"zygotes", zygotes},           {"zygote_limit_bytes", worker.zygoteLimitBytes}};
}

json usageJson(const UsageRecord& record, Time now) {
  Time end = record.endedAt > Time{} ? record.endedAt : now;
  std::int64_t millis =
      record.startedAt > Time{} && end > record.startedAt ? toMillis(end) - toMillis(record.startedAt) : 0;
  json made = {{"id", record.id},
               {"app_id", record.app.str()},
               {"function_id", record.function.str()},
               {"queued_at", momentJson(record.queuedAt)},
               {"milliseconds", millis},
               {"outcome", record.outcome}};
  if (record.kind == UsageKind::container) {
    made["ready_at"] = momentJson(record.startedAt);
    made["gone_at"] = momentJson(record.endedAt);
    made["milli_cpu"] = record.resources.milliCpu;
    made["memory_mb"] = record.resources.memoryMb;
    made["gpu"] = record.resources.gpuCount > 0 ? record.resources.gpuType : "";
    made["gpu_count"] = record.resources.gpuCount;
  } else {
    made["container"] = record.instance.str();
    made["started_at"] = momentJson(record.startedAt);
    made["ended_at"] = momentJson(record.endedAt);
  }
  return made;
}

json usageSumJson(const UsageSum& sum) {
  return {{"app_id", sum.app.str()},
          {"function_id", sum.function.str()},
          {"containers", sum.containers},
          {"container_seconds", seconds(sum.containerMillis)},
          {"inputs", sum.inputs},
          {"input_seconds", seconds(sum.inputMillis)},
          {"failed_inputs", sum.failedInputs},
          {"cpu_seconds", sum.cpuSeconds},
          {"memory_gib_seconds", sum.memoryGibSeconds},
          {"ahead_containers", sum.aheadContainers},
          {"ahead_hits", sum.aheadHits},
          {"ahead_unused_seconds", seconds(sum.aheadUnusedMillis)},
          {"gpu_seconds", sum.gpuSeconds}};
}

json logJson(const LogEntry& entry) {
  return {{"sequence", entry.sequence},        {"at", momentJson(entry.at)},
          {"source", nameOf(entry.source)},    {"text", entry.text},
          {"app_id", entry.app.str()},         {"function_id", entry.function.str()},
          {"container", entry.instance.str()}, {"input", entry.input.str()}};
}

const char* nameOf(LogSource source) {
  switch (source) {
    case LogSource::stdoutLine:
      return "stdout";
    case LogSource::stderrLine:
      return "stderr";
    case LogSource::system:
      return "system";
    case LogSource::unspecified:
      break;
  }
  return "unspecified";
}

}  // namespace gridiron::edge
