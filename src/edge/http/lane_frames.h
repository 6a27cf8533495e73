#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/asgi.h"

namespace gridiron::edge {

// The frames of guest/fast_lane.py: `u32 length, u8 kind, payload`, little-endian.
struct LaneFrame {
  char kind = 0;
  std::string payload;
};

// What a request is to its app, beside its scope.
struct LaneRequest {
  const wire::HttpScope& scope;
  std::string_view input, call, method;  // method: of a class, "" else
  bool more = false;                     // of the body, behind the first piece
};

std::string laneFrame(char kind, std::string_view payload = {});
// R. NULs, which no field of a request may have, are taken out of it.
std::string laneRequest(const LaneRequest& request, std::string_view body);

// A or S: the response's start, and what there is of its body. invalidArgument when it is none.
struct LaneHead {
  wire::ResponseStart start;
  std::string body;
};
Result<LaneHead> readLaneHead(LaneFrame frame);

// W: the subprotocol, "" for none, and headers.
struct LaneAccept {
  std::string subprotocol;
  wire::HeaderList headers;
};
LaneAccept readLaneAccept(std::string_view payload);

// X of a websocket: code and reason.
struct LaneClose {
  int code = 1000;
  std::string reason;
};
LaneClose readLaneClose(std::string_view payload);

// Bytes in, frames out.
class LaneReader {
 public:
  static constexpr std::size_t kMost = 64u << 20;  // of a payload: what a websocket message may have

  // Where the next bytes are to be put, at least a few kilobytes; `got` of them were.
  std::pair<char*, std::size_t> room();
  void got(std::size_t count) { end_ += count; }
  // Nothing: more bytes are needed. invalidArgument for a frame beyond kMost; there is no going on then.
  Result<std::optional<LaneFrame>> next();
  bool empty() const { return begin_ == end_; }

 private:
  std::string buffer_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace gridiron::edge
