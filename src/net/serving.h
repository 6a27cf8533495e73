#pragma once

#include <memory>
#include <string>

#include "net/door.h"
#include "net/protocol.h"
#include "net/wire.h"

namespace gridiron::net {

class ServedExchange;

// What the connections of one door share.
struct Serving final : Turns, std::enable_shared_from_this<Serving> {
  Serving(asio::io_context& loop, DoorOptions doorOptions, HttpHandler doorHandler)
      : io(loop), options(std::move(doorOptions)), handler(std::move(doorHandler)), changed(loop) {}
  void turnBegins() override { inTurn = true; }
  void turnEnds() override;
  void handleSoon();

  asio::io_context& io;
  const DoorOptions options;
  const HttpHandler handler;
  std::size_t running = 0;  // handlers that have not returned
  bool draining = false;
  Notifier changed;                                        // a connection or a handler ended
  std::vector<std::shared_ptr<ServedExchange>> arrived;    // not given to the handler yet
  std::vector<std::shared_ptr<ServedExchange>> beginning;  // by turnEnds(); kept for its memory
  bool inTurn = false;
};

struct Peer {
  std::string host;
  int port = 0;
  bool tls = false;
  bool trusted = false;  // a proxy whose word about whom it speaks for is taken
};

// Says in `head` who sent it and how: `peer`, or whom it names if it is a trusted proxy.
void setOrigin(RequestHead& head, const Peer& peer, const DoorOptions& options);

// An exchange as dispatch() sees it.
class ServedExchange : public Exchange {
 public:
  virtual bool headSent() const = 0;
  virtual bool answered() const = 0;  // the end has been queued
};

// Gives `exchange` to the door's handler at the end of the turn that is under way, or soon, in a coroutine of its own.
// What the handler leaves unanswered becomes a 500, what it leaves unfinished is aborted.
void dispatch(const std::shared_ptr<Serving>& serving, std::shared_ptr<ServedExchange> exchange);
// The same, but behind whoever reads what came before it on the connection: a message of another stream that was sent
// first is read first.
void dispatchBehind(const std::shared_ptr<Serving>& serving, std::shared_ptr<ServedExchange> exchange);

std::unique_ptr<Protocol> makeH2Server(std::shared_ptr<Serving> serving, Peer peer, Carrier& carrier);
std::unique_ptr<Protocol> makeH1Server(std::shared_ptr<Serving> serving, Peer peer, Carrier& carrier);

}  // namespace gridiron::net
