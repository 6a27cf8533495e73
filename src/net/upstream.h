#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/loop.h"
#include "net/h1_response.h"

namespace gridiron::net {

// A connection to an HTTP/1.1 server that requests are passed on to, one at a time. What the server says beyond what is
// read is not received (bounded buffer). Loop thread only; lives until it is closed, and closes with its last owner.
class Upstream {
 public:
  // `socket`: connected, or on its way to be.
  static std::shared_ptr<Upstream> open(asio::io_context& io, Fd socket);
  ~Upstream();
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  // Another request may be sent: the last one's answer is read to its end, nothing came behind it, and the server has
  // not closed the connection.
  bool isIdle() const;
  // What is sent next is such a request (see H1ResponseParser::expect).
  void begin(std::string_view method, bool upgrade);
  void send(std::string bytes);
  // Ends when little is unsent; false: the connection is lost.
  Task<bool> drain();

  // The head of the answer. Errors: cancelled (the connection is lost), internal (what came is not HTTP).
  Task<Result<ResponseHead>> head();
  // After the head: what has come of the body, at once, behind `out`. True: that was the end of it.
  bool readBuffered(std::string& out);
  // The next piece of the body (never empty), nothing at its end. Errors as of head.
  Task<Result<std::optional<std::string>>> read();
  // After the end of the body.
  Headers trailers();

  // Of the request in progress no byte of an answer has come.
  bool unanswered() const;
  // At once. May be repeated.
  void close();

 private:
  struct State;
  explicit Upstream(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

// Connections to one server that wait for their next request. Loop thread only.
class KeptUpstreams {
 public:
  // The one that was used last and is idle still, or null.
  std::shared_ptr<Upstream> take();
  // It is idle. Beyond kMost it is closed.
  void put(std::shared_ptr<Upstream> upstream);
  static constexpr std::size_t kMost = 256;

 private:
  std::vector<std::shared_ptr<Upstream>> kept_;
};

}  // namespace gridiron::net
