#pragma once

#include <nghttp2/nghttp2.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "net/http.h"
#include "net/protocol.h"

namespace gridiron::net {

class H2Session;

// How much of a connection's received bytes nobody has read yet. Shared by the session and its streams, which may
// outlive it.
struct H2Budget {
  H2Session* session = nullptr;  // null when the connection has ended
  std::size_t buffered = 0;
  std::size_t owed = 0;  // received, not yet given back to the connection's window
};

// One stream, seen from either side. Shared by the session (until the stream is over) and by whoever uses it.
struct H2Stream {
  H2Stream(asio::io_context& loop, std::shared_ptr<H2Budget> shared);
  ~H2Stream();

  // The next bytes received, nothing at their end; cancelled when the stream broke off.
  static Task<Result<std::optional<std::string>>> read(std::shared_ptr<H2Stream> stream);
  // Queues `chunk` and waits until little enough is queued.
  static Task<Result<void>> write(std::shared_ptr<H2Stream> stream, std::string chunk);
  // Queue without waiting; these do nothing on a stream that is over.
  void push(std::string chunk);
  void end(Headers trailers);
  void reset(std::uint32_t errorCode);
  Error brokenOff() const;

  asio::io_context& io;
  std::shared_ptr<H2Budget> budget;
  H2Session* session = nullptr;  // null once the stream is over
  std::int32_t id = 0;
  std::optional<std::uint32_t> errorCode;  // how it ended
  bool lostConnection = false;

  // The head as it comes in.
  std::string method, scheme, authority, path, protocol, status;
  Headers headers;
  std::string cookies;
  Headers trailers;
  std::size_t headBytes = 0;
  bool headTooLarge = false;
  bool headDone = false;

  std::deque<std::string> inbox;
  bool inEnd = false;
  bool mayStarve = false;             // resetStarving() is for it
  std::optional<Instant> waitsSince;  // somebody waits for bytes, and none have come

  std::deque<std::string> outbox;
  std::size_t outOffset = 0;  // sent of outbox.front()
  std::size_t outBytes = 0;
  bool outHead = false;  // head submitted
  bool outEnd = false;   // nothing more will be queued
  bool outDone = false;  // the end has been sent
  bool outDeferred = false;
  bool headOnly = false;  // an answer to HEAD: body bytes are dropped
  Headers outTrailers;
  int writersWaiting = 0;

  Notifier changed;
  std::function<void()> onOver;  // posted to the loop when the stream ends before outDone
  bool gone = false;             // ended before outDone
};

// nghttp2 behind the Protocol interface; the two sides derive from it. Loop thread only.
class H2Session : public Protocol {
 public:
  struct Limits {
    std::uint32_t streamWindow = 1024 * 1024;
    std::uint32_t maxStreams = 1000;
    std::size_t maxHeaderBytes = 64 * 1024;
  };
  enum class Side { server, client };

  H2Session(asio::io_context& io, Carrier& carrier, Side side, Limits limits);
  ~H2Session() override;

  void receive(std::string_view bytes) override;
  void fill(std::string& out) override;
  bool wantsRead() const override { return true; }
  bool finished() const override;
  void lost() override;

  std::size_t openStreams() const { return streams_.size(); }
  bool goawayReceived() const { return goawayReceived_; }
  nghttp2_session* raw() { return session_; }
  Carrier& carrier() { return carrier_; }
  void consumed(H2Stream& stream, std::size_t bytes);

  // Sends a head: of a response on `stream`, or of a request on a new one. With `end` there is no body.
  Result<void> submitResponse(H2Stream& stream, const Headers& pseudoAndFields, bool end);
  Result<void> submitRequest(const std::shared_ptr<H2Stream>& stream, const Headers& pseudoAndFields, bool end);

  asio::io_context& io() { return io_; }

 protected:
  virtual void onHead(const std::shared_ptr<H2Stream>& stream) = 0;
  virtual void onStreamOver() {}
  std::shared_ptr<H2Stream> makeStream();
  void goaway();
  // Resets the streams whose body is waited for and does not come for `limit`, before an answer has begun.
  void resetStarving(Instant now, Nanos limit);

  Instant lastActivity_ = instantNow();
  std::optional<Instant> headSince_;  // a request's head has begun and is not complete
  bool failed_ = false;

 private:
  struct Callbacks;
  friend struct Callbacks;
  void over(H2Stream& stream, std::uint32_t errorCode, bool lostConnection);
  void takeField(H2Stream& stream, std::string_view name, std::string_view value);
  void headComplete(H2Stream& stream, bool end);
  ssize_t takeOut(H2Stream& stream, std::uint8_t* to, std::size_t length, std::uint32_t* flags);

  asio::io_context& io_;
  Carrier& carrier_;
  const Side side_;
  const Limits limits_;
  std::shared_ptr<H2Budget> budget_;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<std::int32_t, std::shared_ptr<H2Stream>> streams_;
  bool goawayReceived_ = false;
  bool lost_ = false;
};

}  // namespace gridiron::net
