#include "net/proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <deque>

#include "net/door.h"
#include "net/http_text.h"

namespace gridiron::net {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// One end of a connection, played by the test.
class Line {
 public:
  explicit Line(Fd fd) : fd_(std::move(fd)) {}
  void say(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent <= 0) break;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    unsaid = bytes.size();
  }
  void listen() {
    char buffer[65536];
    while (reading && fd_.valid() && !closed) {
      const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) closed = true;
      if (got > 0) heard.append(buffer, static_cast<std::size_t>(got));
    }
  }
  void hangUp() { fd_.reset(); }
  std::string heard;
  std::size_t unsaid = 0;
  bool closed = false, reading = true;

 private:
  Fd fd_;
};

std::pair<Fd, Fd> connection() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

// A door that passes everything on to a server that the test plays, connection by connection.
class ProxyTest : public ::testing::Test, public Upstreams {
 protected:
  ProxyTest() : door_(io_, {}, [this](std::shared_ptr<Exchange> exchange) { return pass(std::move(exchange)); }) {
    const auto address = door_.listen("127.0.0.1:0");
    EXPECT_TRUE(address.ok());
    address_ = *address;
  }
  ~ProxyTest() override { settle(); }

  std::shared_ptr<Upstream> spare() override { return kept_.take(); }
  Task<Result<std::shared_ptr<Upstream>>> dial() override {
    if (refused) co_return makeError(Code::unavailable, "connection refused");
    auto [ours, theirs] = connection();
    servers.push_back(std::make_unique<Line>(std::move(theirs)));
    co_return Upstream::open(io_, std::move(ours));
  }
  void keep(std::shared_ptr<Upstream> upstream) override { kept_.put(std::move(upstream)); }

  Task<void> pass(std::shared_ptr<Exchange> exchange) {
    PassedRequest request{
        exchange->head().method, exchange->head().target, {}, exchange->head().headers.find("upgrade").has_value()};
    const Headers fields = withoutHop(exchange->head().headers);
    for (const auto& [name, value] : fields.fields()) {
      if (name != "content-length" && name != "expect") request.headers.add(name, value);
    }
    const auto passing = std::make_shared<PassingOn>(io_, exchange, *this, std::move(request),
                                                     [](ResponseHead& head) { return withoutHop(head.headers); });
    passed = co_await passing->run();
    ++done;
    if (passed.end == PassedOn::End::noAnswer) (void)co_await exchange->answer(502, {}, passed.why.message);
  }

  template <class Condition>
  bool until(Condition condition) {
    const auto limit = std::chrono::steady_clock::now() + 10s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > limit) return false;
      io_.run_one_for(1ms);
      for (const auto& one : servers) one->listen();
      for (const auto& one : peers) one->listen();
    }
    return true;
  }
  void settle() { io_.run_for(5ms); }

  Line& ask(const std::string& request);
  // The server that has heard `text`.
  Line& server(std::size_t at, const std::string& text) {
    EXPECT_TRUE(until([&] { return servers.size() > at && servers[at]->heard.find(text) != std::string::npos; }));
    return *servers.at(at);
  }
  void serveOne();
  const std::string& answer(Line& peer, const std::string& end) {
    EXPECT_TRUE(until([&] { return peer.heard.ends_with(end); })) << peer.heard.substr(0, 1000);
    return peer.heard;
  }

  asio::io_context io_;
  std::vector<std::unique_ptr<Line>> servers;
  std::vector<std::unique_ptr<Line>> peers;
  Door door_;
  std::string address_;
  bool refused = false;
  int done = 0;
  PassedOn passed;

 private:
  KeptUpstreams kept_;
};

Line& ProxyTest::ask(const std::string& request) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address_.substr(address_.rfind(':') + 1))));
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  peers.push_back(std::make_unique<Line>(std::move(fd)));
  peers.back()->say(request);
  return *peers.back();
}

const std::string kGet =
    "GET /a?b HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nConnection: x-two\r\nX-Two: 2\r\nTE: trailers\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\nhi";

// By the first server.
void ProxyTest::serveOne() {
  Line& peer = ask(kGet);
  server(0, "\r\n\r\n").say(kOk);
  answer(peer, "hi");
}

TEST_F(ProxyTest, ARequestGoesOnAndItsAnswerComesBackWithoutTheHops) {
  Line& peer = ask(kGet);
  Line& origin = server(0, "\r\n\r\n");
  EXPECT_THAT(origin.heard, AllOf(StartsWith("GET /a?b HTTP/1.1\r\n"), HasSubstr("x-one: 1\r\n"),
                                  Not(HasSubstr("x-two")), Not(HasSubstr("te:")), Not(HasSubstr("content-length"))));
  origin.say(kOk);
  EXPECT_THAT(answer(peer, "hi"), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), Not(HasSubstr("x-hop"))));
}

TEST_F(ProxyTest, AConnectionServesOneRequestAfterTheOther) {
  for (int i = 0; i < 3; ++i) {
    Line& peer = ask(kGet);
    Line& origin = server(0, "\r\n\r\n");
    origin.heard.clear();
    origin.say(kOk);
    answer(peer, "hi");
  }
  EXPECT_EQ(servers.size(), 1u);
}

TEST_F(ProxyTest, BodiesGoByLengthOrInChunksAsTheyCome) {
  Line& known = ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
  Line& first = server(0, "01234");
  EXPECT_THAT(first.heard, HasSubstr("content-length: 10\r\n"));
  known.say("56789");
  server(0, "0123456789").say(kOk);
  answer(known, "hi");

  Line& unknown = ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  Line& second = server(0, "3\r\nabc\r\n");
  EXPECT_THAT(second.heard, HasSubstr("transfer-encoding: chunked\r\n"));
  unknown.say("2\r\nde\r\n0\r\n\r\n");
  server(0, "2\r\nde\r\n0\r\n\r\n").say(kOk);
  answer(unknown, "hi");
  EXPECT_EQ(servers.size(), 1u);
}

TEST_F(ProxyTest, AnAnswerIsPassedOnAsItComesWithItsTrailers) {
  Line& peer = ask(kGet);
  Line& origin = server(0, "\r\n\r\n");
  origin.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
  answer(peer, "3\r\none\r\n");
  origin.say("3\r\ntwo\r\n0\r\nX-Sum: 6\r\n\r\n");
  EXPECT_THAT(answer(peer, "0\r\nx-sum: 6\r\n\r\n"), HasSubstr("3\r\ntwo\r\n"));
}

TEST_F(ProxyTest, HeadAnd304HaveNoBody) {
  Line& peer = ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  server(0, "\r\n\r\n").say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  EXPECT_THAT(answer(peer, "\r\n\r\n"), HasSubstr("content-length: 1000"));
  Line& again = ask(kGet);
  server(0, "GET").say("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n");
  EXPECT_THAT(answer(again, "\r\n\r\n"), StartsWith("HTTP/1.1 304"));
  EXPECT_EQ(servers.size(), 1u);
}

TEST_F(ProxyTest, AKeptConnectionThatTurnsOutClosedIsMadeAnew) {
  serveOne();
  Line& peer = ask(kGet);
  EXPECT_TRUE(until([&] { return servers[0]->heard.find("GET", 3) != std::string::npos; }));
  servers[0]->hangUp();  // it has the request, and says nothing
  server(1, "GET /a").say(kOk);
  EXPECT_THAT(answer(peer, "hi"), HasSubstr("200 OK"));
}

TEST_F(ProxyTest, WhatMightHaveBeenDoneIsNotSentTwice) {
  serveOne();
  Line& peer = ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_TRUE(until([&] { return servers[0]->heard.find("POST") != std::string::npos; }));
  servers[0]->hangUp();
  EXPECT_THAT(answer(peer, "without an answer"), StartsWith("HTTP/1.1 502"));
  EXPECT_EQ(servers.size(), 1u);
  EXPECT_EQ(passed.why.code, Code::cancelled);
}

TEST_F(ProxyTest, NorIsWhatAFreshConnectionDidNotAnswer) {
  Line& peer = ask(kGet);
  server(0, "\r\n\r\n").hangUp();
  answer(peer, "without an answer");
  EXPECT_EQ(servers.size(), 1u);
}

TEST_F(ProxyTest, AServerThatMisbehavesIs502) {
  for (const std::string bad : {"HTTP/1.1 200 OK\r\nContent-Le", "SSH-2.0\r\n", "HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n",
                                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"}) {
    const std::size_t at = servers.size();
    Line& peer = ask(kGet);
    Line& origin = server(at, "\r\n\r\n");
    origin.say(bad);
    origin.hangUp();
    EXPECT_TRUE(until([&] { return peer.heard.starts_with("HTTP/1.1 502"); })) << bad;
  }
  Line& bombed = ask(kGet);
  Line& bomb = server(servers.size(), "\r\n\r\n");
  for (int i = 0; i < 100; ++i) bomb.say("X-A: " + std::string(1000, 'x') + "\r\n");
  EXPECT_TRUE(until([&] { return bombed.heard.starts_with("HTTP/1.1 502"); }));
}

TEST_F(ProxyTest, AnAnswerThatEndsEarlyIsCutOff) {
  Line& peer = ask(kGet);
  Line& origin = server(0, "\r\n\r\n");
  origin.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
  answer(peer, "half");
  origin.hangUp();
  EXPECT_TRUE(until([&] { return peer.closed && done == 1; }));
  EXPECT_EQ(passed.end, PassedOn::End::brokenOff);
}

TEST_F(ProxyTest, MoreThanTheAnswerSpoilsTheConnection) {
  Line& peer = ask(kGet);
  server(0, "\r\n\r\n").say(kOk + "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nstolen!");
  answer(peer, "hi");
  Line& next = ask(kGet);
  server(1, "\r\n\r\n").say(kOk);
  answer(next, "hi");
}

TEST_F(ProxyTest, APeerThatHangsUpEndsTheRequest) {
  Line& peer = ask(kGet);
  Line& origin = server(0, "\r\n\r\n");
  peer.hangUp();
  EXPECT_TRUE(until([&] { return origin.closed && done == 1; }));
  EXPECT_EQ(passed.end, PassedOn::End::peerGone);
}

TEST_F(ProxyTest, NobodyListening) {
  refused = true;
  EXPECT_THAT(answer(ask(kGet), "connection refused"), StartsWith("HTTP/1.1 502"));
  EXPECT_EQ(passed.why.code, Code::unavailable);
}

TEST_F(ProxyTest, BothSidesAreHeldBack) {
  Line& peer = ask(kGet);
  Line& origin = server(0, "\r\n\r\n");
  peer.reading = false;
  origin.say("HTTP/1.1 200 OK\r\n\r\n");
  std::size_t said = 0;
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 64; ++i) {
    origin.say(piece);
    said += piece.size() - origin.unsaid;
    settle();
  }
  EXPECT_LT(said, 24u << 20) << "what a peer does not take is not read";
  peer.reading = true;
  origin.hangUp();
  EXPECT_TRUE(until([&] { return peer.heard.ends_with("0\r\n\r\n"); }));
}

TEST_F(ProxyTest, AWebSocketIsPassedThroughAsBytes) {
  Line& peer =
      ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n\r\n");
  Line& origin = server(0, "\r\n\r\n");
  EXPECT_THAT(origin.heard, AllOf(HasSubstr("upgrade: websocket\r\n"), HasSubstr("connection: Upgrade\r\n"),
                                  HasSubstr("sec-websocket-key: abc")));
  origin.say(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
      "x\r\n\r\n\x81\x02hi");
  EXPECT_THAT(answer(peer, "\x81\x02hi"), HasSubstr("sec-websocket-accept: x"));
  peer.say("raw bytes");
  server(0, "raw bytes");
  origin.hangUp();
  EXPECT_TRUE(until([&] { return peer.closed; }));
}

}  // namespace
}  // namespace gridiron::net
