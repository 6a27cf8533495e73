#pragma once

#include <functional>
#include <memory>
#include <string>

#include "net/upstream.h"

namespace gridiron::net {

// Connections to one server.
class Upstreams {
 public:
  virtual ~Upstreams() = default;
  // One that was kept and is idle, or null.
  virtual std::shared_ptr<Upstream> spare() = 0;
  virtual Task<Result<std::shared_ptr<Upstream>>> dial() = 0;
  // It is idle and may serve another request.
  virtual void keep(std::shared_ptr<Upstream> upstream) = 0;
};

// A request as it is passed on: its fields are the sender's without those of the hop and without content-length.
struct PassedRequest {
  std::string method, target;
  Headers headers;
  bool webSocket = false;  // it asks for a WebSocket, which is passed through as bytes
};

struct PassedOn {
  enum class End {
    answered,   // the peer has the whole answer
    peerGone,   // before that
    noAnswer,   // the peer has nothing yet: `why`
    brokenOff,  // the peer has seen its answer cut off: `why`
  };
  End end = End::answered;
  // unavailable: no connection could be made, so nothing was sent. invalidArgument: of the sender's making. cancelled,
  // internal: of the server's.
  Error why{};
};

// One request on its way to a server, and its answer on the way back, each as fast as the other side takes it. A
// request that was sent over a kept connection which turns out to have been closed is sent once more, when its method
// says that this does no harm (RFC 9110, 9.2.2) and its body is at hand. Loop thread only.
class PassingOn : public std::enable_shared_from_this<PassingOn> {
 public:
  // `answerHeaders` makes the fields of the answer from the server's head. `upstreams` outlives run().
  PassingOn(asio::io_context& io, std::shared_ptr<Exchange> exchange, Upstreams& upstreams, PassedRequest request,
            std::function<Headers(ResponseHead&)> answerHeaders);

  Task<PassedOn> run();
  // Gives up: run() ends soon.
  void stop();

 private:
  Task<PassedOn> attempt(std::shared_ptr<Upstream> kept);
  Task<PassedOn> answer(ResponseHead head);
  Task<Result<void>> copyRest();
  Task<PassedOn> tunnel(ResponseHead head);
  static Task<void> sendBody(std::shared_ptr<PassingOn> self, std::shared_ptr<Upstream> to);
  static Task<void> sendRaw(std::shared_ptr<PassingOn> self, std::shared_ptr<Upstream> to);
  std::string beginning() const;
  PassedOn failed(Error why, bool headSent);

  asio::io_context& io_;
  const std::shared_ptr<Exchange> exchange_;
  Upstreams& upstreams_;
  const PassedRequest request_;
  const std::function<Headers(ResponseHead&)> answerHeaders_;
  std::shared_ptr<Upstream> upstream_;
  std::string body_;                       // what had come of it at the beginning
  bool whole_ = false;                     // that was all
  std::optional<std::uint64_t> declared_;  // length of the body; without one it is sent in chunks
  std::optional<Error> bodyProblem_;
  bool bodySent_ = false, stopped_ = false, mayRepeat_ = false;
  bool gone_ = false;    // the peer is
  bool cutOff_ = false;  // by us
};

// The fields without those of the hop: Connection and the like, and what Connection names (RFC 9110, 7.6.1).
Headers withoutHop(const Headers& headers);

}  // namespace gridiron::net
