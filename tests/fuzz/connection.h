#pragma once

#include <memory>
#include <string>

#include "net/serving.h"
#include "tests/fuzz/fuzz.h"

namespace gridiron::fuzz {

// A server's side of one connection, without a socket: pieces of bytes in, answers collected.
class Connection final : public net::Carrier {
 public:
  using Make = std::unique_ptr<net::Protocol> (*)(std::shared_ptr<net::Serving>, net::Peer, net::Carrier&);

  // `ways`: how handlers behave.
  Connection(Make make, unsigned ways) : ways_(ways) {
    net::DoorOptions options;
    options.maxHeaderBytes = 4096;
    options.maxBufferedBody = 1024;
    options.trusted = *net::TrustedPeers::parse({"127.0.0.1"});
    serving_ = std::make_shared<net::Serving>(io_, options, [this](std::shared_ptr<net::Exchange> exchange) {
      return handle(std::move(exchange), ways_ + ++asked_);
    });
    protocol_ = make(serving_, net::Peer{"127.0.0.1", 4711, false}, *this);
  }

  void kick() override {}

  // Like a wire: no byte for a protocol that does not want one.
  void say(std::string_view bytes, std::size_t cut) {
    while (!bytes.empty() && !protocol_->finished()) {
      work();
      if (!protocol_->wantsRead()) break;
      const std::string piece(bytes.substr(0, cut));  // of its own: reading beyond it is seen
      protocol_->receive(piece);
      bytes.remove_prefix(piece.size());
    }
    work();
  }

  // The peer hangs up: every handler must come to its end.
  void hangUp() {
    protocol_->tick(net::instantNow() + std::chrono::hours(1));
    work();
    if (ways_ % 2 == 0) protocol_->drain(true);
    work();
    protocol_->lost();
    work();
    require(serving_->running == 0, "every handler ends when its peer is gone");
  }

  const std::string& heard() const { return heard_; }

 private:
  void work() {
    for (int idle = 0; idle < 2;) {
      io_.restart();
      const std::size_t before = heard_.size();
      const bool worked = io_.poll() > 0;
      protocol_->fill(heard_);
      idle = worked || heard_.size() != before ? 0 : idle + 1;
    }
  }

  static Task<void> handle(std::shared_ptr<net::Exchange> exchange, unsigned way) {
    if (way % 7 == 0) co_return;  // a 500
    if (way % 7 == 1) {
      (void)co_await exchange->answer(200, {}, "early");
      co_return;
    }
    std::string body;
    if (way % 7 == 2) (void)exchange->readBuffered(body);
    if (way % 7 == 3) {
      const auto taken = co_await exchange->upgrade({});
      if (!taken.ok()) co_return;
    } else if (way % 7 > 3) {
      const auto begun = co_await exchange->respond(200, {}, false);
      if (!begun.ok()) co_return;
    }
    for (;;) {
      auto piece = co_await exchange->read();
      if (!piece.ok()) co_return;
      if (!piece->has_value()) break;
      require(!(*piece)->empty(), "a piece of a body is not empty");
      body += **piece;
      if (way % 7 <= 2) continue;
      const auto written = co_await exchange->write(std::move(**piece));
      if (!written.ok()) co_return;
    }
    if (way % 7 == 6) {
      exchange->abort();
    } else if (way % 7 > 2) {
      (void)co_await exchange->finish();
    } else {
      (void)co_await exchange->answer(exchange->head().method == "HEAD" ? 204 : 200, {}, std::move(body));
    }
  }

  const unsigned ways_;
  unsigned asked_ = 0;
  asio::io_context io_{1};
  std::shared_ptr<net::Serving> serving_;
  std::unique_ptr<net::Protocol> protocol_;
  std::string heard_;
};

}  // namespace gridiron::fuzz
