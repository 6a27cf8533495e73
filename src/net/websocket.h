#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/websocket_deflate.h"

namespace gridiron::net {

// RFC 6455, the server's side, without I/O.

// What Sec-WebSocket-Accept is for a Sec-WebSocket-Key.
std::string webSocketAccept(std::string_view key);
// 16 bytes in base64, as a handshake must have.
bool isWebSocketKey(std::string_view key);

enum class WebSocketKind : std::uint8_t { text = 1, bytes = 2, close = 8, ping = 9, pong = 10 };

// A whole message, put together from its fragments.
struct WebSocketMessage {
  WebSocketKind kind = WebSocketKind::text;
  std::string data;  // of a close: its reason
  int code = 1005;   // of a close; 1005: it had none
};

// Unmasked, in one piece; `deflated`: data is what a Deflater made of the message.
std::string webSocketFrame(WebSocketKind kind, std::string_view data, bool deflated = false);
std::string webSocketClose(int code, std::string_view reason = {});
// May a close frame carry it?
bool isCloseCode(int code);

// What a client sends: bytes in, messages out.
class WebSocketReader {
 public:
  // `most`: bytes of a message, compressed and not. With `deflate` messages may be compressed as agreed.
  explicit WebSocketReader(std::size_t most, const std::optional<DeflateTerms>& deflate = std::nullopt);

  void feed(std::string_view bytes) { in_.append(bytes); }
  // The next message; nothing while bytes are missing, and after a violation of the protocol.
  std::optional<WebSocketMessage> next();
  // The code to close with after a violation: 1002 (protocol), 1007 (text that is no UTF-8, or not to be
  // decompressed), 1009 (too large). 0: none.
  int violation() const { return violation_; }

 private:
  struct Head {
    bool last = false, deflated = false;
    int opcode = 0;
    std::size_t size = 0, length = 0;  // of the head, of the payload
  };
  std::optional<Head> head();
  std::optional<WebSocketMessage> take(const Head& head, std::string payload);
  std::optional<WebSocketMessage> whole();
  std::optional<WebSocketMessage> control(const Head& head, std::string payload);
  std::optional<WebSocketMessage> refuse(int code);

  const std::size_t most_;
  std::optional<Inflater> inflater_;
  std::string in_;
  std::size_t at_ = 0;
  std::string message_;  // of fragments so far
  int fragmented_ = 0;   // their opcode
  bool deflated_ = false;
  int violation_ = 0;
  bool closed_ = false;
};

}  // namespace gridiron::net
