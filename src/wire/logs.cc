#include "wire/logs.h"

#include <algorithm>

#include "calls/calls.h"

namespace gridiron::wire {
namespace {

namespace api = ::modal::client;

bool sharesBatch(const LogEntry& a, const LogEntry& b) {
  return a.instance == b.instance && a.input == b.input && a.image == b.image && a.function == b.function;
}

void writeEntry(const LogEntry& entry, api::TaskLogs& out) {
  out.set_data(entry.text);
  out.set_file_descriptor(static_cast<api::FileDescriptor>(entry.source));
  out.set_timestamp(toSeconds(entry.at));
  out.set_timestamp_ns(static_cast<std::uint64_t>(entry.at.time_since_epoch().count()));
  out.set_function_call_id(entry.call.str());
  out.set_input_id(entry.input.str());
  out.set_container_id(entry.instance.str());
}

}  // namespace

std::vector<api::TaskLogsBatch> writeLogBatches(std::span<const LogEntry> entries) {
  std::vector<api::TaskLogsBatch> batches;
  std::int64_t newest = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const LogEntry& entry = entries[i];
    if (i == 0 || !sharesBatch(entries[i - 1], entry)) {
      api::TaskLogsBatch& batch = batches.emplace_back();
      batch.set_task_id(entry.instance.str());
      batch.set_function_id(entry.function.str());
      batch.set_root_function_id(entry.function.str());
      batch.set_input_id(entry.input.str());
      batch.set_image_id(entry.image.str());
    }
    newest = std::max(newest, entry.sequence);
    writeEntry(entry, *batches.back().add_items());
    batches.back().set_entry_id(entryId(newest));
  }
  return batches;
}

}  // namespace gridiron::wire
