#include "edge/http/lane_frames.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

namespace gridiron::edge {
namespace {

constexpr std::size_t kHeader = 5;
constexpr std::size_t kRoom = 16 * 1024;
constexpr std::size_t kMostRoom = 512 * 1024;

void putSize(std::string& out, std::size_t size) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(size >> shift & 0xff));
}

std::size_t sizeAt(const char* from) {
  std::size_t size = 0;
  for (int i = 3; i >= 0; --i) size = size << 8 | static_cast<unsigned char>(from[i]);
  return size;
}

// The frame's first bytes, for a payload whose size is not known yet.
std::string begun(char kind) {
  std::string out(4, '\0');
  out.push_back(kind);
  return out;
}

void putSizeAt(std::string& out, std::size_t at, std::size_t size) {
  for (std::size_t i = 0; i < 4; ++i) out[at + i] = static_cast<char>(size >> (8 * i) & 0xff);
}

void field(std::string& out, std::string_view text) {
  if (text.find('\0') == std::string_view::npos) {
    out.append(text);
  } else {
    std::copy_if(text.begin(), text.end(), std::back_inserter(out), [](char c) { return c != '\0'; });
  }
  out.push_back('\0');
}

std::vector<std::string_view> fieldsOf(std::string_view head) {
  std::vector<std::string_view> fields;
  for (;;) {
    const auto end = head.find('\0');
    fields.push_back(head.substr(0, end));
    if (end == std::string_view::npos) return fields;
    head.remove_prefix(end + 1);
  }
}

wire::HeaderList headersOf(const std::vector<std::string_view>& fields) {
  wire::HeaderList headers;
  for (std::size_t i = 1; i + 1 < fields.size(); i += 2)
    headers.emplace_back(std::string(fields[i]), std::string(fields[i + 1]));
  return headers;
}

int numberOf(std::string_view text, int otherwise) {
  int number = otherwise;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failed == std::errc{} && end == text.data() + text.size() ? number : otherwise;
}

}  // namespace

std::string laneFrame(char kind, std::string_view payload) {
  std::string out;
  out.reserve(kHeader + payload.size());
  putSize(out, payload.size());
  out.push_back(kind);
  out.append(payload);
  return out;
}

std::string laneRequest(const LaneRequest& request, std::string_view body) {
  const wire::HttpScope& scope = request.scope;
  std::string out = begun('R');
  out.reserve(1024 + body.size());
  putSize(out, 0);
  const std::size_t head = out.size();
  for (std::string_view text :
       {std::string_view(scope.webSocket ? "w" : "h"), std::string_view(request.more ? "1" : "0"), request.method,
        request.input, request.call, std::string_view(scope.httpVersion), std::string_view(scope.method),
        std::string_view(scope.scheme), std::string_view(scope.rawPath), std::string_view(scope.query),
        std::string_view(scope.rootPath), std::string_view(scope.clientHost)})
    field(out, text);
  field(out, std::to_string(scope.clientPort));
  field(out, scope.serverHost);
  field(out, std::to_string(scope.serverPort));
  for (const auto& [name, value] : scope.headers) {
    field(out, name);
    field(out, value);
  }
  out.pop_back();
  putSizeAt(out, kHeader, out.size() - head);
  out.append(body);
  putSizeAt(out, 0, out.size() - kHeader);
  return out;
}

Result<LaneHead> readLaneHead(LaneFrame frame) {
  const Error bad = makeError(Code::invalidArgument, "a response without a head");
  if (frame.payload.size() < 4) return bad;
  const std::size_t size = sizeAt(frame.payload.data());
  if (size > frame.payload.size() - 4) return bad;
  const auto fields = fieldsOf(std::string_view(frame.payload).substr(4, size));
  LaneHead head;
  head.start.status = numberOf(fields.front(), 0);
  if (head.start.status < 100 || head.start.status > 999)
    return makeError(Code::invalidArgument, "the status {}", fields.front());
  head.start.headers = headersOf(fields);
  frame.payload.erase(0, 4 + size);
  head.body = std::move(frame.payload);
  return head;
}

LaneAccept readLaneAccept(std::string_view payload) {
  const auto fields = fieldsOf(payload);
  return {std::string(fields.front()), headersOf(fields)};
}

LaneClose readLaneClose(std::string_view payload) {
  const auto fields = fieldsOf(payload);
  return {numberOf(fields.front(), 1000), fields.size() > 1 ? std::string(fields[1]) : ""};
}

std::pair<char*, std::size_t> LaneReader::room() {
  if (begin_ == end_) begin_ = end_ = 0;
  std::size_t wanted = kRoom;
  if (end_ - begin_ >= kHeader) {
    // What a frame says of its size is believed as far as bytes have come.
    const std::size_t left = kHeader + sizeAt(buffer_.data() + begin_) - (end_ - begin_);
    wanted = std::max(kRoom, std::min(left, std::max(end_ - begin_, kMostRoom)));
  }
  if (buffer_.size() - end_ < wanted && begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() - end_ < wanted) buffer_.resize(end_ + std::max(wanted, std::min(2 * buffer_.size(), kMostRoom)));
  return {buffer_.data() + end_, buffer_.size() - end_};
}

Result<std::optional<LaneFrame>> LaneReader::next() {
  if (end_ - begin_ < kHeader) return std::optional<LaneFrame>();
  const std::size_t size = sizeAt(buffer_.data() + begin_);
  if (size > kMost) return makeError(Code::invalidArgument, "a frame of {} bytes", size);
  if (end_ - begin_ < kHeader + size) return std::optional<LaneFrame>();
  LaneFrame frame{buffer_[begin_ + 4], buffer_.substr(begin_ + kHeader, size)};
  begin_ += kHeader + size;
  return std::optional<LaneFrame>(std::move(frame));
}

}  // namespace gridiron::edge
