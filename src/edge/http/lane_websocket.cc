#include "edge/http/lane_websocket.h"

#include <algorithm>
#include <cctype>

#include "edge/http/lane_serving.h"
#include "edge/http/scope.h"
#include "net/websocket.h"

namespace gridiron::edge {
namespace {

constexpr std::size_t kMostMessage = 16u << 20;  // of a peer, in bytes
constexpr std::size_t kLargeMessage = 4 * 1024;
constexpr Nanos kToClose = std::chrono::seconds(5);          // for the peer to answer a close
constexpr Nanos kAfterClose = std::chrono::seconds(10);      // for the app to end after one
constexpr int kNormal = 1000, kLost = 1006, kFailed = 1011;  // codes of a close

// Is `token` among the comma-parted ones of `text`, in whatever case?
bool names(std::string_view text, std::string_view token) {
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    std::string_view one = text.substr(0, comma);
    while (!one.empty() && (one.front() == ' ' || one.front() == '\t')) one.remove_prefix(1);
    while (!one.empty() && (one.back() == ' ' || one.back() == '\t')) one.remove_suffix(1);
    if (std::equal(one.begin(), one.end(), token.begin(), token.end(), same)) return true;
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return false;
}

// The values of a header that may come in several fields.
std::string allOf(const net::RequestHead& head, std::string_view name) {
  std::string all;
  for (const auto& [field, value] : head.headers.fields()) {
    if (field == name) all += (all.empty() ? "" : ", ") + value;
  }
  return all;
}

class LaneWebSocket final : public LaneServing {
 public:
  LaneWebSocket(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes)
      : LaneServing(std::move(web), std::move(place), lanes), closed_(web_->parts.io) {}

  Task<bool> run() {
    const auto self = std::static_pointer_cast<LaneWebSocket>(shared_from_this());
    web_->exchange->onGone([weak = std::weak_ptr<LaneWebSocket>(self)] {
      if (const auto here = weak.lock()) here->peerGone();
    });
    begin({}, false);
    co_await listen();
    co_await sayWhy();
    leave();
    if (accepted_ && !finished_ && !gone_) (void)co_await closed_.wait(kToClose);
    web_->exchange->onGone({});
    if (accepted_ && !finished_) web_->exchange->abort();
    co_return accepted_;
  }

 private:
  Task<void> take(LaneFrame frame) override {
    if (gone_ || closing_ || broken_) co_return;
    if (frame.kind == 'W' && !accepted_) {
      co_await accept(readLaneAccept(frame.payload));
    } else if (frame.kind == 'X' && !accepted_) {
      broken_ = true;
      Answer answer = textAnswer(403, "The function did not accept the WebSocket.");
      (void)co_await web_->exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
    } else if (frame.kind == 'X') {
      const LaneClose close = readLaneClose(frame.payload);
      co_await sendClose(close.code, close.reason);
    } else if (accepted_ && (frame.kind == 'T' || frame.kind == 'Y')) {
      const auto kind = frame.kind == 'T' ? net::WebSocketKind::text : net::WebSocketKind::bytes;
      std::optional<std::string> deflated;
      if (deflater_) deflated = deflater_->deflate(frame.payload);
      (void)co_await web_->exchange->write(
          net::webSocketFrame(kind, deflated ? *deflated : frame.payload, deflated.has_value()));
    }
  }

  Task<void> accept(LaneAccept given) {
    const net::RequestHead& head = web_->exchange->head();
    net::Headers headers;
    if (head.protocol.empty()) {
      headers.add("upgrade", "websocket");
      headers.add("connection", "Upgrade");
      headers.add("sec-websocket-accept", net::webSocketAccept(*head.headers.find("sec-websocket-key")));
    }
    const std::optional<net::DeflateTerms> deflate = net::acceptDeflate(allOf(head, "sec-websocket-extensions"));
    if (deflate) headers.add("sec-websocket-extensions", net::deflateAnswer(*deflate));
    if (!given.subprotocol.empty()) headers.add("sec-websocket-protocol", std::move(given.subprotocol));
    const net::Headers own = responseHeaders(given.headers);
    for (const auto& [name, value] : own.fields()) {
      if (!name.starts_with("sec-websocket-") && name != "content-length") headers.add(name, value);
    }
    Result<void> done = co_await web_->exchange->upgrade(std::move(headers));
    if (!done.ok() && !web_->exchange->gone()) {
      broken_ = true;
      Answer answer = textAnswer(502, "The function's answer is not HTTP: " + done.error().message);
      (void)co_await web_->exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
    }
    if (!done.ok()) co_return;
    accepted_ = true;
    if (deflate) deflater_.emplace(*deflate);
    spawn(web_->parts.io, hear(std::static_pointer_cast<LaneWebSocket>(shared_from_this()), deflate));
  }

  // What the peer sends, to the app, as fast as that takes it.
  static Task<void> hear(std::shared_ptr<LaneWebSocket> self, std::optional<net::DeflateTerms> deflate) {
    net::WebSocketReader reader(kMostMessage, deflate);
    while (!self->finished_) {
      Result<std::optional<std::string>> bytes = co_await self->web_->exchange->read();
      if (!bytes.ok()) co_return;  // onGone tells the app
      if (!bytes->has_value()) {   // an HTTP/2 stream that the peer has ended without a close
        co_await self->finish(kLost);
        co_return;
      }
      reader.feed(**bytes);
      while (std::optional<net::WebSocketMessage> message = reader.next()) {
        const std::size_t size = message->data.size();
        co_await self->pass(std::move(*message));
        // A few compressed bytes may be many: each message that is large waits for room.
        if (size > kLargeMessage) (void)co_await self->place_->socket->drain();
      }
      if (reader.violation() != 0) {
        const int code = reader.violation();
        co_await self->sendClose(code, {});
        co_await self->finish(code);
        co_return;
      }
      (void)co_await self->place_->socket->drain();
    }
  }

  Task<void> pass(net::WebSocketMessage message) {
    using Kind = net::WebSocketKind;
    if (message.kind == Kind::close) {
      co_await sendClose(message.code, {});
      co_await finish(message.code);
    } else if (closing_ || message.kind == Kind::pong) {
      co_return;
    } else if (message.kind == Kind::ping) {
      (void)co_await web_->exchange->write(net::webSocketFrame(Kind::pong, message.data));
    } else if (!web_->ended) {
      place_->socket->write(laneFrame(message.kind == Kind::text ? 'T' : 'Y', message.data));
    }
  }

  Task<void> sendClose(int code, std::string reason) {
    if (std::exchange(closing_, true)) co_return;
    (void)co_await web_->exchange->write(net::webSocketClose(code, reason));
  }

  // Both sides have closed: the connection ends, and the app hears of it if it is still there.
  Task<void> finish(int code) {
    if (std::exchange(finished_, true)) co_return;
    if (!web_->ended) disconnect(laneFrame('X', std::to_string(code)), kAfterClose);
    (void)co_await web_->exchange->finish({});
    closed_.notifyAll();
  }

  void peerGone() {
    gone_ = true;
    closed_.notifyAll();
    if (!web_->ended) disconnect(laneFrame('X', std::to_string(kLost)), kAfterClose);
  }

  Task<void> sayWhy() override {
    if (gone_ || broken_) co_return;
    if (accepted_) {
      const bool well = !place_->verdict && outcome_.status == OutcomeStatus::success;
      co_await sendClose(ended_ && well ? kNormal : kFailed, {});
      co_return;
    }
    broken_ = true;
    Answer answer = reason();
    (void)co_await web_->exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
  }

  Notifier closed_;
  std::optional<net::Deflater> deflater_;
  bool accepted_ = false;  // by the app, and the peer knows
  bool closing_ = false;   // our close is out
  bool finished_ = false;  // so is the peer's
};

}  // namespace

bool wantsWebSocket(const net::RequestHead& head) {
  if (!head.protocol.empty()) return true;
  const auto upgrade = head.headers.find("upgrade");
  return head.headers.find("sec-websocket-key") || (upgrade && names(*upgrade, "websocket"));
}

std::optional<Answer> webSocketProblem(const net::RequestHead& head) {
  const bool extended = !head.protocol.empty();
  if (head.version != net::HttpVersion::http11 && !extended)
    return textAnswer(501, "WebSockets are spoken over HTTP/1.1, and HTTP/2 by an extended CONNECT (RFC 8441).");
  const auto find = [&](const char* name) { return head.headers.find(name).value_or(""); };
  if (find("sec-websocket-version") != "13") {
    Answer answer = textAnswer(426, "Version 13 of the WebSocket protocol is spoken here.");
    answer.headers.add("sec-websocket-version", "13");
    return answer;
  }
  if (extended) return std::nullopt;
  const bool well = head.method == "GET" && names(find("upgrade"), "websocket") &&
                    names(find("connection"), "upgrade") && net::isWebSocketKey(find("sec-websocket-key"));
  if (!well) return textAnswer(400, "This is no WebSocket handshake.");
  return std::nullopt;
}

Task<bool> serveWebSocket(std::shared_ptr<WebCall> web, std::shared_ptr<LanePlace> place, Lanes& lanes) {
  const auto socket = std::make_shared<LaneWebSocket>(std::move(web), std::move(place), lanes);
  const bool accepted = co_await socket->run();
  co_return accepted;
}

}  // namespace gridiron::edge
