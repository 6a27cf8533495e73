#include "net/websocket.h"

#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "base/digest.h"

namespace gridiron::net {
namespace {

constexpr std::string_view kMagic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr std::size_t kMostControl = 125;
constexpr int kDeflated = 0x40;  // RSV1

unsigned byteAt(std::string_view text, std::size_t at) { return static_cast<unsigned char>(text[at]); }

void putBytes(std::string& out, std::uint64_t number, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out.push_back(static_cast<char>(number >> shift & 0xff));
}

// Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
bool isUtf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const unsigned first = byteAt(text, at);
    if (first < 0x80) {
      ++at;
      continue;
    }
    const std::size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || text.size() - at <= more) return false;
    const unsigned second = byteAt(text, at + 1);
    const unsigned least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (second < least || second > most) return false;
    for (std::size_t i = 2; i <= more; ++i) {
      if ((byteAt(text, at + i) & 0xc0) != 0x80) return false;
    }
    at += more + 1;
  }
  return true;
}

void unmask(std::string& payload, std::string_view key) {
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>(payload[i] ^ key[i & 3]);
}

}  // namespace

std::string webSocketAccept(std::string_view key) {
  const std::string text = std::string(key) + std::string(kMagic);
  std::string digest(SHA_DIGEST_LENGTH, '\0');
  ::SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return base64Encode(digest);
}

bool isWebSocketKey(std::string_view key) {
  const auto bytes = base64Decode(key);
  return bytes && bytes->size() == 16;
}

WebSocketReader::WebSocketReader(std::size_t most, const std::optional<DeflateTerms>& deflate) : most_(most) {
  if (deflate) inflater_.emplace(*deflate);
}

std::string webSocketFrame(WebSocketKind kind, std::string_view data, bool deflated) {
  std::string out;
  out.reserve(data.size() + 10);
  out.push_back(static_cast<char>(0x80 | (deflated ? kDeflated : 0) | static_cast<int>(kind)));
  if (data.size() <= kMostControl) {
    out.push_back(static_cast<char>(data.size()));
  } else if (data.size() <= 0xffff) {
    out.push_back(126);
    putBytes(out, data.size(), 2);
  } else {
    out.push_back(127);
    putBytes(out, data.size(), 8);
  }
  out.append(data);
  return out;
}

std::string webSocketClose(int code, std::string_view reason) {
  if (!isCloseCode(code)) return webSocketFrame(WebSocketKind::close, {});
  std::string data;
  putBytes(data, static_cast<std::uint64_t>(code), 2);
  std::size_t size = std::min(reason.size(), kMostControl - 2);
  while (size < reason.size() && size > 0 && (byteAt(reason, size) & 0xc0) == 0x80) --size;
  data.append(reason.substr(0, size));
  return webSocketFrame(WebSocketKind::close, data);
}

bool isCloseCode(int code) {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

std::optional<WebSocketMessage> WebSocketReader::refuse(int code) {
  violation_ = code;
  return std::nullopt;
}

// The head of the next frame, when all of it is there; sets the violation when it is none.
std::optional<WebSocketReader::Head> WebSocketReader::head() {
  const std::string_view in = std::string_view(in_).substr(at_);
  if (in.size() < 2) return std::nullopt;
  Head head;
  head.last = (byteAt(in, 0) & 0x80) != 0;
  head.opcode = static_cast<int>(byteAt(in, 0) & 0x0f);
  const bool isControl = head.opcode >= 8;
  const bool known = head.opcode <= 2 || (head.opcode >= 8 && head.opcode <= 10);
  const bool masked = (byteAt(in, 1) & 0x80) != 0;
  std::uint64_t length = byteAt(in, 1) & 0x7f;
  const std::size_t wide = length == 126 ? 2 : length == 127 ? 8 : 0;
  const bool begins = head.opcode == 1 || head.opcode == 2;
  const bool outOfTurn = (begins && fragmented_ != 0) || (head.opcode == 0 && fragmented_ == 0);
  head.deflated = inflater_ && begins && (byteAt(in, 0) & kDeflated) != 0;
  if ((byteAt(in, 0) & (head.deflated ? 0x30 : 0x70)) != 0 || !known || !masked || outOfTurn ||
      (isControl && (!head.last || wide > 0))) {
    violation_ = 1002;
    return std::nullopt;
  }
  head.size = 2 + wide + 4;
  if (in.size() < head.size) return std::nullopt;
  if (wide > 0) length = 0;
  for (std::size_t i = 0; i < wide; ++i) length = length << 8 | byteAt(in, 2 + i);
  if (length >> 63 != 0) violation_ = 1002;
  if (violation_ == 0 && !isControl && (length > most_ || message_.size() + length > most_)) violation_ = 1009;
  if (violation_ != 0) return std::nullopt;
  head.length = length;
  return head;
}

std::optional<WebSocketMessage> WebSocketReader::control(const Head& head, std::string payload) {
  WebSocketMessage message{static_cast<WebSocketKind>(head.opcode), std::move(payload), 1005};
  if (message.kind != WebSocketKind::close) return message;
  closed_ = true;
  if (message.data.empty()) return message;
  if (message.data.size() < 2) return refuse(1002);
  message.code = static_cast<int>(byteAt(message.data, 0) << 8 | byteAt(message.data, 1));
  message.data.erase(0, 2);
  if (!isCloseCode(message.code)) return refuse(1002);
  if (!isUtf8(message.data)) return refuse(1007);
  return message;
}

std::optional<WebSocketMessage> WebSocketReader::take(const Head& head, std::string payload) {
  if (head.opcode != 0) {
    fragmented_ = head.opcode;
    deflated_ = head.deflated;
  }
  if (message_.empty()) {
    message_ = std::move(payload);
  } else {
    message_ += payload;
  }
  return head.last ? whole() : std::nullopt;
}

std::optional<WebSocketMessage> WebSocketReader::whole() {
  WebSocketMessage message{static_cast<WebSocketKind>(std::exchange(fragmented_, 0)), std::exchange(message_, {}),
                           1005};
  if (deflated_) {
    const std::string payload = std::exchange(message.data, {});
    const Inflater::End end = inflater_->inflate(payload, most_, message.data);
    if (end != Inflater::End::whole) return refuse(end == Inflater::End::tooLarge ? 1009 : 1007);
  }
  if (message.kind == WebSocketKind::text && !isUtf8(message.data)) return refuse(1007);
  return message;
}

std::optional<WebSocketMessage> WebSocketReader::next() {
  std::optional<WebSocketMessage> message;
  while (!message && violation_ == 0 && !closed_) {
    const auto head = this->head();
    if (!head || in_.size() - at_ < head->size + head->length) break;
    const std::string key = in_.substr(at_ + head->size - 4, 4);
    std::string payload = in_.substr(at_ + head->size, head->length);
    at_ += head->size + head->length;
    unmask(payload, key);
    message = head->opcode >= 8 ? control(*head, std::move(payload)) : take(*head, std::move(payload));
  }
  if (at_ == in_.size() || at_ > 64 * 1024) in_.erase(0, std::exchange(at_, 0));
  return message;
}

}  // namespace gridiron::net
