#include "net/proxy.h"

#include <algorithm>
#include <charconv>

#include "base/id.h"
#include "net/http_text.h"

namespace gridiron::net {

namespace {

bool mayBeSentTwice(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" || method == "DELETE" ||
         method == "TRACE";
}

std::optional<std::uint64_t> lengthOf(const Headers& headers) {
  const auto text = headers.find("content-length");
  std::uint64_t length = 0;
  if (!text) return std::nullopt;
  const auto [end, failed] = std::from_chars(text->data(), text->data() + text->size(), length);
  if (failed != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return length;
}

void append(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

void appendChunk(std::string& out, std::string_view piece) {
  char size[20];
  const auto end = std::to_chars(size, size + sizeof size, piece.size(), 16).ptr;
  out.append(size, end).append("\r\n").append(piece).append("\r\n");
}

}  // namespace

PassingOn::PassingOn(asio::io_context& io, std::shared_ptr<Exchange> exchange, Upstreams& upstreams,
                     PassedRequest request, std::function<Headers(ResponseHead&)> answerHeaders)
    : io_(io),
      exchange_(std::move(exchange)),
      upstreams_(upstreams),
      request_(std::move(request)),
      answerHeaders_(std::move(answerHeaders)),
      declared_(lengthOf(exchange_->head().headers)) {}

Task<PassedOn> PassingOn::run() {
  const auto self = shared_from_this();
  whole_ = request_.webSocket || exchange_->readBuffered(body_);
  exchange_->onGone([weak = weak_from_this()] {
    const auto here = weak.lock();
    if (!here || here->cutOff_) return;
    here->gone_ = true;
    here->stop();
  });
  PassedOn out = co_await attempt(upstreams_.spare());
  if (std::exchange(mayRepeat_, false)) out = co_await attempt(nullptr);
  exchange_->onGone({});
  if (bodyProblem_ && out.end != PassedOn::End::answered) out.why = *bodyProblem_;
  if (out.end != PassedOn::End::answered && (gone_ || (exchange_->gone() && !cutOff_)))
    out.end = PassedOn::End::peerGone;
  co_return out;
}

void PassingOn::stop() {
  stopped_ = true;
  if (upstream_) upstream_->close();
}

PassedOn PassingOn::failed(Error why, bool headSent) {
  upstream_->close();
  if (headSent && !exchange_->gone()) {
    cutOff_ = true;
    exchange_->abort();
  }
  return {headSent ? PassedOn::End::brokenOff : PassedOn::End::noAnswer, std::move(why)};
}

Task<PassedOn> PassingOn::attempt(std::shared_ptr<Upstream> kept) {
  const bool isKept = kept != nullptr;
  upstream_ = std::move(kept);
  if (!isKept) {
    Result<std::shared_ptr<Upstream>> dialled = co_await upstreams_.dial();
    if (!dialled.ok()) co_return PassedOn{PassedOn::End::noAnswer, Error{Code::unavailable, dialled.error().message}};
    upstream_ = std::move(*dialled);
  }
  if (stopped_) upstream_->close();
  upstream_->begin(request_.method, request_.webSocket);
  upstream_->send(beginning());
  bodySent_ = whole_;
  if (!whole_) spawn(io_, sendBody(shared_from_this(), upstream_));
  Result<ResponseHead> head = co_await upstream_->head();
  if (!head.ok()) {
    mayRepeat_ = isKept && whole_ && !stopped_ && upstream_->unanswered() && mayBeSentTwice(request_.method);
    co_return failed(head.error(), false);
  }
  PassedOn out;
  if (head->status == 101) {
    out = co_await tunnel(std::move(*head));
  } else {
    out = co_await answer(std::move(*head));
  }
  if (out.end != PassedOn::End::answered) co_return out;
  if (bodySent_ && !stopped_ && upstream_->isIdle()) {
    upstreams_.keep(std::move(upstream_));
  } else {
    upstream_->close();
  }
  co_return out;
}

// The head of the request and as much of its body as is there.
std::string PassingOn::beginning() const {
  std::string out;
  out.reserve(512 + body_.size());
  out.append(request_.method).append(" ").append(request_.target).append(" HTTP/1.1\r\n");
  for (const auto& [name, value] : request_.headers.fields()) append(out, name, value);
  if (request_.webSocket) {
    out += "connection: Upgrade\r\nupgrade: websocket\r\n";
    // Of a peer that speaks HTTP/2 there is none: 16 bytes in base64.
    if (!request_.headers.find("sec-websocket-key")) append(out, "sec-websocket-key", randomAlnum(21) + "A==");
  } else if (declared_ || (whole_ && !body_.empty())) {
    append(out, "content-length", std::to_string(declared_.value_or(body_.size())));
  } else if (!whole_) {
    out += "transfer-encoding: chunked\r\n";
  }
  out += "\r\n";
  if (!whole_ && !declared_ && !body_.empty()) {
    appendChunk(out, body_);
  } else {
    out += body_;
  }
  return out;
}

// The rest of the body. What makes it end early ends the request too.
Task<void> PassingOn::sendBody(std::shared_ptr<PassingOn> self, std::shared_ptr<Upstream> to) {
  for (bool alive = true; alive;) {
    Result<std::optional<std::string>> piece = co_await self->exchange_->read();
    if (!piece.ok()) {
      if (piece.error().code == Code::invalidArgument) self->bodyProblem_ = piece.error();
      to->close();
      co_return;
    }
    if (!piece->has_value()) {
      if (!self->declared_) to->send("0\r\n\r\n");
      self->bodySent_ = true;
      co_return;
    }
    if (self->declared_) {
      to->send(std::move(**piece));
    } else {
      std::string chunk;
      appendChunk(chunk, **piece);
      to->send(std::move(chunk));
    }
    alive = co_await to->drain();
  }
}

Task<PassedOn> PassingOn::answer(ResponseHead head) {
  const bool bodiless = request_.method == "HEAD" || head.status == 204 || head.status == 304;
  Headers headers = answerHeaders_(head);
  std::string body;
  const bool all = upstream_->readBuffered(body);
  Headers trailers = all ? upstream_->trailers() : Headers();
  const bool atOnce = bodiless || (all && trailers.empty());
  Result<void> sent;
  if (atOnce && !bodiless) {
    sent = co_await exchange_->answer(head.status, std::move(headers), std::move(body));
  } else {
    sent = co_await exchange_->respond(head.status, std::move(headers), bodiless);
  }
  if (!sent.ok()) co_return failed(sent.error(), false);
  if (atOnce) co_return PassedOn{};
  if (!body.empty()) sent = co_await exchange_->write(std::move(body));
  if (sent.ok() && all) sent = co_await exchange_->finish(std::move(trailers));
  if (sent.ok() && !all) sent = co_await copyRest();
  if (!sent.ok()) co_return failed(sent.error(), true);
  co_return PassedOn{};
}

Task<Result<void>> PassingOn::copyRest() {
  for (;;) {
    Result<std::optional<std::string>> piece = co_await upstream_->read();
    if (!piece.ok()) co_return piece.error();
    if (!piece->has_value()) break;
    Result<void> sent = co_await exchange_->write(std::move(**piece));
    if (!sent.ok()) co_return sent;
  }
  Result<void> sent = co_await exchange_->finish(upstream_->trailers());
  co_return sent;
}

// A WebSocket: bytes, both ways, until either side ends it.
Task<PassedOn> PassingOn::tunnel(ResponseHead head) {
  Headers headers = answerHeaders_(head);
  Headers own;
  const bool overHttp1 = exchange_->head().protocol.empty();
  if (overHttp1) {
    own.add("connection", "Upgrade");
    own.add("upgrade", "websocket");
  }
  for (const auto& [name, value] : headers.fields()) {
    if (name != "content-length" && (overHttp1 || name != "sec-websocket-accept")) own.add(name, value);
  }
  Result<void> sent = co_await exchange_->upgrade(std::move(own));
  if (!sent.ok()) co_return failed(sent.error(), false);
  spawn(io_, sendRaw(shared_from_this(), upstream_));
  for (;;) {
    Result<std::optional<std::string>> piece = co_await upstream_->read();
    if (!piece.ok() || !piece->has_value()) break;
    sent = co_await exchange_->write(std::move(**piece));
    if (!sent.ok()) break;
  }
  upstream_->close();
  if (!exchange_->gone()) sent = co_await exchange_->finish({});
  co_return PassedOn{};
}

Task<void> PassingOn::sendRaw(std::shared_ptr<PassingOn> self, std::shared_ptr<Upstream> to) {
  for (bool alive = true; alive;) {
    Result<std::optional<std::string>> piece = co_await self->exchange_->read();
    if (!piece.ok() || !piece->has_value()) break;
    to->send(std::move(**piece));
    alive = co_await to->drain();
  }
  to->close();
}

Headers withoutHop(const Headers& headers) {
  std::vector<std::string> named;
  for (const auto& [name, value] : headers.fields()) {
    if (name != "connection") continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      const std::string_view one = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), one.size() + 1));
      named.push_back(lowerCase(trimSpace(one)));
    }
  }
  Headers out;
  for (const auto& [name, value] : headers.fields()) {
    if (!isHopByHop(name) && std::find(named.begin(), named.end(), name) == named.end()) out.add(name, value);
  }
  return out;
}

}  // namespace gridiron::net
