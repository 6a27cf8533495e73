#include "net/serving.h"

#include <boost/asio/post.hpp>

namespace gridiron::net {

namespace {

Task<void> runHandler(std::shared_ptr<Serving> serving, std::shared_ptr<ServedExchange> exchange) {
  // Counted by a value whose end is the frame's, also when the loop is destroyed first.
  struct Running {
    explicit Running(std::shared_ptr<Serving> s) : serving(std::move(s)) { ++serving->running; }
    ~Running() {
      --serving->running;
      if (serving->draining) serving->changed.notifyAll();
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    std::shared_ptr<Serving> serving;
  };
  const Running running(serving);
  co_await serving->handler(exchange);
  // Asio would take another turn of the loop to end a coroutine that never waited, lest its end be told from within
  // what began it; nobody is told here.
  (co_await asio::detail::awaitable_thread_has_context_switched{}) = true;
  if (exchange->gone() || exchange->answered()) co_return;
  if (exchange->headSent()) {
    exchange->abort();
    co_return;
  }
  Headers headers;
  headers.add("content-type", "text/plain; charset=utf-8");
  (void)co_await exchange->answer(500, std::move(headers), "The request was left without an answer.\n");
}

}  // namespace

void setOrigin(RequestHead& head, const Peer& peer, const DoorOptions& options) {
  head.scheme = peer.tls ? "https" : "http";
  head.peerHost = peer.host;
  head.peerPort = peer.port;
  if (peer.trusted) resolveOrigin(head, options.trusted);
}

void Serving::turnEnds() {
  inTurn = false;
  // Those that come of these (pipelined requests) wait for the next turn of the loop, behind everybody else's.
  beginning.swap(arrived);
  for (auto& exchange : beginning) spawn(io, runHandler(shared_from_this(), std::move(exchange)));
  beginning.clear();
}

void Serving::handleSoon() {
  asio::post(io.get_executor(), [self = shared_from_this()] { self->turnEnds(); });
}

void dispatchBehind(const std::shared_ptr<Serving>& serving, std::shared_ptr<ServedExchange> exchange) {
  asio::post(serving->io.get_executor(), [serving, exchange = std::move(exchange)]() mutable {
    spawn(serving->io, runHandler(serving, std::move(exchange)));
  });
}

void dispatch(const std::shared_ptr<Serving>& serving, std::shared_ptr<ServedExchange> exchange) {
  serving->arrived.push_back(std::move(exchange));
  if (!serving->inTurn && serving->arrived.size() == 1) serving->handleSoon();
}

}  // namespace gridiron::net
