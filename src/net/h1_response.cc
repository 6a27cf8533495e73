#include "net/h1_response.h"

#include <algorithm>
#include <charconv>

#include "net/http_text.h"

namespace gridiron::net {

namespace {

constexpr std::size_t kMaxFields = 256;
constexpr std::size_t kMaxChunkLine = 512;
constexpr int kMaxInterim = 16;
constexpr std::uint64_t kMaxLength = std::uint64_t{1} << 62;

// Behind the empty line that ends a head whose search went on from `from`; npos: it is not there yet.
std::size_t endOfHead(std::string_view buffer, std::size_t from) {
  for (auto at = buffer.find('\n', from); at != std::string_view::npos; at = buffer.find('\n', at + 1)) {
    const std::string_view after = buffer.substr(at + 1);
    if (after.starts_with('\n')) return at + 2;
    if (after.starts_with("\r\n")) return at + 3;
  }
  return std::string_view::npos;
}

// The first line of `text`, without its end, taken off it.
std::string_view takeLine(std::string_view& text) {
  const auto stop = text.find('\n');
  std::string_view line = text.substr(0, stop);
  text.remove_prefix(stop == std::string_view::npos ? text.size() : stop + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

template <class Number>
bool readNumber(std::string_view digits, int base, Number& out) {
  const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), out, base);
  return !digits.empty() && digits.front() != '-' && failed == std::errc() && end == digits.data() + digits.size();
}

}  // namespace

void H1ResponseParser::expect(std::string_view method, bool upgrade) {
  toHead_ = method == "HEAD";
  toUpgrade_ = upgrade;
  interim_ = 0;
  scanned_ = 0;
  trailers_ = Headers();
  state_ = State::head;
}

H1ResponseParser::Event H1ResponseParser::fail(std::string text) {
  state_ = State::failed;
  keepAlive_ = false;
  error_ = std::move(text);
  return Event::failed;
}

H1ResponseParser::Event H1ResponseParser::next(std::string_view buffer, bool closed) {
  consumed_ = 0;
  piece_ = {};
  switch (state_) {
    case State::idle:
      return Event::needMore;
    case State::head:
      return readHead(buffer, closed);
    case State::length:
    case State::chunkData:
    case State::untilClose:
      if (left_ == 0 && state_ == State::chunkData) {
        state_ = State::chunkEnd;
        return next(buffer, closed);
      }
      if (buffer.empty() && closed && state_ == State::untilClose) {
        state_ = State::idle;
        return Event::end;
      }
      if (buffer.empty()) break;
      piece_ = state_ == State::untilClose ? buffer : buffer.substr(0, std::min<std::uint64_t>(left_, buffer.size()));
      consumed_ = piece_.size();
      if (state_ != State::untilClose) left_ -= consumed_;
      if (state_ == State::length && left_ == 0) state_ = State::done;
      return Event::body;
    case State::chunkEnd:
      if (buffer.empty() || buffer == "\r") break;
      if (buffer.front() != '\n' && !buffer.starts_with("\r\n")) return fail("a chunk is longer than its size says");
      consumed_ = buffer.front() == '\n' ? 1 : 2;
      state_ = State::chunkSize;
      return Event::needMore;
    case State::chunkSize: {
      const Event event = readChunkSize(buffer);
      if (event != Event::needMore || consumed_ > 0) return event;
      break;
    }
    case State::trailers: {
      const Event event = readTrailers(buffer);
      if (event != Event::needMore) return event;
      break;
    }
    case State::done:
      state_ = State::idle;
      return Event::end;
    case State::failed:
      return Event::failed;
  }
  return closed ? fail("its body ends too early") : Event::needMore;
}

H1ResponseParser::Event H1ResponseParser::readHead(std::string_view buffer, bool closed) {
  const auto end = endOfHead(buffer, scanned_ > 3 ? scanned_ - 3 : 0);
  if (end == std::string_view::npos || end > maxHead_) {
    scanned_ = buffer.size();
    if (buffer.size() >= maxHead_) return fail(fmt::format("its head is larger than {} bytes", maxHead_));
    if (!std::string_view("HTTP/").starts_with(buffer.substr(0, 5))) return fail("it does not begin with HTTP/");
    return closed ? fail("its head ends too early") : Event::needMore;
  }
  scanned_ = 0;
  head_ = ResponseHead();
  length_.reset();
  closeAsked_ = chunked_ = false;
  if (!readLines(buffer.substr(0, end), head_.headers, true)) return fail(std::move(error_));
  consumed_ = end;
  if (head_.status < 200 && !(head_.status == 101 && toUpgrade_)) {
    if (head_.status == 101) return fail("it is 101, which was not asked for");
    return ++interim_ > kMaxInterim ? fail("it has too many interim responses") : Event::needMore;
  }
  return decideFraming() ? Event::head : fail(std::move(error_));
}

bool H1ResponseParser::readLines(std::string_view text, Headers& into, bool withStatus) {
  if (withStatus && !readStatus(takeLine(text))) return false;
  std::size_t fields = 0;
  for (;;) {
    const std::string_view line = takeLine(text);
    if (line.empty()) return true;
    if (++fields > kMaxFields) {
      error_ = fmt::format("it has more than {} header fields", kMaxFields);
      return false;
    }
    const auto colon = line.find(':');
    const std::string_view name = line.substr(0, colon);
    if (colon == std::string_view::npos || !isToken(name)) {
      error_ = "a header line is not \"name: value\"";
      return false;
    }
    const std::string_view value = trimSpace(line.substr(colon + 1));
    std::string lower = lowerCase(name);
    if (!isFieldValue(value)) {
      error_ = fmt::format("the header {} holds a control character", lower);
      return false;
    }
    if (withStatus && !noteField(lower, value)) return false;
    into.add(std::move(lower), std::string(value));
  }
}

// HTTP/1.1 200 and a phrase, which may be missing.
bool H1ResponseParser::readStatus(std::string_view line) {
  const bool shaped = line.size() >= 12 && (line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 ")) &&
                      (line.size() == 12 || line[12] == ' ') && readNumber(line.substr(9, 3), 10, head_.status) &&
                      head_.status >= 100;
  if (!shaped) error_ = "it does not begin with HTTP/1.1 and a status";
  head_.version = shaped && line[7] == '1' ? HttpVersion::http11 : HttpVersion::http10;
  keepAlive_ = head_.version == HttpVersion::http11;
  return shaped;
}

bool H1ResponseParser::noteField(std::string_view name, std::string_view value) {
  if (name == "content-length") {
    std::uint64_t length = 0;
    const bool digits = readNumber(value, 10, length) && length <= kMaxLength;
    if (!digits || (length_ && *length_ != length)) {
      error_ = digits ? "it has two lengths" : "its Content-Length is not a number";
      return false;
    }
    length_ = length;
  } else if (name == "transfer-encoding") {
    if (chunked_ || !equalsNoCase(value, "chunked") || head_.version == HttpVersion::http10) {
      error_ = "its Transfer-Encoding is another than chunked";
      return false;
    }
    chunked_ = true;
  } else if (name == "connection") {
    for (bool more = true; more;) {
      const auto comma = value.find(',');
      const std::string_view one = trimSpace(value.substr(0, comma));
      if (equalsNoCase(one, "close")) closeAsked_ = true;
      if (equalsNoCase(one, "keep-alive")) keepAlive_ = true;
      more = comma != std::string_view::npos;
      if (more) value.remove_prefix(comma + 1);
    }
  }
  return true;
}

bool H1ResponseParser::decideFraming() {
  if (closeAsked_) keepAlive_ = false;
  left_ = length_.value_or(0);
  if (chunked_ && length_) {
    error_ = "its Content-Length and Transfer-Encoding contradict each other";
    return false;
  }
  if (head_.status == 101) {
    state_ = State::untilClose;
  } else if (toHead_ || head_.status == 204 || head_.status == 304) {
    state_ = State::done;
  } else if (chunked_) {
    state_ = State::chunkSize;
  } else if (length_) {
    state_ = left_ > 0 ? State::length : State::done;
  } else {
    state_ = State::untilClose;
  }
  if (state_ == State::untilClose) keepAlive_ = false;
  return true;
}

H1ResponseParser::Event H1ResponseParser::readChunkSize(std::string_view buffer) {
  const auto end = buffer.substr(0, kMaxChunkLine).find('\n');
  if (end == std::string_view::npos) {
    return buffer.size() < kMaxChunkLine ? Event::needMore : fail("a chunk's size line is too long");
  }
  std::string_view rest = buffer;
  const std::string_view line = takeLine(rest);
  const std::string_view digits = trimSpace(line.substr(0, line.find(';')));
  if (!readNumber(digits, 16, left_) || left_ > kMaxLength) return fail("a chunk's size is not a hexadecimal number");
  consumed_ = end + 1;
  state_ = left_ == 0 ? State::trailers : State::chunkData;
  return Event::needMore;
}

// Fields of the hop, and what frames a message, have no place in trailers: they are left out.
H1ResponseParser::Event H1ResponseParser::readTrailers(std::string_view buffer) {
  std::size_t end = buffer.starts_with('\n') ? 1 : buffer.starts_with("\r\n") ? 2 : 0;
  if (end == 0) end = endOfHead(buffer, scanned_ > 3 ? scanned_ - 3 : 0);
  if (end == std::string_view::npos || end > maxHead_) {
    scanned_ = buffer.size();
    return buffer.size() < maxHead_ ? Event::needMore : fail("its trailers are too large");
  }
  scanned_ = 0;
  Headers all;
  if (!readLines(buffer.substr(0, end), all, false)) return fail(std::move(error_));
  for (const auto& [name, value] : all.fields()) {
    if (!isHopByHop(name) && name != "content-length") trailers_.add(name, value);
  }
  consumed_ = end;
  state_ = State::idle;
  return Event::end;
}

}  // namespace gridiron::net
