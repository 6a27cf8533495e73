// A WebSocket's frames, compressed or not: the same messages however the bytes are cut, nothing larger than allowed;
// and what is offered and compressed.
#include "net/websocket.h"

#include "tests/fuzz/fuzz.h"

namespace {

using namespace gridiron::net;
using gridiron::fuzz::require;

constexpr std::size_t kMost = 4096;

struct Read {
  std::vector<WebSocketMessage> messages;
  int violation = 0;
};

Read readAll(std::string_view bytes, std::size_t cut, const std::optional<DeflateTerms>& terms) {
  WebSocketReader reader(kMost, terms);
  Read read;
  for (std::size_t at = 0; at < bytes.size(); at += cut) {
    reader.feed(bytes.substr(at, cut));
    while (auto message = reader.next()) read.messages.push_back(std::move(*message));
  }
  read.violation = reader.violation();
  return read;
}

void checkMessage(const WebSocketMessage& message) {
  const bool control = static_cast<int>(message.kind) >= 8;
  require(message.data.size() <= (control ? 125 : kMost), "a message is no larger than allowed");
  if (message.kind == WebSocketKind::close)
    require(message.code == 1005 || isCloseCode(message.code), "a close has a code that may be sent");
}

}  // namespace

FUZZ(websocket) {
  const unsigned how = gridiron::fuzz::choice(bytes);
  const std::size_t cut = 1 + how % 19;
  std::optional<DeflateTerms> terms;
  if (how >= 128) terms.emplace();
  if (how >= 192) terms->clientForgets = true;
  const Read whole = readAll(bytes, bytes.size() + 1, terms);
  const Read pieces = readAll(bytes, cut, terms);
  require(whole.violation == pieces.violation, "the same end however it is cut");
  require(whole.messages.size() == pieces.messages.size(), "as many messages however it is cut");
  for (std::size_t i = 0; i < whole.messages.size(); ++i) {
    const WebSocketMessage &a = whole.messages[i], &b = pieces.messages[i];
    require(a.kind == b.kind && a.data == b.data && a.code == b.code, "the same messages however they are cut");
    checkMessage(a);
  }
  if (const auto agreed = acceptDeflate(bytes)) {
    require(agreed->serverBits >= 9 && agreed->serverBits <= 15, "a window");
    require(agreed->clientBits >= 9 && agreed->clientBits <= 15, "a window");
    require(acceptDeflate(deflateAnswer(*agreed)).has_value(), "an answer is an offer too");
  }
  Deflater deflater(DeflateTerms{});
  Inflater inflater(DeflateTerms{});
  if (const auto payload = deflater.deflate(bytes)) {
    std::string again;
    require(inflater.inflate(*payload, bytes.size(), again) == Inflater::End::whole && again == bytes,
            "what is compressed comes back");
  }
}
