#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "base/result.h"

namespace gridiron::net {

// Header fields in the order they came, names in lower case.
class Headers {
 public:
  void add(std::string name, std::string value) { fields_.emplace_back(std::move(name), std::move(value)); }
  // The first value of `name` (lower case), if there is one.
  std::optional<std::string_view> find(std::string_view name) const;
  const std::vector<std::pair<std::string, std::string>>& fields() const { return fields_; }
  bool empty() const { return fields_.empty(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

enum class HttpVersion { http10, http11, http2 };

struct RequestHead {
  std::string method;
  std::string scheme;     // "http" or "https": how it reached the door
  std::string authority;  // Host or :authority, as sent
  std::string target;     // path and query as sent ("/a%20b?x=1")
  HttpVersion version = HttpVersion::http11;
  std::string protocol{};  // of an extended CONNECT (RFC 8441): "websocket"
  Headers headers;         // without pseudo headers; Host is in `authority` too
  std::string peerHost;    // "127.0.0.1"; "unix" for a unix socket
  int peerPort = 0;
};

// One request and its answer, whatever the HTTP version. Loop thread of its Door only. Everything that waits ends with
// an error when the peer goes away, so handlers need no special case; `onGone` is for those who wait for something
// else.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const RequestHead& head() const = 0;

  // The next piece of the body (never empty), nothing at its end. Flow control: what is not read is not received
  // (bounded buffer). Errors: cancelled (peer gone), invalidArgument (malformed chunking).
  virtual Task<Result<std::optional<std::string>>> read() = 0;

  // What has come of the body and was not read, at once, behind `out`. True: that was the end of it.
  virtual bool readBuffered(std::string& out) {
    (void)out;
    return false;
  }

  // Takes the connection out of HTTP: 101 with `headers` (over HTTP/2, for an extended CONNECT, 200 and a stream), and
  // from then on read() gives and write() takes its bytes as they are; finish() closes it. Only before any answer, for
  // a request without a body. unimplemented for what cannot be taken over.
  virtual Task<Result<void>> upgrade(Headers headers) {
    (void)headers;
    co_return Error{Code::unimplemented, "this connection cannot be taken over"};
  }

  // Sends the head. `endStream` = there will be no body. Hop-by-hop headers are the door's own business.
  virtual Task<Result<void>> respond(int status, Headers headers, bool endStream) = 0;
  // Sends a piece of the body; returns when the peer's window and our buffer have room.
  virtual Task<Result<void>> write(std::string chunk) = 0;
  // Ends the body, with trailers (HTTP/2, or chunked HTTP/1.1 when the client asked "te: trailers").
  virtual Task<Result<void>> finish(Headers trailers = {}) = 0;
  // Head, body and end in one write (the fast way for small answers).
  virtual Task<Result<void>> answer(int status, Headers headers, std::string body) = 0;
  // Aborts: RST_STREAM or a closed connection; the peer sees that the answer is incomplete.
  virtual void abort() = 0;

  // `callback` runs once on the loop if the peer goes away before the answer is complete. Setting it again replaces it.
  virtual void onGone(std::function<void()> callback) = 0;
  virtual bool gone() const = 0;

  // The loop that the exchange lives on; null for one that has none (a fake in a test).
  virtual asio::io_context* loop() { return nullptr; }
};

// Passes everything on; who stands between a handler and an exchange overrides what is of interest.
class PassedExchange : public Exchange {
 public:
  explicit PassedExchange(std::shared_ptr<Exchange> inner) : inner_(std::move(inner)) {}
  const RequestHead& head() const override { return inner_->head(); }
  Task<Result<std::optional<std::string>>> read() override { return inner_->read(); }
  bool readBuffered(std::string& out) override { return inner_->readBuffered(out); }
  Task<Result<void>> upgrade(Headers headers) override { return inner_->upgrade(std::move(headers)); }
  Task<Result<void>> respond(int status, Headers headers, bool endStream) override {
    return inner_->respond(status, std::move(headers), endStream);
  }
  Task<Result<void>> write(std::string chunk) override { return inner_->write(std::move(chunk)); }
  Task<Result<void>> finish(Headers trailers) override { return inner_->finish(std::move(trailers)); }
  Task<Result<void>> answer(int status, Headers headers, std::string body) override {
    return inner_->answer(status, std::move(headers), std::move(body));
  }
  void abort() override { inner_->abort(); }
  void onGone(std::function<void()> callback) override { inner_->onGone(std::move(callback)); }
  bool gone() const override { return inner_->gone(); }
  asio::io_context* loop() override { return inner_->loop(); }

 protected:
  const std::shared_ptr<Exchange> inner_;
};

// An exchange belongs to its handler: one that returns without an answer leaves a 500 to the client, one that returns
// in the middle of an answer aborts it. An HTTP/1.1 client that closes its sending side is taken to have hung up.
using HttpHandler = std::function<Task<void>(std::shared_ptr<Exchange>)>;

}  // namespace gridiron::net
