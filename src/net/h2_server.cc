#include <boost/asio/post.hpp>

#include "net/h2_session.h"
#include "net/http_text.h"
#include "net/serving.h"

namespace gridiron::net {

namespace {

Headers answerFields(int status, const Headers& headers) {
  Headers out;
  out.add(":status", std::to_string(status));
  for (const auto& [name, value] : headers.fields()) {
    std::string lower = lowerCase(name);
    if (!isHopByHop(lower)) out.add(std::move(lower), value);
  }
  if (!headers.find("date")) out.add("date", dateNow());
  return out;
}

class H2Exchange final : public ServedExchange {
 public:
  H2Exchange(std::shared_ptr<H2Stream> stream, RequestHead head) : stream_(std::move(stream)), head_(std::move(head)) {
    stream_->headOnly = head_.method == "HEAD";
  }

  const RequestHead& head() const override { return head_; }
  asio::io_context* loop() override { return &stream_->io; }

  Task<Result<std::optional<std::string>>> read() override { return H2Stream::read(stream_); }

  Task<Result<void>> upgrade(Headers headers) override {
    if (head_.protocol.empty()) co_return Error{Code::unimplemented, "this stream cannot be taken over"};
    co_return sendHead(200, headers, false);
  }

  Task<Result<void>> respond(int status, Headers headers, bool endStream) override {
    co_return sendHead(status, headers, endStream);
  }

  Task<Result<void>> write(std::string chunk) override {
    if (!stream_->outHead) return failed(Error{Code::internal, "write before respond"});
    return H2Stream::write(stream_, std::move(chunk));
  }

  Task<Result<void>> finish(Headers trailers) override { co_return end(std::move(trailers)); }

  Task<Result<void>> answer(int status, Headers headers, std::string body) override {
    const bool sized = status != 204 && status != 304;
    if (sized && !headers.find("content-length")) headers.add("content-length", std::to_string(body.size()));
    const bool empty = body.empty() || stream_->headOnly || !sized;
    if (const auto sent = sendHead(status, headers, empty); !sent.ok()) co_return sent.error();
    if (empty) co_return Result<void>();
    stream_->push(std::move(body));
    co_return end({});
  }

  void abort() override { stream_->reset(NGHTTP2_INTERNAL_ERROR); }

  void onGone(std::function<void()> callback) override {
    if (stream_->gone) {
      if (callback) asio::post(stream_->io.get_executor(), std::move(callback));
    } else if (!stream_->outDone) {
      stream_->onOver = std::move(callback);
    }
  }
  bool gone() const override { return stream_->gone; }
  bool headSent() const override { return stream_->outHead; }
  bool answered() const override { return stream_->outEnd; }

 private:
  static Task<Result<void>> failed(Error error) { co_return error; }

  Result<void> sendHead(int status, const Headers& headers, bool endStream) {
    if (stream_->session == nullptr) return stream_->brokenOff();
    if (stream_->outHead) return Error{Code::internal, "the answer's head has been sent already"};
    RETURN_IF_ERROR(checkAnswerHead(status, headers));
    return stream_->session->submitResponse(*stream_, answerFields(status, headers), endStream);
  }

  Result<void> end(Headers trailers) {
    if (stream_->session == nullptr) return stream_->brokenOff();
    if (!stream_->outHead) return Error{Code::internal, "finish before respond"};
    if (stream_->outEnd) return Error{Code::internal, "the answer has been finished already"};
    RETURN_IF_ERROR(checkAnswerHead(200, trailers));
    stream_->end(std::move(trailers));
    return {};
  }

  const std::shared_ptr<H2Stream> stream_;
  const RequestHead head_;
};

H2Session::Limits limitsOf(const DoorOptions& options) {
  H2Session::Limits limits;
  limits.streamWindow = static_cast<std::uint32_t>(std::clamp<std::size_t>(options.maxBufferedBody, 65'535, 1u << 30));
  limits.maxHeaderBytes = options.maxHeaderBytes;
  return limits;
}

class H2Server final : public H2Session {
 public:
  H2Server(std::shared_ptr<Serving> serving, Peer peer, Carrier& carrier)
      : H2Session(serving->io, carrier, Side::server, limitsOf(serving->options)),
        serving_(std::move(serving)),
        peer_(std::move(peer)) {}

  void tick(Instant now) override {
    if (headSince_ && now - *headSince_ > serving_->options.headTimeout) {
      failed_ = true;
      carrier().kick();
    }
    resetStarving(now, serving_->options.bodyTimeout);
    if (openStreams() == 0 && now - lastActivity_ > serving_->options.idleTimeout) goaway();
  }

  void drain(bool force) override {
    draining_ = true;
    if (openStreams() == 0) {
      goaway();
    } else if (force) {
      nghttp2_submit_goaway(raw(), NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(raw()), NGHTTP2_NO_ERROR,
                            nullptr, 0);
      carrier().kick();
    }
  }

 protected:
  void onHead(const std::shared_ptr<H2Stream>& stream) override {
    if (stream->headTooLarge) {
      return refuse(*stream, 431,
                    fmt::format("The request's head is larger than {} bytes.\n", serving_->options.maxHeaderBytes));
    }
    if (stream->method == "CONNECT" && stream->protocol != "websocket")
      return refuse(*stream, 501, "CONNECT is for WebSockets only (:protocol = websocket).\n");
    RequestHead head;
    head.method = std::move(stream->method);
    head.authority = std::move(stream->authority);
    head.target = std::move(stream->path);
    head.version = HttpVersion::http2;
    head.protocol = std::move(stream->protocol);
    head.headers = std::move(stream->headers);
    if (head.authority.empty()) head.authority = head.headers.find("host").value_or("");
    setOrigin(head, peer_, serving_->options);
    stream->mayStarve = !head.headers.find("content-type").value_or("").starts_with("application/grpc");
    dispatchBehind(serving_, std::make_shared<H2Exchange>(stream, std::move(head)));
  }

  // The last call of a connection that is being drained has ended.
  void onStreamOver() override {
    if (draining_ && openStreams() == 0) goaway();
  }

 private:
  void refuse(H2Stream& stream, int status, std::string text) {
    Headers headers;
    headers.add("content-type", "text/plain; charset=utf-8");
    if (!submitResponse(stream, answerFields(status, headers), false).ok()) return;
    stream.push(std::move(text));
    stream.end({});
  }

  const std::shared_ptr<Serving> serving_;
  const Peer peer_;
  bool draining_ = false;
};

}  // namespace

std::unique_ptr<Protocol> makeH2Server(std::shared_ptr<Serving> serving, Peer peer, Carrier& carrier) {
  peer.trusted = serving->options.trusted.has(peer.host);
  return std::make_unique<H2Server>(std::move(serving), std::move(peer), carrier);
}

}  // namespace gridiron::net
