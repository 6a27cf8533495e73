#include "calls/stream.h"

#include <algorithm>

namespace gridiron {

Result<void> Stream::push(std::vector<DataChunk> chunks, std::size_t bound) {
  std::size_t total = 0;
  auto expected = next_;
  for (auto& chunk : chunks) {
    if (chunk.index == 0) chunk.index = expected;
    if (chunk.index < next_) continue;
    if (chunk.index != expected) {
      return makeError(Code::invalidArgument, "data chunk {} came where {} was expected", chunk.index, expected);
    }
    ++expected;
    total += chunk.payload.data.size();
  }
  if (!chunks_.empty() && bytes_ + total > bound) {
    return makeError(Code::exhausted, "the call's data stream is full ({} bytes wait for the reader)", bytes_);
  }
  for (auto& chunk : chunks) {
    if (chunk.index < next_) continue;
    bytes_ += chunk.payload.data.size();
    chunks_.push_back(std::move(chunk));
    ++next_;
  }
  return {};
}

std::vector<DataChunk> Stream::read(std::int64_t after) const {
  const auto from = std::find_if(chunks_.begin(), chunks_.end(), [&](const auto& c) { return c.index > after; });
  return {from, chunks_.end()};
}

void Stream::acknowledge(std::int64_t upTo) {
  while (!chunks_.empty() && chunks_.front().index <= upTo) {
    acknowledged_ = chunks_.front().index;
    bytes_ -= chunks_.front().payload.data.size();
    chunks_.pop_front();
  }
}

}  // namespace gridiron
