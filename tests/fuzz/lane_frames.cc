// The frames that a container's program sends by the fast lane.
#include "edge/http/lane_frames.h"

#include <algorithm>
#include <cstring>

#include "tests/fuzz/fuzz.h"

namespace {

using namespace gridiron::edge;
using gridiron::fuzz::require;

struct Read {
  std::vector<LaneFrame> frames;
  bool failed = false;
};

Read readAll(std::string_view bytes, std::size_t cut) {
  LaneReader reader;
  Read read;
  while (!bytes.empty() && !read.failed) {
    const auto [at, room] = reader.room();
    const std::size_t n = std::min({cut, room, bytes.size()});
    require(room > 0, "there is room");
    std::memcpy(at, bytes.data(), n);
    reader.got(n);
    bytes.remove_prefix(n);
    for (;;) {
      auto frame = reader.next();
      read.failed = !frame.ok();
      if (!frame.ok() || !frame->has_value()) break;
      read.frames.push_back(std::move(**frame));
    }
  }
  return read;
}

}  // namespace

FUZZ(lane_frames) {
  const std::size_t cut = 1 + gridiron::fuzz::choice(bytes) % 23;
  const Read whole = readAll(bytes, bytes.size() + 1), pieces = readAll(bytes, cut);
  require(whole.failed == pieces.failed, "fails or not however it is cut");
  require(whole.frames.size() == pieces.frames.size(), "as many frames however it is cut");
  for (std::size_t i = 0; i < whole.frames.size(); ++i) {
    const LaneFrame& frame = whole.frames[i];
    require(frame.kind == pieces.frames[i].kind && frame.payload == pieces.frames[i].payload, "the same frames");
    const auto head = readLaneHead(frame);
    if (head.ok()) require(head->start.status >= 100 && head->start.status <= 999, "a status");
    (void)readLaneAccept(frame.payload);
    (void)readLaneClose(frame.payload);
  }
}
