#pragma once

#include <span>
#include <vector>

#include "modal_proto/api.pb.h"
#include "model/log.h"

namespace gridiron::wire {

// Log entries as clients read them: neighbours of the same container, input and image share a batch, and each batch's
// entry_id is the cursor ("<sequence>-0") behind its last entry and all before it.
std::vector<::modal::client::TaskLogsBatch> writeLogBatches(std::span<const LogEntry> entries);

}  // namespace gridiron::wire
