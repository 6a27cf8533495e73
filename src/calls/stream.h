#pragma once

#include <deque>
#include <vector>

#include "base/result.h"
#include "model/call.h"

namespace gridiron {

// One direction of a call's data: chunks numbered from 1, kept until the reader acknowledges them, bounded.
class Stream {
 public:
  // As Calls::push. All of them or none.
  Result<void> push(std::vector<DataChunk> chunks, std::size_t bound);
  std::vector<DataChunk> read(std::int64_t after) const;
  void acknowledge(std::int64_t upTo);
  bool untouched() const { return next_ == 1; }         // nothing was ever pushed
  bool complete() const { return acknowledged_ == 0; }  // a reader can still begin at the first chunk

 private:
  std::deque<DataChunk> chunks_;
  std::int64_t next_ = 1;
  std::int64_t acknowledged_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace gridiron
