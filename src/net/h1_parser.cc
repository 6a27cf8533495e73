#include "net/h1_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "net/http_text.h"

namespace gridiron::net {

namespace {

constexpr std::size_t kMaxFields = 256;
constexpr std::size_t kMaxChunkLine = 512;
constexpr std::size_t kMaxMethod = 64;
constexpr std::uint64_t kMaxLength = std::uint64_t{1} << 62;

bool isTargetByte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f && byte != '#';
}

constexpr std::array<bool, 256> authorityBytes() {
  std::array<bool, 256> bytes{};
  for (std::size_t byte = 0x21; byte < 0x7f; ++byte) bytes[byte] = true;
  for (const char c : std::string_view("#/?@\\,\"<>^`{|}")) bytes[static_cast<unsigned char>(c)] = false;
  return bytes;
}

// host[:port], without user information.
bool isAuthority(std::string_view text) {
  static constexpr auto kBytes = authorityBytes();
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return kBytes[static_cast<unsigned char>(c)]; });
}

// ;name or ;name=token, repeated. Quoted values are refused: nobody sends them, and parsers differ.
bool isChunkExtension(std::string_view text) {
  while (!text.empty()) {
    if (text.front() != ';') return false;
    text.remove_prefix(1);
    const std::string_view one = text.substr(0, text.find(';'));
    text.remove_prefix(one.size());
    const auto equals = one.find('=');
    if (!isToken(one.substr(0, equals))) return false;
    if (equals != std::string_view::npos && !isToken(one.substr(equals + 1))) return false;
  }
  return true;
}

template <class Use>
void eachListed(std::string_view list, const Use& use) {
  for (;;) {
    const auto comma = list.find(',');
    use(trimSpace(list.substr(0, comma)));
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

H1Parser::Event H1Parser::fail(int status, std::string text) {
  state_ = State::failed;
  error_ = H1Error{status, std::move(text)};
  return Event::failed;
}

H1Parser::Event H1Parser::next(std::string_view buffer) {
  consumed_ = 0;
  piece_ = {};
  switch (state_) {
    case State::head:
      return readHead(buffer);
    case State::length:
    case State::chunkData: {
      if (left_ == 0) {
        state_ = state_ == State::length ? State::done : State::chunkEnd;
        return next(buffer);
      }
      if (buffer.empty()) return Event::needMore;
      piece_ = buffer.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, buffer.size())));
      consumed_ = piece_.size();
      left_ -= consumed_;
      return Event::body;
    }
    case State::chunkEnd:
      if (buffer.size() < 2 && std::string_view("\r\n").starts_with(buffer)) return Event::needMore;
      if (!buffer.starts_with("\r\n")) return fail(400, "A chunk of the body is not followed by CRLF.");
      consumed_ = 2;
      state_ = State::chunkSize;
      return Event::needMore;
    case State::chunkSize:
      return readChunkSize(buffer);
    case State::trailers:
      return readTrailers(buffer);
    case State::done:
      state_ = State::head;
      return Event::end;
    case State::failed:
      return Event::failed;
  }
  return Event::failed;
}

H1Parser::Event H1Parser::readHead(std::string_view buffer) {
  const std::size_t start = buffer.starts_with("\r\n") ? 2 : 0;  // one empty line is allowed (RFC 9112 §2.2)
  const std::string_view text = buffer.substr(start);
  if (!text.empty() && !(start == 0 && text == "\r") && !isToken(text.substr(0, 1))) {
    return fail(400, "The request does not begin with a method.");
  }
  const std::size_t from = std::max(start, scanned_ > 3 ? scanned_ - 3 : 0);
  const auto end = buffer.find("\r\n\r\n", from);
  if (end == std::string_view::npos || end + 4 - start > maxHead_) {
    const std::size_t seen = std::exchange(scanned_, buffer.size());
    return headIncomplete(text, seen > start ? seen - start : 0);
  }
  scanned_ = 0;
  consumed_ = end + 4;
  head_ = RequestHead();
  sawLength_ = sawCoding_ = expectsContinue_ = wantsTrailers_ = false;
  chunked_ = absolute_ = closeAsked_ = false;
  hosts_ = 0;
  length_ = left_ = 0;
  std::string_view lines = buffer.substr(start, end + 2 - start);
  bool first = true;
  while (!lines.empty()) {
    const auto stop = lines.find("\r\n");
    const std::string_view line = lines.substr(0, stop);
    lines.remove_prefix(stop + 2);
    const auto error = first ? readRequestLine(line) : readField(line);
    if (error) return fail(error->status, error->text);
    first = false;
  }
  if (const auto error = readFraming()) return fail(error->status, error->text);
  state_ = chunked_ ? State::chunkSize : State::length;
  left_ = length_;
  return Event::head;
}

// `from`: what was there the last time.
H1Parser::Event H1Parser::headIncomplete(std::string_view text, std::size_t from) {
  for (auto at = text.find('\n', from); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r') return fail(400, "A line of the request's head does not end in CRLF.");
  }
  if (text.size() < maxHead_) return Event::needMore;
  if (text.substr(0, maxHead_).find('\n') == std::string_view::npos) {
    return fail(414, fmt::format("The request line is longer than {} bytes.", maxHead_));
  }
  return fail(431, fmt::format("The request's head is larger than {} bytes.", maxHead_));
}

std::optional<H1Error> H1Parser::readRequestLine(std::string_view line) {
  const auto space = line.find(' ');
  const auto last = line.rfind(' ');
  if (space == std::string_view::npos || last == space) {
    return H1Error{400, "The request line is not METHOD TARGET HTTP/1.1."};
  }
  const std::string_view method = line.substr(0, space);
  const std::string_view version = line.substr(last + 1);
  if (!isToken(method)) return H1Error{400, "The request's method is not a token."};
  if (method.size() > kMaxMethod) return H1Error{501, "The request's method is unknown."};
  const bool shaped = version.size() == 8 && version.starts_with("HTTP/") && version[6] == '.' && version[5] >= '0' &&
                      version[5] <= '9' && version[7] >= '0' && version[7] <= '9';
  if (!shaped) return H1Error{400, "The request line does not end in HTTP/1.1."};
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return H1Error{505, "This HTTP version is not spoken here; HTTP/1.1 and HTTP/2 are."};
  }
  head_.method = method;
  head_.version = version == "HTTP/1.1" ? HttpVersion::http11 : HttpVersion::http10;
  keepAlive_ = head_.version == HttpVersion::http11;
  return readTarget(line.substr(space + 1, last - space - 1));
}

std::optional<H1Error> H1Parser::readTarget(std::string_view target) {
  if (head_.method == "CONNECT") return H1Error{501, "CONNECT is not supported."};
  if (target.empty() || !std::all_of(target.begin(), target.end(), isTargetByte)) {
    return H1Error{400, "The request's target holds a byte that must be percent-encoded."};
  }
  if (target == "*" && head_.method == "OPTIONS") {
    head_.target = target;
    return std::nullopt;
  }
  if (target.front() != '/') {  // http://host/path, as to a proxy
    const auto colon = target.find("://");
    const std::string_view scheme = target.substr(0, colon);
    if (colon == std::string_view::npos || !(equalsNoCase(scheme, "http") || equalsNoCase(scheme, "https"))) {
      return H1Error{400, "The request's target does not begin with a slash."};
    }
    target.remove_prefix(colon + 3);
    const std::string_view authority = target.substr(0, target.find_first_of("/?"));
    if (!isAuthority(authority)) return H1Error{400, "The request's target names no valid host."};
    head_.authority = authority;
    absolute_ = true;
    target.remove_prefix(authority.size());
    if (target.empty() || target.front() == '?') {
      head_.target = "/" + std::string(target);
      return std::nullopt;
    }
  }
  head_.target = target;
  return std::nullopt;
}

std::optional<H1Error> H1Parser::readField(std::string_view line) {
  if (head_.headers.fields().size() >= kMaxFields) {
    return H1Error{431, fmt::format("The request has more than {} header fields.", kMaxFields)};
  }
  if (line.front() == ' ' || line.front() == '\t') return H1Error{400, "A header field is folded over two lines."};
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || !isToken(line.substr(0, colon))) {
    return H1Error{400, "A header line is not \"name: value\"."};
  }
  const std::string_view value = trimSpace(line.substr(colon + 1));
  std::string name = lowerCase(line.substr(0, colon));
  if (!isFieldValue(value)) return H1Error{400, fmt::format("The header {} holds a control character.", name)};
  if (auto error = noteField(name, value)) return error;
  head_.headers.add(std::move(name), std::string(value));
  return std::nullopt;
}

std::optional<H1Error> H1Parser::noteField(std::string_view name, std::string_view value) {
  if (name == "content-length") {
    if (std::exchange(sawLength_, true)) return H1Error{400, "Content-Length is given more than once."};
    const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), length_);
    const bool digits = !value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos;
    if (!digits) return H1Error{400, "Content-Length is not a number."};
    if (ec != std::errc() || length_ > kMaxLength) return H1Error{413, "The body is larger than anything."};
  } else if (name == "transfer-encoding") {
    if (std::exchange(sawCoding_, true)) return H1Error{400, "Transfer-Encoding is given more than once."};
    if (!equalsNoCase(value, "chunked")) {
      return H1Error{501, "The only Transfer-Encoding that is understood is chunked."};
    }
    chunked_ = true;
  } else if (name == "host") {
    ++hosts_;
    if (!value.empty() && !isAuthority(value)) return H1Error{400, "Host is not a host name."};
    if (!absolute_) head_.authority = value;
  } else if (name == "connection") {
    return noteConnection(value);
  } else if (name == "expect") {
    if (!equalsNoCase(value, "100-continue"))
      return H1Error{417, "The only Expect that is understood is 100-continue."};
    expectsContinue_ = true;
  } else if (name == "te") {
    eachListed(value, [&](std::string_view one) { wantsTrailers_ |= equalsNoCase(one, "trailers"); });
  }
  return std::nullopt;
}

std::optional<H1Error> H1Parser::noteConnection(std::string_view value) {
  bool tokens = true;
  eachListed(value, [&](std::string_view one) {
    tokens &= one.empty() || isToken(one);
    if (equalsNoCase(one, "close")) closeAsked_ = true;
    if (equalsNoCase(one, "keep-alive") && head_.version == HttpVersion::http10) keepAlive_ = true;
  });
  if (!tokens) return H1Error{400, "Connection is not a list of names."};
  if (closeAsked_) keepAlive_ = false;
  return std::nullopt;
}

std::optional<H1Error> H1Parser::readFraming() {
  if (sawCoding_ && sawLength_) return H1Error{400, "Content-Length and Transfer-Encoding contradict each other."};
  if (sawCoding_ && head_.version == HttpVersion::http10) {
    return H1Error{400, "HTTP/1.0 has no Transfer-Encoding."};
  }
  if (hosts_ > 1) return H1Error{400, "Host is given more than once."};
  if (hosts_ == 0 && head_.version == HttpVersion::http11) return H1Error{400, "Host is missing."};
  if (head_.version == HttpVersion::http10) expectsContinue_ = false;  // RFC 9110 §10.1.1
  return std::nullopt;
}

H1Parser::Event H1Parser::readChunkSize(std::string_view buffer) {
  const auto end = buffer.find('\n');
  if (end == std::string_view::npos) {
    if (buffer.size() > kMaxChunkLine) return fail(400, "A chunk's size line is too long.");
    return Event::needMore;
  }
  if (end == 0 || buffer[end - 1] != '\r') return fail(400, "A chunk's size line does not end in CRLF.");
  const std::string_view line = buffer.substr(0, end - 1);
  if (line.size() > kMaxChunkLine) return fail(400, "A chunk's size line is too long.");
  const std::string_view digits = line.substr(0, line.find(';'));
  std::uint64_t size = 0;
  const auto [stop, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 16);
  if (digits.empty() || digits.front() == '-' || ec != std::errc() || stop != digits.data() + digits.size() ||
      size > kMaxLength) {
    return fail(400, "A chunk's size is not a hexadecimal number.");
  }
  if (!isChunkExtension(line.substr(digits.size()))) return fail(400, "A chunk's extension is malformed.");
  consumed_ = end + 1;
  left_ = size;
  scanned_ = 0;
  state_ = size == 0 ? State::trailers : State::chunkData;
  return Event::needMore;
}

// Checked like header fields, then dropped: nothing here has a use for a request's trailers.
H1Parser::Event H1Parser::readTrailers(std::string_view buffer) {
  if (buffer.starts_with("\r\n")) {
    consumed_ = 2;
    state_ = State::head;
    return Event::end;
  }
  const auto end = buffer.find("\r\n\r\n", scanned_ > 3 ? scanned_ - 3 : 0);
  if (end == std::string_view::npos || end + 4 > maxHead_) {
    scanned_ = buffer.size();
    if (buffer.size() < maxHead_) return Event::needMore;
    return fail(431, "The request's trailers are too large.");
  }
  std::string_view lines = buffer.substr(0, end + 2);
  while (!lines.empty()) {
    const auto stop = lines.find("\r\n");
    const std::string_view line = lines.substr(0, stop);
    lines.remove_prefix(stop + 2);
    const auto colon = line.find(':');
    if (colon == std::string_view::npos || !isToken(line.substr(0, colon)) || !isFieldValue(line.substr(colon + 1))) {
      return fail(400, "A trailer line is not \"name: value\".");
    }
    const std::string name = lowerCase(line.substr(0, colon));
    if (isHopByHop(name) || name == "content-length" || name == "host") {
      return fail(400, fmt::format("The field {} has no place in a trailer.", name));
    }
  }
  scanned_ = 0;
  consumed_ = end + 4;
  state_ = State::head;
  return Event::end;
}

}  // namespace gridiron::net
