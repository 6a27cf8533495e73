// RFC 9113 as a peer meets it: frames in, frames out, without a socket.
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>

#include "net/serving.h"

namespace gridiron::net {
namespace {

constexpr int kData = 0, kHeaders = 1, kPriority = 2, kReset = 3, kSettings = 4, kPush = 5, kPing = 6, kGoaway = 7,
              kWindow = 8, kContinuation = 9;
constexpr int kEnd = 1, kAck = 1, kEndHeaders = 4, kPadded = 8;

std::string number(std::uint32_t value, int bytes) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift & 0xff));
  return out;
}
std::string frame(int type, int flags, std::uint32_t stream, const std::string& payload = "") {
  return number(static_cast<std::uint32_t>(payload.size()), 3) + number(static_cast<std::uint32_t>(type), 1) +
         number(static_cast<std::uint32_t>(flags), 1) + number(stream, 4) + payload;
}
std::string setting(int id, std::uint32_t value) {
  return number(static_cast<std::uint32_t>(id), 2) + number(value, 4);
}
// A field as HPACK has it without any table.
std::string field(const std::string& name, const std::string& value) {
  const auto text = [](const std::string& s) {
    std::string out;
    std::size_t n = s.size();
    if (n < 127) return std::string(1, static_cast<char>(n)) + s;
    out.push_back(127);
    for (n -= 127; n >= 128; n >>= 7) out.push_back(static_cast<char>(n % 128 + 128));
    out.push_back(static_cast<char>(n));
    return out + s;
  };
  return std::string(1, '\0') + text(name) + text(value);
}
std::string request(const std::string& method = "GET", const std::string& more = "") {
  return field(":method", method) + field(":scheme", "http") + field(":path", "/a") + field(":authority", "h") + more;
}
std::string get(std::uint32_t stream) { return frame(kHeaders, kEnd | kEndHeaders, stream, request()); }
std::string post(std::uint32_t stream, const std::string& more = "") {
  return frame(kHeaders, kEndHeaders, stream, request("POST", more));
}

struct Heard {
  int type = -1, flags = 0;
  std::uint32_t stream = 0;
  std::string payload;
  std::uint32_t word(std::size_t at) const {
    std::uint32_t out = 0;
    for (std::size_t i = 0; i < 4; ++i) out = out << 8 | static_cast<unsigned char>(payload.at(at + i));
    return out;
  }
};

// What the peer was told: "GOAWAY code", "RST stream code", or nothing of an error.
struct Verdict {
  std::optional<std::uint32_t> goaway;
  std::map<std::uint32_t, std::uint32_t> resets;
  std::map<std::uint32_t, std::string> status;
  std::map<std::uint32_t, std::string> bodies;
};

class H2Peer final : public Carrier {
 public:
  explicit H2Peer(HttpHandler handler = {}, DoorOptions options = {}) {
    if (!handler) handler = [this](std::shared_ptr<Exchange> exchange) { return echo(this, std::move(exchange)); };
    serving_ = std::make_shared<Serving>(io_, std::move(options), std::move(handler));
    server_ = makeH2Server(serving_, Peer{"127.0.0.1", 1, false}, *this);
    EXPECT_EQ(nghttp2_hd_inflate_new(&inflater_), 0);
  }
  ~H2Peer() override {
    server_->lost();
    work();
    EXPECT_EQ(serving_->running, 0u) << "every handler ends with its connection";
    nghttp2_hd_inflate_del(inflater_);
  }
  void kick() override {}

  // The preface and an empty SETTINGS first.
  H2Peer& open(const std::string& settings = "") {
    return say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(kSettings, 0, 0, settings));
  }
  H2Peer& say(const std::string& bytes) {
    server_->receive(bytes);
    work();
    return *this;
  }
  // Says it without reading what comes back.
  void pour(const std::string& bytes) { server_->receive(bytes); }
  bool finished() const { return server_->finished(); }
  void tick(Nanos later) {
    server_->tick(instantNow() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(later));
    work();
  }
  void work() {
    for (int idle = 0; idle < 2;) {
      io_.restart();
      const std::size_t before = out_.size();
      const bool worked = io_.poll() > 0;
      server_->fill(out_);
      idle = worked || out_.size() != before ? 0 : idle + 1;
    }
    read();
  }

  std::vector<Heard> heard;
  Verdict verdict;
  std::size_t asked = 0, longestBody = 0;

 private:
  static Task<void> echo(H2Peer* peer, std::shared_ptr<Exchange> exchange) {
    ++peer->asked;
    std::string body;
    for (;;) {
      auto piece = co_await exchange->read();
      if (!piece.ok()) co_return;
      if (!piece->has_value()) break;
      body += **piece;
    }
    peer->longestBody = std::max(peer->longestBody, body.size());
    (void)co_await exchange->answer(200, {}, exchange->head().method + " " + body);
  }

  void read() {
    while (out_.size() >= 9) {
      const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(static_cast<unsigned char>(out_[at])); };
      const std::size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
      if (out_.size() < 9 + size) return;
      Heard one;
      one.type = static_cast<int>(byte(3));
      one.flags = static_cast<int>(byte(4));
      one.stream = static_cast<std::uint32_t>(byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8));
      one.payload = out_.substr(9, size);
      out_.erase(0, 9 + size);
      note(one);
      heard.push_back(std::move(one));
    }
  }
  void note(const Heard& one) {
    if (one.type == kGoaway) verdict.goaway = one.word(4);
    if (one.type == kReset) verdict.resets[one.stream] = one.word(0);
    if (one.type == kData) verdict.bodies[one.stream] += one.payload;
    if (one.type != kHeaders) return;
    const auto* at = reinterpret_cast<const std::uint8_t*>(one.payload.data());
    std::size_t left = one.payload.size();
    for (;;) {
      nghttp2_nv nv{};
      int flags = 0;
      const ssize_t n = nghttp2_hd_inflate_hd2(inflater_, &nv, &flags, at, left, 1);
      if (n < 0) break;
      at += n;
      left -= static_cast<std::size_t>(n);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
        const std::string name(reinterpret_cast<const char*>(nv.name), nv.namelen);
        if (name == ":status")
          verdict.status[one.stream] = std::string(reinterpret_cast<const char*>(nv.value), nv.valuelen);
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater_);
  }

  asio::io_context io_{1};
  std::shared_ptr<Serving> serving_;
  std::unique_ptr<Protocol> server_;
  nghttp2_hd_inflater* inflater_ = nullptr;
  std::string out_;
};

TEST(H2Conformance, TheServersSettingsComeFirstAndThoseOfThePeerAreAcknowledged) {
  H2Peer peer;
  peer.open();
  ASSERT_GE(peer.heard.size(), 2u);
  EXPECT_EQ(peer.heard[0].type, kSettings);
  EXPECT_EQ(peer.heard[0].flags, 0);
  EXPECT_NE(peer.heard[0].payload.find(setting(8, 1)), std::string::npos) << "extended CONNECT is offered";
  EXPECT_TRUE(std::any_of(peer.heard.begin(), peer.heard.end(),
                          [](const Heard& one) { return one.type == kSettings && one.flags == kAck; }));
}

TEST(H2Conformance, RequestsAreServedHoweverTheirHeadsAreCut) {
  H2Peer peer;
  const std::string head = request("POST");
  peer.open().say(frame(kHeaders, 0, 1, head.substr(0, 5)) + frame(kContinuation, 0, 1, head.substr(5, 9)) +
                  frame(kContinuation, kEndHeaders, 1, head.substr(14)) + frame(kData, 0, 1, "hel") +
                  frame(kData, kEnd | kPadded, 1, std::string("\2lo\0\0", 5)));
  peer.say(frame(kHeaders, kEnd | kEndHeaders | kPadded, 3, "\3" + request() + std::string(3, '\0')));
  peer.say(frame(0xbe, 0xff, 3, "a type of frame that nobody knows") + frame(kPriority, 0, 5, number(3, 4) + "\x10"));
  EXPECT_EQ(peer.verdict.bodies[1], "POST hello");
  EXPECT_EQ(peer.verdict.bodies[3], "GET ");
  EXPECT_FALSE(peer.verdict.goaway);
}

TEST(H2Conformance, AHundredContinueAndTrailersAreTaken) {
  H2Peer peer;
  peer.open().say(post(1, field("expect", "100-continue") + field("te", "trailers")) + frame(kData, 0, 1, "x") +
                  frame(kHeaders, kEnd | kEndHeaders, 1, field("sum", "1")));
  EXPECT_EQ(peer.verdict.bodies[1], "POST x");
}

TEST(H2Conformance, APingComesBackWithItsBytes) {
  H2Peer peer;
  peer.open().say(frame(kPing, 0, 0, "12345678"));
  EXPECT_EQ(peer.heard.back().type, kPing);
  EXPECT_EQ(peer.heard.back().flags, kAck);
  EXPECT_EQ(peer.heard.back().payload, "12345678");
}

// Sent on a connection with stream 1 open (a POST without its body) and stream 3 ended.
struct Wrong {
  const char* name;
  std::string bytes;
  std::uint32_t code;
};
void PrintTo(const Wrong& wrong, std::ostream* out) { *out << wrong.name; }

class ConnectionErrors : public ::testing::TestWithParam<Wrong> {};

TEST_P(ConnectionErrors, EndItWithGoaway) {
  H2Peer peer;
  peer.open().say(post(1) + get(3)).say(GetParam().bytes);
  ASSERT_TRUE(peer.verdict.goaway);
  EXPECT_EQ(*peer.verdict.goaway, GetParam().code);
  EXPECT_TRUE(peer.finished());
}

constexpr std::uint32_t kProtocol = 1, kFlow = 3, kClosed = 5, kSize = 6, kRefused = 7, kCompression = 9;

INSTANTIATE_TEST_SUITE_P(
    Rfc9113, ConnectionErrors,
    ::testing::Values(
        Wrong{"a frame beyond 16384", frame(kData, 0, 1, std::string(16385, 'x')), kSize},
        Wrong{"SETTINGS of 5 bytes", frame(kSettings, 0, 0, "12345"), kSize},
        Wrong{"an acknowledgement with settings", frame(kSettings, kAck, 0, setting(1, 0)), kSize},
        Wrong{"SETTINGS of a stream", frame(kSettings, 0, 1, ""), kProtocol},
        Wrong{"a window of 2^31", frame(kSettings, 0, 0, setting(4, 1u << 31)), kFlow},
        Wrong{"ENABLE_PUSH 2", frame(kSettings, 0, 0, setting(2, 2)), kProtocol},
        Wrong{"MAX_FRAME_SIZE 16383", frame(kSettings, 0, 0, setting(5, 16383)), kProtocol},
        Wrong{"MAX_FRAME_SIZE 2^24", frame(kSettings, 0, 0, setting(5, 1u << 24)), kProtocol},
        Wrong{"a PING of 7 bytes", frame(kPing, 0, 0, "1234567"), kSize},
        Wrong{"a PING of a stream", frame(kPing, 0, 1, "12345678"), kProtocol},
        Wrong{"GOAWAY of a stream", frame(kGoaway, 0, 1, std::string(8, '\0')), kProtocol},
        Wrong{"DATA of the connection", frame(kData, 0, 0, "x"), kProtocol},
        Wrong{"DATA of an idle stream", frame(kData, 0, 5, "x"), kProtocol},
        Wrong{"padding beyond its frame", frame(kData, kPadded, 1, "\x09x"), kProtocol},
        Wrong{"HEADERS of the connection", get(0), kProtocol}, Wrong{"HEADERS of an even stream", get(2), kProtocol},
        Wrong{"RST_STREAM of the connection", frame(kReset, 0, 0, number(0, 4)), kProtocol},
        Wrong{"RST_STREAM of an idle stream", frame(kReset, 0, 9, number(0, 4)), kProtocol},
        Wrong{"RST_STREAM of 3 bytes", frame(kReset, 0, 1, "123"), kSize},
        Wrong{"PRIORITY of 4 bytes", frame(kPriority, 0, 1, "1234"), kSize},
        Wrong{"PRIORITY of the connection", frame(kPriority, 0, 0, "12345"), kProtocol},
        Wrong{"a push by a client", frame(kPush, kEndHeaders, 1, number(2, 4) + request()), kProtocol},
        Wrong{"WINDOW_UPDATE of 3 bytes", frame(kWindow, 0, 1, "123"), kSize},
        Wrong{"WINDOW_UPDATE of 0", frame(kWindow, 0, 0, number(0, 4)), kProtocol},
        Wrong{"a stream's WINDOW_UPDATE of 0", frame(kWindow, 0, 1, number(0, 4)), kProtocol},
        Wrong{"WINDOW_UPDATE of an idle stream", frame(kWindow, 0, 7, number(1, 4)), kProtocol},
        Wrong{"the connection's window beyond 2^31", frame(kWindow, 0, 0, number(0x7fffffff, 4)), kFlow},
        Wrong{"CONTINUATION of nothing", frame(kContinuation, kEndHeaders, 1, "x"), kProtocol},
        Wrong{"another frame within a head",
              frame(kHeaders, kEnd, 5, request().substr(0, 9)) + frame(kPing, 0, 0, "12345678"), kProtocol},
        Wrong{"CONTINUATION of another stream",
              frame(kHeaders, kEnd, 5, request().substr(0, 9)) + frame(kContinuation, kEndHeaders, 7, "x"), kProtocol},
        Wrong{"an index beyond the tables", frame(kHeaders, kEnd | kEndHeaders, 5, "\xff\x80\x01"), kCompression},
        Wrong{"a table larger than agreed", frame(kHeaders, kEnd | kEndHeaders, 5, "\x3f\xe1\xff\x03" + request()),
              kCompression},
        Wrong{"a text cut short",
              frame(kHeaders, kEnd | kEndHeaders, 5,
                    std::string("\0\x7f\x7f"
                                "a",
                                4)),
              kCompression},
        Wrong{"an integer without end",
              frame(kHeaders, kEnd | kEndHeaders, 5, std::string(1, '\x7f') + std::string(40, '\xff')), kCompression}));

class StreamErrors : public ::testing::TestWithParam<Wrong> {};

TEST_P(StreamErrors, EndTheirStreamAndNoOther) {
  H2Peer peer;
  peer.open().say(GetParam().bytes);
  ASSERT_TRUE(peer.verdict.resets.contains(1));
  EXPECT_EQ(peer.verdict.resets[1], GetParam().code);
  EXPECT_FALSE(peer.verdict.status.contains(1)) << "it is not answered as if all were well";
  peer.say(get(3));
  EXPECT_EQ(peer.verdict.status[3], "200");
}

std::string headed(const std::string& block) { return frame(kHeaders, kEnd | kEndHeaders, 1, block); }

INSTANTIATE_TEST_SUITE_P(
    Rfc9113, StreamErrors,
    ::testing::Values(
        Wrong{"a name in capitals", headed(request("GET", field("X-A", "b"))), kProtocol},
        Wrong{"a pseudo-header behind a header",
              headed(field(":method", "GET") + field(":scheme", "http") + field("a", "b") + field(":path", "/")),
              kProtocol},
        Wrong{"an unknown pseudo-header", headed(request("GET", "") + field(":x", "y")), kProtocol},
        Wrong{"a response's pseudo-header", headed(field(":status", "200") + request()), kProtocol},
        Wrong{"two :method", headed(field(":method", "GET") + request()), kProtocol},
        Wrong{"two :path", headed(field(":path", "/b") + request()), kProtocol},
        Wrong{"no :method", headed(field(":scheme", "http") + field(":path", "/") + field(":authority", "h")),
              kProtocol},
        Wrong{"no :scheme", headed(field(":method", "GET") + field(":path", "/") + field(":authority", "h")),
              kProtocol},
        Wrong{"no :path", headed(field(":method", "GET") + field(":scheme", "http") + field(":authority", "h")),
              kProtocol},
        Wrong{
            "an empty :path",
            headed(field(":method", "GET") + field(":scheme", "http") + field(":path", "") + field(":authority", "h")),
            kProtocol},
        Wrong{"connection", headed(request("GET", field("connection", "close"))), kProtocol},
        Wrong{"keep-alive", headed(request("GET", field("keep-alive", "1"))), kProtocol},
        Wrong{"proxy-connection", headed(request("GET", field("proxy-connection", "close"))), kProtocol},
        Wrong{"transfer-encoding", headed(request("GET", field("transfer-encoding", "chunked"))), kProtocol},
        Wrong{"upgrade", headed(request("GET", field("upgrade", "h2c"))), kProtocol},
        Wrong{"te that is not trailers", headed(request("GET", field("te", "gzip"))), kProtocol},
        Wrong{":protocol without CONNECT", headed(field(":protocol", "websocket") + request()), kProtocol},
        Wrong{"a line end in a value", headed(request("GET", field("a", "b\r\nc: d"))), kProtocol},
        Wrong{"a NUL in a value", headed(request("GET", field("a", std::string("b\0c", 3)))), kProtocol},
        Wrong{"a space in a name", headed(request("GET", field("a b", "c"))), kProtocol},
        Wrong{"less than its content-length", post(1, field("content-length", "3")) + frame(kData, kEnd, 1, "ab"),
              kProtocol},
        Wrong{"more than its content-length", post(1, field("content-length", "1")) + frame(kData, kEnd, 1, "ab"),
              kProtocol},
        Wrong{"two lengths", headed(request("GET", field("content-length", "0") + field("content-length", "1"))),
              kProtocol},
        Wrong{"a length that is no number", headed(request("GET", field("content-length", "+0"))), kProtocol},
        Wrong{"trailers with a pseudo-header", post(1) + frame(kHeaders, kEnd | kEndHeaders, 1, field(":path", "/")),
              kProtocol},
        Wrong{"trailers that do not end the stream", post(1) + frame(kHeaders, kEndHeaders, 1, field("a", "b")),
              kProtocol},
        Wrong{"a window beyond 2^31", post(1) + frame(kWindow, 0, 1, number(0x7fffffff, 4)), kFlow}));

TEST(H2Conformance, BytesBehindTheEndOfAStreamAreRefused) {
  H2Peer peer;
  peer.open().say(frame(kHeaders, kEnd | kEndHeaders, 1, request("POST")) + frame(kData, 0, 1, "late"));
  EXPECT_TRUE(peer.verdict.goaway == kClosed || peer.verdict.goaway == kProtocol || peer.verdict.resets[1] == kClosed);
  EXPECT_EQ(peer.longestBody, 0u);
}

TEST(H2Conformance, AStreamsNumberIsNotUsedTwice) {
  H2Peer peer;
  peer.open().say(get(5)).say(get(5)).say(get(3));
  EXPECT_EQ(peer.asked, 1u);
}

TEST(H2Conformance, APrefaceThatIsNoneEndsTheConnection) {
  H2Peer peer;
  peer.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(kPing, 0, 0, "12345678"));
  EXPECT_TRUE(peer.finished());
  H2Peer other;
  other.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(other.finished());
}

TEST(H2Conformance, WhatThePeersWindowsDoNotAllowIsNotSent) {
  H2Peer peer;
  peer.open(setting(4, 3)).say(get(1));
  EXPECT_EQ(peer.verdict.bodies[1], "GET");
  peer.say(frame(kWindow, 0, 1, number(1, 4)));
  EXPECT_EQ(peer.verdict.bodies[1], "GET ");
  peer.say(post(3) + frame(kData, kEnd, 3, "abcdef"));
  EXPECT_EQ(peer.verdict.bodies[3], "POS");
  peer.say(frame(kSettings, 0, 0, setting(4, 9)));
  EXPECT_EQ(peer.verdict.bodies[3], "POST abcd") << "a changed setting counts for open streams";
}

TEST(H2Conformance, MoreThanOurWindowIsNotTaken) {
  H2Peer peer([](std::shared_ptr<Exchange> exchange) -> Task<void> {
    Notifier gone(*exchange->loop());
    exchange->onGone([&gone] { gone.notifyAll(); });
    (void)co_await gone.wait(std::chrono::hours(1));
  });
  std::string bytes = post(1);
  for (int i = 0; i < 65; ++i) bytes += frame(kData, 0, 1, std::string(16384, 'x'));  // 1 MiB and one frame
  peer.open().say(bytes);
  EXPECT_TRUE(peer.verdict.resets[1] == kFlow || peer.verdict.goaway == kFlow);
}

TEST(H2Conformance, MoreStreamsThanAllowedAreRefused) {
  H2Peer peer;
  peer.open();
  std::string bytes;
  for (std::uint32_t id = 1; id < 2200; id += 2) bytes += post(id);
  peer.say(bytes);
  EXPECT_EQ(peer.asked, 1000u);
  EXPECT_EQ(peer.verdict.resets.size(), 100u);
  EXPECT_EQ(peer.verdict.resets[2199], kRefused);
}

TEST(H2Conformance, ExtendedConnectIsForWebSocketsAndPlainConnectForNobody) {
  H2Peer peer([](std::shared_ptr<Exchange> exchange) -> Task<void> {
    const auto taken = co_await exchange->upgrade({});
    EXPECT_EQ(taken.ok(), exchange->head().protocol == "websocket");
    if (!taken.ok()) co_return;
    for (;;) {
      auto piece = co_await exchange->read();
      if (!piece.ok() || !piece->has_value()) break;
      (void)co_await exchange->write(std::move(**piece));
    }
    (void)co_await exchange->finish({});
  });
  peer.open().say(frame(kHeaders, kEndHeaders, 1, request("CONNECT", "").insert(0, field(":protocol", "websocket"))));
  EXPECT_EQ(peer.verdict.status[1], "200");
  peer.say(frame(kData, 0, 1, "to and fro"));
  EXPECT_EQ(peer.verdict.bodies[1], "to and fro");
  peer.say(frame(kData, kEnd, 1, ""));
  EXPECT_EQ(peer.heard.back().flags & kEnd, kEnd);
  peer.say(frame(kHeaders, kEndHeaders, 3, field(":protocol", "x") + request("CONNECT")));
  EXPECT_EQ(peer.verdict.status[3], "501");
  peer.say(frame(kHeaders, kEndHeaders, 5, field(":method", "CONNECT") + field(":authority", "h:1")));
  EXPECT_EQ(peer.verdict.status[5], "501");
  peer.say(get(7));
  EXPECT_EQ(peer.verdict.status[7], "500") << "what is no CONNECT cannot be taken over";
}

TEST(H2Conformance, ABodyThatDoesNotComeIsNotWaitedForForever) {
  H2Peer peer;
  peer.open().say(post(1) + post(3, field("content-type", "application/grpc")));
  peer.tick(std::chrono::seconds(59));
  EXPECT_TRUE(peer.verdict.resets.empty());
  peer.tick(std::chrono::seconds(62));
  EXPECT_TRUE(peer.verdict.resets.contains(1));
  EXPECT_FALSE(peer.verdict.resets.contains(3));
}

// --- floods: each ends, or costs nothing

TEST(H2Floods, AHeadOfEndlessContinuationsEndsTheConnection) {
  H2Peer peer;
  peer.open().say(frame(kHeaders, kEnd, 1, request()));
  std::size_t sent = 0;
  for (; sent < 20'000 && !peer.finished(); ++sent) peer.say(frame(kContinuation, 0, 1, ""));
  EXPECT_LT(sent, 20'000u);
}

TEST(H2Floods, AHeadThatIsTooLargeIs431AndABombEndsTheConnection) {
  H2Peer peer;
  std::string large = request();
  for (int i = 0; i < 5; ++i) large += field("x-" + std::to_string(i), std::string(15'000, 'x'));
  std::string bytes = frame(kHeaders, kEnd, 1, large.substr(0, 16'000));
  for (std::size_t at = 16'000; at < large.size(); at += 16'000)
    bytes += frame(kContinuation, at + 16'000 >= large.size() ? kEndHeaders : 0, 1, large.substr(at, 16'000));
  peer.open().say(bytes);
  EXPECT_EQ(peer.verdict.status[1], "431");
  EXPECT_EQ(peer.asked, 0u);
  // One field of 4,000 bytes in the table, then named by one byte each.
  const std::string bomb =
      request() + "\x40" + field("b", std::string(4'000, 'b')).substr(1) + std::string(12'000, '\xbe');
  H2Peer victim;
  victim.open().say(frame(kHeaders, kEnd | kEndHeaders, 1, bomb));
  EXPECT_TRUE(victim.finished());
  EXPECT_EQ(victim.asked, 0u);
}

TEST(H2Floods, RapidResetsEndTheConnection) {
  H2Peer peer;
  peer.open();
  std::uint32_t id = 1;
  for (; id < 80'000 && !peer.finished(); id += 2) peer.say(get(id) + frame(kReset, 0, id, number(8, 4)));
  EXPECT_TRUE(peer.finished());
  EXPECT_LT(id, 40'000u);
}

TEST(H2Floods, PingsAndSettingsThatNobodyTakesTheAnswersOfEndTheConnection) {
  for (const std::string& flood : {frame(kPing, 0, 0, "12345678"), frame(kSettings, 0, 0, "")}) {
    H2Peer peer;
    peer.open();
    std::size_t sent = 0;
    for (; sent < 100'000 && !peer.finished(); ++sent) peer.pour(flood);
    EXPECT_LT(sent, 20'000u);
  }
}

TEST(H2Floods, EmptyFramesOfAStreamCostNothing) {
  H2Peer peer;
  peer.open().say(post(1));
  for (int i = 0; i < 10'000; ++i) peer.say(frame(kData, 0, 1, ""));
  peer.say(frame(kData, kEnd, 1, "x"));
  EXPECT_EQ(peer.verdict.bodies[1], "POST x");
}

}  // namespace
}  // namespace gridiron::net
