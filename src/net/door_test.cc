#include "net/door.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "base/testing.h"

namespace gridiron::net {
namespace {

using namespace std::chrono_literals;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A peer that sends the bytes it is told to.
class RawPeer {
 public:
  explicit RawPeer(const std::string& address) {
    if (address.starts_with("unix:")) {
      sockaddr_un to{};
      to.sun_family = AF_UNIX;
      std::strncpy(to.sun_path, address.c_str() + 5, sizeof(to.sun_path) - 1);
      dial(AF_UNIX, reinterpret_cast<sockaddr*>(&to), sizeof(to));
      return;
    }
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    dial(AF_INET, reinterpret_cast<sockaddr*>(&to), sizeof(to));
  }

  // Sends what the kernel takes.
  std::size_t say(std::string_view bytes) {
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  void hangUp() { fd_.reset(); }
  void listen() {
    char buffer[65536];
    while (fd_.valid() && !closed) {
      const ssize_t n = ::recv(fd_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) closed = true;
      if (n > 0) heard.append(buffer, static_cast<std::size_t>(n));
    }
  }

  std::string heard;
  bool closed = false;

 private:
  void dial(int family, const sockaddr* to, socklen_t length) {
    fd_ = Fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd_.get(), to, length), 0) << std::strerror(errno);
  }
  Fd fd_;
};

class DoorTest : public ::testing::Test {
 protected:
  void serve(HttpHandler handler, DoorOptions options = {}, const std::string& where = "127.0.0.1:0") {
    door_ = std::make_unique<Door>(io_, options, std::move(handler));
    auto address = door_->listen(where);
    ASSERT_TRUE(address.ok()) << address.error().message;
    address_ = *address;
  }

  // Lets the door work until `condition`; what `peer` hears is collected meanwhile.
  template <class Condition>
  bool until(RawPeer& peer, Condition condition) {
    const auto limit = std::chrono::steady_clock::now() + 10s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > limit) return false;
      io_.run_one_for(1ms);
      peer.listen();
    }
    return true;
  }
  std::string talk(std::string_view request, const std::string& end) {
    RawPeer peer(address_);
    peer.say(request);
    EXPECT_TRUE(until(peer, [&] { return end.empty() ? peer.closed : peer.heard.ends_with(end); })) << peer.heard;
    return peer.heard;
  }
  std::string talkUntilClosed(std::string_view request) { return talk(request, ""); }

  void TearDown() override {
    door_.reset();
    io_.run_for(20ms);
  }

  asio::io_context io_;
  std::unique_ptr<Door> door_;
  std::string address_;
};

// Answers with what it was asked: "METHOD target|body".
Task<void> mirror(std::shared_ptr<Exchange> exchange) {
  std::string body;
  for (;;) {
    auto piece = co_await exchange->read();
    if (!piece.ok()) {
      (void)co_await exchange->answer(400, {}, piece.error().message);
      co_return;
    }
    if (!piece->has_value()) break;
    body += **piece;
  }
  const RequestHead& head = exchange->head();
  (void)co_await exchange->answer(200, {}, fmt::format("{} {}|{}", head.method, head.target, body));
}

Task<void> mirrorInPieces(std::shared_ptr<Exchange> exchange) {
  (void)co_await exchange->respond(200, {}, false);
  for (;;) {
    auto piece = co_await exchange->read();
    if (!piece.ok() || !piece->has_value()) break;
    (void)co_await exchange->write(std::move(**piece));
  }
  Headers trailers;
  trailers.add("x-sum", "42");
  (void)co_await exchange->finish(std::move(trailers));
}

TEST_F(DoorTest, AConnectionServesOneRequestAfterTheOther) {
  serve(mirror);
  RawPeer peer(address_);
  for (int i = 0; i < 3; ++i) {
    peer.heard.clear();
    peer.say(fmt::format("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", i));
    EXPECT_TRUE(until(peer, [&] { return peer.heard.ends_with(fmt::format("GET /{}|", i)); }));
    EXPECT_THAT(peer.heard, StartsWith("HTTP/1.1 200 OK\r\n"));
  }
  EXPECT_EQ(door_->connections(), 1u);
}

TEST_F(DoorTest, PipelinedRequestsAreAnsweredInTheirOrder) {
  serve(mirror);
  const std::string heard = talk(
      "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
      "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
      "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\nt: 1\r\n\r\n",
      "POST /3|def");
  EXPECT_LT(heard.find("POST /1|abc"), heard.find("GET /2|"));
  EXPECT_LT(heard.find("GET /2|"), heard.find("POST /3|def"));
}

TEST_F(DoorTest, ARequestMayComeByteByByte) {
  serve(mirror);
  RawPeer peer(address_);
  const std::string request =
      "\r\nPOST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  for (const char c : request) {
    peer.say(std::string_view(&c, 1));
    io_.run_for(1ms);
  }
  EXPECT_TRUE(until(peer, [&] { return peer.heard.ends_with("POST /slow|hello"); })) << peer.heard;
}

TEST_F(DoorTest, AnAnswerOfUnknownLengthIsChunkedAndHasTrailersForThoseWhoAsk) {
  serve(mirrorInPieces);
  const std::string heard =
      talk("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nContent-Length: 5\r\n\r\nhello", "0\r\nx-sum: 42\r\n\r\n");
  EXPECT_THAT(heard, HasSubstr("transfer-encoding: chunked\r\n"));
  EXPECT_THAT(heard, HasSubstr("\r\n\r\n5\r\nhello\r\n"));
  EXPECT_THAT(talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "1\r\nx\r\n0\r\n\r\n"),
              Not(HasSubstr("x-sum")));
}

TEST_F(DoorTest, AnHttp10ClientGetsTheEndByTheConnectionsEnd) {
  serve(mirrorInPieces);
  const std::string heard = talkUntilClosed("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_THAT(heard, HasSubstr("connection: close\r\n"));
  EXPECT_THAT(heard, EndsWith("\r\n\r\nhello"));
}

TEST_F(DoorTest, AnswersToHeadHaveNoBody) {
  serve(mirror);
  const std::string heard = talk("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n");
  EXPECT_THAT(heard, HasSubstr("content-length: 8\r\n"));
}

TEST_F(DoorTest, AClientThatWaitsForContinueIsToldWhenTheBodyIsWanted) {
  serve(mirror);
  RawPeer peer(address_);
  peer.say("POST /c HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_TRUE(until(peer, [&] { return peer.heard == "HTTP/1.1 100 Continue\r\n\r\n"; })) << peer.heard;
  peer.say("ok");
  EXPECT_TRUE(until(peer, [&] { return peer.heard.ends_with("POST /c|ok"); })) << peer.heard;
}

TEST_F(DoorTest, CloseIsHonoured) {
  serve(mirror);
  EXPECT_THAT(talkUntilClosed("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
              HasSubstr("connection: close\r\n"));
}

TEST_F(DoorTest, WhatIsNoRequestIsRefusedWithAReason) {
  serve(mirror);
  EXPECT_THAT(talkUntilClosed("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(talkUntilClosed("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
              EndsWith("Content-Length and Transfer-Encoding contradict each other.\n"));
  EXPECT_THAT(talkUntilClosed("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(70'000, 'x')),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(talkUntilClosed("GET /" + std::string(70'000, 'x')), StartsWith("HTTP/1.1 414 "));
  EXPECT_THAT(talkUntilClosed("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
              StartsWith("HTTP/1.1 501 "));
}

TEST_F(DoorTest, ABrokenChunkReachesTheHandlerAsAnError) {
  serve(mirror);
  const std::string heard =
      talkUntilClosed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n");
  EXPECT_THAT(heard, StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(heard, EndsWith("A chunk of the body is not followed by CRLF."));
}

TEST_F(DoorTest, HalfARequestIsAnsweredInTimeAndHurtsNobody) {
  DoorOptions options;
  options.headTimeout = 100ms;
  serve(mirror, options);
  std::vector<std::unique_ptr<RawPeer>> halves;
  for (int i = 0; i < 300; ++i) {
    halves.push_back(std::make_unique<RawPeer>(address_));
    halves.back()->say(i % 3 == 0 ? "" : i % 3 == 1 ? "GET / HTTP/1.1\r\nHo" : "PRI * HTTP/2.0\r\n");
  }
  EXPECT_THAT(talk("GET /whole HTTP/1.1\r\nHost: a\r\n\r\n", "GET /whole|"), StartsWith("HTTP/1.1 200 "));
  EXPECT_TRUE(until(*halves[1], [&] { return halves[1]->closed; }));
  EXPECT_THAT(halves[1]->heard, StartsWith("HTTP/1.1 408 "));
  EXPECT_TRUE(until(*halves[0], [&] { return halves[0]->closed; }));
  EXPECT_TRUE(until(*halves[2], [&] { return halves[2]->closed; }));
  EXPECT_EQ(halves[0]->heard, "");
  halves.clear();
  RawPeer last(address_);
  EXPECT_TRUE(until(last, [&] { return door_->connections() <= 1; }));
}

TEST_F(DoorTest, ARequestInProgressIsNotIdleHoweverLongItTakes) {
  DoorOptions options;
  options.idleTimeout = options.headTimeout = options.bodyTimeout = 20ms;
  serve(
      [this](std::shared_ptr<Exchange> exchange) -> Task<void> {
        co_await sleepFor(io_, 200ms);
        co_await mirror(std::move(exchange));
      },
      options);
  EXPECT_THAT(talk("GET /long HTTP/1.1\r\nHost: a\r\n\r\n", "GET /long|"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(DoorTest, ABodyThatDoesNotComeIsNotWaitedForForever) {
  DoorOptions options;
  options.bodyTimeout = 100ms;
  serve(mirror, options);
  const std::string heard = talkUntilClosed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
  EXPECT_THAT(heard, StartsWith("HTTP/1.1 408 "));
  EXPECT_THAT(heard, EndsWith("The request's body did not arrive in time.\n"));
}

TEST_F(DoorTest, WhatHasBegunToAnswerMayWaitForItsBody) {
  DoorOptions options;
  options.bodyTimeout = 20ms;
  serve(mirrorInPieces, options);
  RawPeer peer(address_);
  peer.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
  EXPECT_TRUE(until(peer, [&] { return peer.heard.ends_with("\r\na\r\n"); }));
  io_.run_for(150ms);
  peer.say("b");
  EXPECT_TRUE(until(peer, [&] { return peer.heard.ends_with("0\r\n\r\n"); })) << peer.heard;
}

TEST_F(DoorTest, WhatIsRefusedIsTheLastOfItsConnection) {
  int asked = 0;
  serve([&](std::shared_ptr<Exchange> exchange) {
    ++asked;
    return mirror(std::move(exchange));
  });
  const std::string hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const std::string& head :
       {std::string("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        std::string("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n"),
        std::string("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n"),
        std::string("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        std::string("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0b"
                    "chunked\r\n\r\n0\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost: a\r\nX: a\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost: a\r\n X: a\r\n\r\n"), std::string("GET / HTTP/1.1\nHost: a\n\n")}) {
    const std::string heard = talkUntilClosed(head + hidden);
    EXPECT_THAT(heard, ::testing::AnyOf(StartsWith("HTTP/1.1 400 "), StartsWith("HTTP/1.1 501 "))) << head;
  }
  EXPECT_EQ(asked, 0);
  // A chunked body that breaks takes what is behind it along.
  EXPECT_THAT(
      talkUntilClosed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" + hidden),
      Not(HasSubstr("/hidden")));
}

TEST_F(DoorTest, OptionsOfTheWholeServerReachTheHandler) {
  serve(mirror);
  EXPECT_THAT(talk("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS *|"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(DoorTest, AnIdleConnectionIsClosed) {
  DoorOptions options;
  options.idleTimeout = 50ms;
  serve(mirror, options);
  RawPeer peer(address_);
  peer.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(until(peer, [&] { return peer.closed; }));
  EXPECT_THAT(peer.heard, EndsWith("GET /|"));
}

TEST_F(DoorTest, AClientThatHangsUpIsNoticed) {
  bool gone = false;
  bool readEnded = false;
  serve([&](std::shared_ptr<Exchange> exchange) -> Task<void> {
    return [](std::shared_ptr<Exchange> e, bool* noted, bool* ended) -> Task<void> {
      e->onGone([noted]() { *noted = true; });
      auto piece = co_await e->read();
      EXPECT_EQ(piece.error().code, Code::cancelled);
      EXPECT_TRUE(e->gone());
      auto late = co_await e->answer(200, {}, "nobody hears this");
      EXPECT_FALSE(late.ok());
      *ended = true;
    }(std::move(exchange), &gone, &readEnded);
  });
  RawPeer peer(address_);
  peer.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
  until(peer, [&] { return door_->connections() == 1; });
  io_.run_for(5ms);
  peer.hangUp();
  EXPECT_TRUE(until(peer, [&] { return gone && readEnded; }));
}

TEST_F(DoorTest, ABodyThatNobodyReadsIsHeldBack) {
  std::shared_ptr<Exchange> held;
  auto go = std::make_unique<Notifier>(io_);
  DoorOptions options;
  options.maxBufferedBody = 64 * 1024;
  serve(
      [&](std::shared_ptr<Exchange> exchange) -> Task<void> {
        return [](std::shared_ptr<Exchange> e, Notifier* wait) -> Task<void> {
          co_await wait->wait(10s);
          co_await mirror(std::move(e));
        }(std::move(exchange), go.get());
      },
      options);
  constexpr std::size_t kSize = 32u * 1024 * 1024;
  RawPeer peer(address_);
  peer.say(fmt::format("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", kSize));
  const std::string piece(256 * 1024, 'x');
  std::size_t sent = 0;
  for (int quiet = 0; quiet < 50;) {  // until the kernel takes no more for a while
    const std::size_t n = peer.say(std::string_view(piece).substr(0, std::min(piece.size(), kSize - sent)));
    sent += n;
    quiet = n == 0 ? quiet + 1 : 0;
    io_.run_for(1ms);
  }
  EXPECT_LT(sent, kSize);
  go->notifyAll();
  EXPECT_TRUE(until(peer, [&] {
    if (sent < kSize) sent += peer.say(std::string_view(piece).substr(0, std::min(piece.size(), kSize - sent)));
    return peer.heard.size() > kSize;
  }));
  EXPECT_EQ(sent, kSize);
}

TEST_F(DoorTest, AnAnswerWaitsForASlowReader) {
  std::size_t written = 0;
  bool done = false;
  serve([&](std::shared_ptr<Exchange> exchange) -> Task<void> {
    return [](std::shared_ptr<Exchange> e, std::size_t* count, bool* ended) -> Task<void> {
      (void)co_await e->respond(200, {}, false);
      for (; *count < 200; ++*count) {
        auto sent = co_await e->write(std::string(256 * 1024, 'y'));
        if (!sent.ok()) co_return;
      }
      (void)co_await e->finish({});
      *ended = true;
    }(std::move(exchange), &written, &done);
  });
  RawPeer peer(address_);
  peer.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  io_.run_for(300ms);
  EXPECT_LT(written, 190u) << "wrote 50 MB to a peer that reads nothing";
  EXPECT_TRUE(until(peer, [&] { return peer.heard.ends_with("0\r\n\r\n"); }));
  EXPECT_TRUE(done);
}

TEST_F(DoorTest, AnUnreadBodyDoesNotSpoilTheNextRequest) {
  serve([](std::shared_ptr<Exchange> exchange) -> Task<void> { (void)co_await exchange->answer(403, {}, "no"); });
  RawPeer peer(address_);
  peer.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
  EXPECT_TRUE(until(peer, [&] { return peer.heard.ends_with("no"); }));
  peer.heard.clear();
  peer.say("loGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(until(peer, [&] { return peer.heard.ends_with("no"); }));
}

TEST_F(DoorTest, DrainClosesIdleConnectionsAndLetsAnAnswerEnd) {
  auto go = std::make_unique<Notifier>(io_);
  serve([&](std::shared_ptr<Exchange> exchange) -> Task<void> {
    return [](std::shared_ptr<Exchange> e, Notifier* wait) -> Task<void> {
      co_await wait->wait(10s);
      co_await mirror(std::move(e));
    }(std::move(exchange), go.get());
  });
  RawPeer idle(address_);
  RawPeer busy(address_);
  busy.say("GET /busy HTTP/1.1\r\nHost: a\r\n\r\n");
  until(busy, [&] { return door_->connections() == 2; });
  io_.run_for(5ms);
  bool drained = false;
  spawn(io_, [](Door* door, bool* ended) -> Task<void> {
    co_await door->drain(10s);
    *ended = true;
  }(door_.get(), &drained));
  EXPECT_TRUE(until(idle, [&] { return idle.closed; }));
  EXPECT_FALSE(drained);
  go->notifyAll();
  EXPECT_TRUE(until(busy, [&] { return busy.closed; }));
  EXPECT_THAT(busy.heard, HasSubstr("connection: close\r\n"));
  EXPECT_THAT(busy.heard, EndsWith("GET /busy|"));
  idle.hangUp();
  busy.hangUp();
  EXPECT_TRUE(until(busy, [&] { return drained; }));
}

TEST_F(DoorTest, DrainCutsWhatDoesNotEndWithinItsGrace) {
  bool gone = false;
  serve([&](std::shared_ptr<Exchange> exchange) -> Task<void> {
    return [](std::shared_ptr<Exchange> e, bool* noted) -> Task<void> {
      e->onGone([noted]() { *noted = true; });
      while (!e->gone()) (void)co_await e->read();
    }(std::move(exchange), &gone);
  });
  RawPeer peer(address_);
  peer.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
  until(peer, [&] { return door_->connections() == 1; });
  bool drained = false;
  spawn(io_, [](Door* door, bool* ended) -> Task<void> {
    co_await door->drain(50ms);
    *ended = true;
  }(door_.get(), &drained));
  EXPECT_TRUE(until(peer, [&] { return drained && gone && peer.closed; }));
}

TEST_F(DoorTest, WhoComesWhenItIsFullIsToldSoAndThereIsRoomAgainWhenSomebodyHasGone) {
  DoorOptions options;
  options.maxConnections = 2;
  int told = 0;
  options.onRefused = [&](const RefusedConnections& refused) {
    ++told;
    EXPECT_EQ(refused.full, 1u);
    EXPECT_EQ(refused.last, "127.0.0.1");
  };
  options.idleTimeout = 1s;  // swept, and told of, every 125 ms
  serve(mirror, options);
  RawPeer first(address_);
  RawPeer second(address_);
  until(second, [&] { return door_->connections() == 2; });
  EXPECT_THAT(talkUntilClosed("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(door_->refused().full, 1u);
  EXPECT_TRUE(until(first, [&] { return told == 1; }));
  first.hangUp();
  EXPECT_TRUE(until(second, [&] { return door_->connections() == 1; }));
  EXPECT_THAT(talk("GET /third HTTP/1.1\r\nHost: a\r\n\r\n", "GET /third|"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(DoorTest, AnAddressThatFillsItsNumberWithHalfRequestsGetsItBackWhenTheyTimeOut) {
  DoorOptions options;
  options.maxOfAddress = 2;
  options.headTimeout = 200ms;
  serve(mirror, options);
  RawPeer first(address_);
  RawPeer second(address_);
  first.say("GET / HT");
  second.say("POST / HTTP/1.1\r\nHo");
  until(second, [&] { return door_->connections() == 2; });
  EXPECT_THAT(talkUntilClosed("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(door_->refused().ofAddress, 1u);
  EXPECT_TRUE(until(first, [&] { return first.closed; }));
  EXPECT_THAT(first.heard, StartsWith("HTTP/1.1 408 "));
  first.hangUp();
  EXPECT_TRUE(until(second, [&] { return door_->connections() < 2; }));
  EXPECT_THAT(talk("GET /in HTTP/1.1\r\nHost: a\r\n\r\n", "GET /in|"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(DoorTest, TrustedPeersHaveAnyNumberOfConnections) {
  DoorOptions options;
  options.maxOfAddress = 1;
  options.trusted = *TrustedPeers::parse({"127.0.0.0/8"});
  serve(mirror, options);
  RawPeer first(address_);
  RawPeer second(address_);
  EXPECT_TRUE(until(second, [&] { return door_->connections() == 2; }));
  EXPECT_EQ(door_->refused().ofAddress, 0u);
}

TEST_F(DoorTest, AUnixSocketIsServedAndAStaleOneReplaced) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/sock";
  {  // left behind
    const Fd stale(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::strncpy(at.sun_path, path.c_str(), sizeof(at.sun_path) - 1);
    ASSERT_EQ(::bind(stale.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
  }
  std::string peerHost;
  serve(
      [&](std::shared_ptr<Exchange> exchange) -> Task<void> {
        peerHost = exchange->head().peerHost;
        return mirror(std::move(exchange));
      },
      {}, "unix:" + path);
  EXPECT_EQ(address_, "unix:" + path);
  EXPECT_THAT(talk("GET /u HTTP/1.1\r\nHost: a\r\n\r\n", "GET /u|"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(peerHost, "unix");
  Door second(io_, {}, mirror);
  const auto refused = second.listen("unix:" + path);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("unix:" + path));
  door_.reset();
}

TEST_F(DoorTest, AddressesThatAreNoneAreNamed) {
  Door door(io_, {}, mirror);
  for (const char* address : {"", "8400", "host.example:80", "127.0.0.1:99999", "127.0.0.1:", "unix:"}) {
    const auto bound = door.listen(address);
    ASSERT_FALSE(bound.ok()) << address;
    EXPECT_EQ(bound.error().code, Code::invalidArgument);
    EXPECT_THAT(bound.error().message, HasSubstr(fmt::format("listen on {}: ", address)));
  }
}

TEST_F(DoorTest, AnHttp2PrefaceMayComeInTwoPieces) {
  serve(mirror);
  RawPeer peer(address_);
  peer.say("PRI * HTTP/2.0\r\n\r\nS");
  io_.run_for(5ms);
  EXPECT_EQ(peer.heard, "");
  peer.say(std::string("M\r\n\r\n") + std::string("\0\0\0\4\0\0\0\0\0", 9));
  // Its SETTINGS and the acknowledgement of ours.
  EXPECT_TRUE(until(peer, [&] { return peer.heard.find(std::string("\0\0\0\4\1\0\0\0\0", 9)) != std::string::npos; }));
}

TEST_F(DoorTest, AnUpgradeIsNotTakenUp) {
  serve(mirror);
  EXPECT_THAT(talk("GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "GET /u|"),
              StartsWith("HTTP/1.1 200 "));
}

TEST_F(DoorTest, AnswersWithoutContentSayNothingOfALength) {
  serve([](std::shared_ptr<Exchange> exchange) -> Task<void> { (void)co_await exchange->answer(204, {}, ""); });
  RawPeer peer(address_);
  peer.say("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(until(peer, [&] { return peer.closed; }));
  EXPECT_THAT(peer.heard, Not(HasSubstr("content-length")));
  EXPECT_THAT(peer.heard, HasSubstr("\r\n\r\nHTTP/1.1 204 No Content\r\n"));
}

TEST_F(DoorTest, HalfAnHttp2HeadIsNotWaitedForForever) {
  DoorOptions options;
  options.headTimeout = 50ms;
  serve(mirror, options);
  RawPeer peer(address_);
  peer.say(std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string("\0\0\0\4\0\0\0\0\0", 9) +
           std::string("\0\0\1\1\0\0\0\0\1\x82", 10));  // HEADERS with ":method: GET" and no END_HEADERS
  EXPECT_TRUE(until(peer, [&] { return peer.closed; }));
}

TEST_F(DoorTest, AnswersThatWouldSplitAHeadAreNotSent) {
  serve([](std::shared_ptr<Exchange> exchange) -> Task<void> {
    Headers headers;
    headers.add("x-note", "a\r\nset-cookie: b");
    auto sent = co_await exchange->answer(200, std::move(headers), "");
    EXPECT_FALSE(sent.ok());
    EXPECT_THAT(sent.error().message, HasSubstr("x-note"));
  });
  EXPECT_THAT(talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "answer.\n"), StartsWith("HTTP/1.1 500 "));
}

// PROXY protocol 2, over TCP and IPv4, from 203.0.113.9:5000.
const std::string kProxied = std::string("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 16) +
                             std::string("\xcb\0\x71\x09\x0a\0\0\x02\x13\x88\x01\xbb", 12);

Task<void> tellOrigin(std::shared_ptr<Exchange> exchange) {
  const RequestHead& head = exchange->head();
  (void)co_await exchange->answer(200, {}, fmt::format("{} {} {}", head.scheme, head.peerHost, head.peerPort));
}

TEST_F(DoorTest, ATrustedProxySaysForWhomItSpeaks) {
  DoorOptions options;
  options.trusted = *TrustedPeers::parse({"127.0.0.1"});
  serve(tellOrigin, options);
  const std::string get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  EXPECT_THAT(talk(kProxied + get, "5000"), EndsWith("http 203.0.113.9 5000"));
  // Who is proxied so is not a proxy himself.
  EXPECT_THAT(talk(kProxied + "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n", "5000"),
              EndsWith("http 203.0.113.9 5000"));
  EXPECT_THAT(talk("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\r\n", " 0"),
              EndsWith("https 1.1.1.1 0"));
}

TEST_F(DoorTest, AProxysHeaderMayComeInPieces) {
  DoorOptions options;
  options.trusted = *TrustedPeers::parse({"127.0.0.1"});
  serve(tellOrigin, options);
  RawPeer peer(address_);
  const std::string all = kProxied + "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const char byte : all) {
    peer.say(std::string(1, byte));
    io_.run_one_for(1ms);
  }
  EXPECT_TRUE(until(peer, [&] { return peer.heard.ends_with("http 203.0.113.9 5000"); })) << peer.heard;
}

TEST_F(DoorTest, ProxyHeadersOfStrangersAndMalformedOnesAreNotTaken) {
  serve(tellOrigin);
  EXPECT_THAT(talk(kProxied + "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""), StartsWith("HTTP/1.1 400"));
  DoorOptions options;
  options.trusted = *TrustedPeers::parse({"127.0.0.1"});
  serve(tellOrigin, options);
  RawPeer peer(address_);
  std::string wrong = kProxied;
  wrong[12] = '\x31';
  peer.say(wrong);
  EXPECT_TRUE(until(peer, [&] { return peer.closed; }));
  EXPECT_EQ(peer.heard, "");
}

// Takes the connection over and gives back what comes, until "end".
Task<void> takeOver(std::shared_ptr<Exchange> exchange) {
  Headers headers;
  headers.add("upgrade", "talk");
  const auto taken = co_await exchange->upgrade(std::move(headers));
  if (!taken.ok()) co_return;
  for (std::string all; !all.ends_with("end");) {
    auto bytes = co_await exchange->read();
    if (!bytes.ok() || !bytes->has_value()) co_return;
    all += **bytes;
    (void)co_await exchange->write(std::move(**bytes));
  }
  (void)co_await exchange->finish({});
}

TEST_F(DoorTest, AConnectionThatIsTakenOverCarriesBytesAsTheyAre) {
  serve(takeOver);
  const std::string heard = talkUntilClosed("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n and the end");
  EXPECT_EQ(heard, "HTTP/1.1 101 Switching Protocols\r\nupgrade: talk\r\n\r\nGET / HTTP/1.1\r\n\r\n and the end");
}

// Answers with what of the body was there at once, and whether it was all.
Task<void> glance(std::shared_ptr<Exchange> exchange) {
  std::string body;
  const bool whole = exchange->readBuffered(body);
  (void)co_await exchange->answer(200, {}, body + (whole ? "." : "…"));
}

TEST_F(DoorTest, WhatHasComeOfABodyCanBeReadAtOnce) {
  serve(glance);
  EXPECT_THAT(talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", "."), EndsWith("body."));
  EXPECT_THAT(talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "."), EndsWith("\r\n."));
  EXPECT_THAT(talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo", "…"), EndsWith("bo…"));
}

}  // namespace
}  // namespace gridiron::net
