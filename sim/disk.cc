#include "sim/disk.h"

namespace gridiron::sim {

Disk::Disk() : memory_(openCrashingStore()) {}

Result<void> Disk::apply(const Batch& batch) {
  if (batch.empty()) return {};
  if (mood_ == Mood::full) return makeError(Code::exhausted, "disk full");
  if (mood_ == Mood::failing && ++refused_ % 2 == 0) return makeError(Code::unavailable, "disk error");
  const auto done = memory_->apply(batch);
  if (!done.ok()) {
    if (complain_) complain_("the store refused a change for what it says: " + done.error().message);
    return done;
  }
  return {};
}

}  // namespace gridiron::sim
