#include "edge/http/lane_websocket.h"

#include <gtest/gtest.h>

#include "edge/http/test_lane.h"
#include "net/websocket.h"

// The door's WebSockets before an app that is played: RFC 6455 and 7692 as a peer meets them.
namespace gridiron::edge::test {
namespace {

// An app that accepts and says back what it is told. Some words it takes as orders.
class EchoApp : public LaneApp {
 public:
  std::vector<std::string> heard;  // kind and payload
  bool accepting = true;

 private:
  std::string answer(const LaneFrame& frame, Caller&) override {
    if (frame.kind == 'R') {
      heard.push_back("R");
      return accepting ? laneFrame('W', "talk") : laneFrame('X', "1000") + laneFrame('Z');
    }
    heard.push_back(frame.kind + frame.payload);
    if (frame.kind == 'X' || frame.kind == 'C') return laneFrame('Z');
    if (frame.payload == "close") return laneFrame('X', std::string("4001\0as you wish", 16)) + laneFrame('Z');
    if (frame.payload == "end") return laneFrame('Z');
    if (frame.payload == "fail") return laneFrame('Z', "ValueError()");
    return laneFrame(frame.kind, frame.payload);
  }
};

constexpr int kLast = 0x80, kRsv1 = 0x40;
constexpr int kText = 1, kBytes = 2, kClose = 8, kPing = 9, kPong = 10;

std::string masked(int first, std::string_view data, int maskBit = 0x80) {
  std::string out(1, static_cast<char>(first));
  const std::size_t size = data.size();
  const int wide = size < 126 ? 0 : size < 65536 ? 2 : 8;
  out.push_back(static_cast<char>(maskBit | (wide == 0 ? static_cast<int>(size) : wide == 2 ? 126 : 127)));
  for (int i = wide - 1; i >= 0; --i) out.push_back(static_cast<char>(i > 3 ? 0 : size >> (8 * i) & 0xff));
  const std::string key = maskBit != 0 ? "\x12\x34\x56\x78" : std::string(4, '\0');
  if (maskBit != 0) out += key;
  for (std::size_t i = 0; i < size; ++i) out.push_back(static_cast<char>(data[i] ^ key[i % 4]));
  return out;
}

std::string code(int number, const std::string& reason = "") {
  return std::string{static_cast<char>(number >> 8), static_cast<char>(number & 0xff)} + reason;
}

class LaneWebSocketTest : public ::testing::Test {
 protected:
  LaneWebSocketTest() { grid_.web("chat", app_.program()); }

  void open(const std::string& more = "") {
    socket_ = std::make_unique<LocalSocket>(grid_.io);
    socket_->connect(asio::local::stream_protocol::endpoint(grid_.path()));
    socket_->non_blocking(true);
    say("GET /room HTTP/1.1\r\nHost: you--chat.localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
        more + "\r\n");
    grid_.runUntil([&] { return listen().find("\r\n\r\n") != std::string::npos; }, "an answer's head came");
    const auto end = in_.find("\r\n\r\n");
    head_ = in_.substr(0, end + 4);
    in_.erase(0, end + 4);
  }

  // As much as the kernel takes.
  std::size_t say(std::string_view bytes) {
    boost::system::error_code failed;
    return socket_->write_some(asio::buffer(bytes), failed);
  }
  std::string& listen() {
    char buffer[65536];
    boost::system::error_code failed;
    for (;;) {
      const std::size_t n = socket_->read_some(asio::buffer(buffer), failed);
      if (failed == asio::error::eof || failed == asio::error::connection_reset) ended_ = true;
      if (n == 0) return in_;
      in_.append(buffer, n);
    }
  }

  struct Frame {
    int first = -1;
    std::string data;
    bool operator==(const Frame&) const = default;
  };
  friend void PrintTo(const Frame& frame, std::ostream* out) { *out << frame.first << ":" << frame.data.substr(0, 80); }
  std::optional<Frame> frame() {
    listen();
    if (in_.size() < 2) return std::nullopt;
    const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(static_cast<unsigned char>(in_[at])); };
    std::size_t size = byte(1), at = 2;
    const std::size_t wide = size == 126 ? 2 : size == 127 ? 8 : 0;
    if (in_.size() < 2 + wide) return std::nullopt;
    if (wide > 0) size = 0;
    for (std::size_t i = 0; i < wide; ++i) size = size << 8 | byte(at++);
    if (in_.size() < at + size) return std::nullopt;
    Frame out{static_cast<int>(byte(0)), in_.substr(at, size)};
    in_.erase(0, at + size);
    return out;
  }
  Frame hear() {
    std::optional<Frame> got;
    grid_.runUntil([&] { return got || (got = frame()) || ended_; }, "a frame came");
    return got.value_or(Frame{-1, "the connection ended"});
  }
  // Says `bytes` on a connection of its own; what the door closes it with.
  int closedWith(std::string_view bytes, const std::string& more = "") {
    open(more);
    say(bytes);
    const Frame got = hear();
    EXPECT_EQ(got.first, kLast | kClose);
    grid_.runUntil(
        [&] {
          listen();
          return ended_;
        },
        "the connection ended");
    return got.data.size() < 2 ? 1005
                               : static_cast<unsigned char>(got.data[0]) << 8 | static_cast<unsigned char>(got.data[1]);
  }
  bool appHeard(const std::string& what) {
    grid_.runUntil([&] { return std::count(app_.heard.begin(), app_.heard.end(), what) > 0; }, what.c_str());
    return !HasFailure();
  }

  EchoApp app_;
  Grid grid_{std::chrono::seconds(2), openMemoryStore(), true};
  std::unique_ptr<LocalSocket> socket_;
  std::string in_, head_;
  bool ended_ = false;
};

TEST_F(LaneWebSocketTest, AHandshakeIsAnsweredAsTheStandardSays) {
  open();
  EXPECT_TRUE(head_.starts_with("HTTP/1.1 101 ")) << head_;
  EXPECT_NE(head_.find("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), std::string::npos);
  EXPECT_NE(head_.find("sec-websocket-protocol: talk\r\n"), std::string::npos);
  EXPECT_EQ(head_.find("sec-websocket-extensions"), std::string::npos) << "nobody asked for one";
}

TEST_F(LaneWebSocketTest, AnAppMayRefuse) {
  app_.accepting = false;
  open();
  EXPECT_TRUE(head_.starts_with("HTTP/1.1 403 ")) << head_;
}

TEST_F(LaneWebSocketTest, MessagesOfEverySizeAreEchoed) {
  open();
  for (const std::size_t size : {0u, 1u, 125u, 126u, 127u, 65535u, 65536u, 100000u}) {
    for (const int kind : {kText, kBytes}) {
      say(masked(kLast | kind, std::string(size, '*')));
      EXPECT_EQ(hear(), (Frame{kLast | kind, std::string(size, '*')}));
    }
  }
}

TEST_F(LaneWebSocketTest, FragmentsAreOneMessageWithControlFramesAnsweredBetween) {
  open();
  say(masked(kText, "frag") + masked(kLast | kPing, "ping") + masked(0, "") + masked(kLast | kPong, "alone") +
      masked(0, "ment") + masked(kLast, "s"));
  EXPECT_EQ(hear(), (Frame{kLast | kPong, "ping"}));
  EXPECT_EQ(hear(), (Frame{kLast | kText, "fragments"}));
  say(masked(kText, "\xce\xba\xe1") + masked(kLast, "\xbd\xb9"));  // a character over two fragments
  EXPECT_EQ(hear(), (Frame{kLast | kText, "\xce\xba\xe1\xbd\xb9"}));
}

TEST_F(LaneWebSocketTest, PingsAreAnsweredWithTheirBytesHoweverMany) {
  open();
  say(masked(kLast | kPing, "") + masked(kLast | kPing, std::string(125, '\xfe')));
  EXPECT_EQ(hear(), (Frame{kLast | kPong, ""}));
  EXPECT_EQ(hear(), (Frame{kLast | kPong, std::string(125, '\xfe')}));
  std::string many;
  for (int i = 0; i < 1000; ++i) many += masked(kLast | kPing, "x");
  say(many);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(hear(), (Frame{kLast | kPong, "x"}));
}

TEST_F(LaneWebSocketTest, BytesMayComeOneByOne) {
  open();
  for (const char c : masked(kText, "sl") + masked(kLast | kPing, "p") + masked(kLast, "ow")) {
    say(std::string_view(&c, 1));
    grid_.io.poll();
  }
  EXPECT_EQ(hear(), (Frame{kLast | kPong, "p"}));
  EXPECT_EQ(hear(), (Frame{kLast | kText, "slow"}));
}

struct Violation {
  const char* name;
  std::string bytes;
  int code;
};
void PrintTo(const Violation& violation, std::ostream* out) { *out << violation.name; }

class Violations : public LaneWebSocketTest, public ::testing::WithParamInterface<Violation> {};

TEST_P(Violations, EndTheConnectionWithTheirCodeAndTheAppHears) {
  EXPECT_EQ(closedWith(GetParam().bytes), GetParam().code);
  EXPECT_TRUE(appHeard("X" + std::to_string(GetParam().code)));
}

INSTANTIATE_TEST_SUITE_P(
    Rfc6455, Violations,
    ::testing::Values(
        Violation{"not masked", masked(kLast | kText, "x", 0), 1002},
        Violation{"RSV1 without an extension", masked(kLast | kRsv1 | kText, "x"), 1002},
        Violation{"RSV2", masked(kLast | 0x20 | kText, "x"), 1002},
        Violation{"RSV3 of a ping", masked(kLast | 0x10 | kPing, "x"), 1002},
        Violation{"opcode 3", masked(kLast | 3, "x"), 1002}, Violation{"opcode 7", masked(kLast | 7, ""), 1002},
        Violation{"opcode 11", masked(kLast | 11, ""), 1002}, Violation{"opcode 15", masked(kLast | 15, "x"), 1002},
        Violation{"a ping in fragments", masked(kPing, "x") + masked(kLast, "y"), 1002},
        Violation{"a ping of 126 bytes", masked(kLast | kPing, std::string(126, 'x')), 1002},
        Violation{"a close of 126 bytes", masked(kLast | kClose, code(1000, std::string(124, 'x'))), 1002},
        Violation{"a continuation of nothing", masked(kLast, "x"), 1002},
        Violation{"a message within another", masked(kText, "x") + masked(kLast | kText, "y"), 1002},
        Violation{"overlong UTF-8", masked(kLast | kText, "\xc0\xaf"), 1007},
        Violation{"a surrogate", masked(kLast | kText, "\xed\xa0\x80"), 1007},
        Violation{"beyond U+10FFFF", masked(kLast | kText, "\xf4\x90\x80\x80"), 1007},
        Violation{"bad UTF-8 over fragments", masked(kText, "\xce\xba\xe1\xbd") + masked(kLast, "\xf4\x90"), 1007},
        Violation{"UTF-8 cut short", masked(kLast | kText, "\xe2\x82"), 1007},
        Violation{"a length with its highest bit", "\x82\xff\xff" + std::string(7, '\0') + "mask", 1002},
        Violation{"a length beyond the limit", std::string("\x82\xff\0\0\0\0\x01\0\0\x01mask", 14), 1009},
        Violation{"a close of one byte", masked(kLast | kClose, "\x03"), 1002},
        Violation{"a close with bad UTF-8", masked(kLast | kClose, code(1000, "\xff")), 1007},
        Violation{"code 0", masked(kLast | kClose, code(0)), 1002},
        Violation{"code 999", masked(kLast | kClose, code(999)), 1002},
        Violation{"code 1004", masked(kLast | kClose, code(1004)), 1002},
        Violation{"code 1005", masked(kLast | kClose, code(1005)), 1002},
        Violation{"code 1006", masked(kLast | kClose, code(1006)), 1002},
        Violation{"code 1015", masked(kLast | kClose, code(1015)), 1002},
        Violation{"code 2999", masked(kLast | kClose, code(2999)), 1002},
        Violation{"code 5000", masked(kLast | kClose, code(5000)), 1002}));

TEST_F(LaneWebSocketTest, ACloseIsAnsweredWithItsCodeAndNothingFollows) {
  for (const int number :
       {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}) {
    ended_ = false;
    EXPECT_EQ(closedWith(masked(kLast | kClose, code(number, "why")) + masked(kLast | kText, "late")), number);
    EXPECT_TRUE(appHeard("X" + std::to_string(number)));
  }
  ended_ = false;
  EXPECT_EQ(closedWith(masked(kLast | kClose, "")), 1005);
  EXPECT_TRUE(appHeard("X1005"));
  EXPECT_EQ(std::count(app_.heard.begin(), app_.heard.end(), "Tlate"), 0);
}

TEST_F(LaneWebSocketTest, TheAppMayCloseEndOrFail) {
  open();
  say(masked(kLast | kText, "close"));
  EXPECT_EQ(hear(), (Frame{kLast | kClose, code(4001, "as you wish")}));
  say(masked(kLast | kClose, code(4001)));
  EXPECT_EQ(hear().first, -1);
  for (const auto& [word, number] : {std::pair{"end", 1000}, std::pair{"fail", 1011}}) {
    ended_ = false;
    open();
    say(masked(kLast | kText, word));
    EXPECT_EQ(hear(), (Frame{kLast | kClose, code(number)})) << word;
    say(masked(kLast | kClose, code(number)));
    EXPECT_EQ(hear().first, -1);
  }
}

TEST_F(LaneWebSocketTest, APeerThatIsCutOffIsToldAs1006) {
  open();
  socket_->close();
  EXPECT_TRUE(appHeard("X1006"));
}

TEST_F(LaneWebSocketTest, CompressedMessagesGoBothWays) {
  open("Sec-WebSocket-Extensions: x-unknown, permessage-deflate; client_max_window_bits\r\n");
  EXPECT_NE(head_.find("sec-websocket-extensions: permessage-deflate; server_max_window_bits=12; "
                       "client_max_window_bits=12\r\n"),
            std::string::npos)
      << head_;
  const net::DeflateTerms terms{12, 12, false, false};
  net::Deflater deflater(terms);
  net::Inflater inflater(terms);
  for (int i = 0; i < 3; ++i) {
    const std::string text = std::string(200, 'a') + std::to_string(i);
    const std::string payload = *deflater.deflate(text);
    if (i == 1) {  // in fragments: only the first says that it is compressed
      say(masked(kRsv1 | kText, payload.substr(0, 3)) + masked(kLast | kPing, "p") + masked(kLast, payload.substr(3)));
      EXPECT_EQ(hear(), (Frame{kLast | kPong, "p"}));
    } else {
      say(masked(kLast | kRsv1 | kText, payload));
    }
    const Frame echo = hear();
    EXPECT_EQ(echo.first, kLast | kRsv1 | kText);
    EXPECT_LT(echo.data.size(), 20u);
    std::string restored;
    EXPECT_EQ(inflater.inflate(echo.data, 1000, restored), net::Inflater::End::whole);
    EXPECT_EQ(restored, text);
  }
  say(masked(kLast | kText, "plain"));
  EXPECT_EQ(hear(), (Frame{kLast | kText, "plain"})) << "what is not compressed is taken too";
}

TEST_F(LaneWebSocketTest, WhatIsWronglyCompressedEndsTheConnection) {
  const std::string offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
  EXPECT_EQ(closedWith(masked(kLast | kRsv1 | kText, "\xff\xff\xff"), offer), 1007) << "rubbish";
  ended_ = false;
  EXPECT_EQ(closedWith(masked(kLast | kRsv1 | kPing, "x"), offer), 1002) << "a control frame";
  ended_ = false;
  EXPECT_EQ(closedWith(masked(kText, "x") + masked(kLast | kRsv1, "x"), offer), 1002) << "a continuation";
  net::Deflater deflater(net::DeflateTerms{});
  std::string payload;
  for (int i = 0; i < 17; ++i)
    payload += *deflater.deflate(std::string(1 << 20, '\0')) + std::string("\0\0\xff\xff", 4);
  payload.resize(payload.size() - 4);
  ended_ = false;
  EXPECT_EQ(closedWith(masked(kLast | kRsv1 | kBytes, payload), offer), 1009) << "17 MiB in 17 KiB";
  net::Deflater second(net::DeflateTerms{});
  ended_ = false;
  EXPECT_EQ(closedWith(masked(kLast | kRsv1 | kText, *second.deflate(std::string(100, '\xff'))), offer), 1007)
      << "text that is no UTF-8";
}

TEST_F(LaneWebSocketTest, APeerIsHeldBackWhileTheAppDoesNotRead) {
  open();
  app_.reading = false;
  const std::string message = masked(kLast | kBytes, std::string(64 * 1024, 'x'));
  std::size_t sent = 0;
  for (int idle = 0; idle < 50 && sent < (64u << 20);) {
    const std::size_t n = say(std::string_view(message).substr(sent % message.size()));
    sent += n;
    idle = n > 0 ? 0 : idle + 1;
    grid_.io.run_one_for(std::chrono::milliseconds(1));
  }
  EXPECT_LT(sent, 8u << 20) << "sockets' buffers and a bounded rest";
  app_.reading = true;
  const std::size_t whole = (sent + message.size() - 1) / message.size();
  if (sent % message.size() != 0) {
    std::string rest = message.substr(sent % message.size());
    grid_.runUntil(
        [&] {
          rest.erase(0, say(rest));
          listen();
          return rest.empty();
        },
        "the rest is taken");
  }
  for (std::size_t i = 0; i < whole; ++i) ASSERT_EQ(hear().data.size(), 64u * 1024);
}

TEST_F(LaneWebSocketTest, WithoutAVersionOrAKeyThereIsNone) {
  const auto status = [&](const std::string& head) {
    return grid_
        .answerOf(grid_.request("GET / HTTP/1.1\r\nHost: you--chat.localhost\r\nUpgrade: websocket\r\n" + head))
        ->status();
  };
  EXPECT_EQ(status("Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 426);
  EXPECT_EQ(status("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"), 400);
  EXPECT_EQ(status("Sec-WebSocket-Version: 13\r\n"), 400);
}

}  // namespace
}  // namespace gridiron::edge::test
