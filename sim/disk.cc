#include "sim/disk.h"

namespace gridiron::sim {

Disk::Disk() : memory_(openMemoryStore()) {}

void Disk::crash() {
  journal_.resize(durable_);
  memory_ = openMemoryStore();
  for (const auto& batch : journal_) {
    const auto again = memory_->apply(batch);
    if (!again.ok() && complain_) complain_("the disk cannot be read again: " + again.error().message);
  }
}

Result<void> Disk::apply(const Batch& batch) {
  if (batch.empty()) return {};
  if (mood_ == Mood::full) return makeError(Code::exhausted, "disk full");
  if (mood_ == Mood::failing && ++refused_ % 2 == 0) return makeError(Code::unavailable, "disk error");
  const auto done = memory_->apply(batch);
  if (!done.ok()) {
    if (complain_) complain_("the store refused a change for what it says: " + done.error().message);
    return done;
  }
  journal_.push_back(batch);
  return {};
}

}  // namespace gridiron::sim
