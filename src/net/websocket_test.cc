#include "net/websocket.h"

#include <gtest/gtest.h>

#include <vector>

namespace gridiron::net {
namespace {

// A client's frame: masked.
std::string sent(int first, std::string data, int lengthBytes = 0) {
  std::string out(1, static_cast<char>(first));
  const std::size_t size = data.size();
  if (lengthBytes == 0) lengthBytes = size < 126 ? 1 : size <= 0xffff ? 2 : 8;
  out.push_back(static_cast<char>(0x80 | (lengthBytes == 1 ? size : lengthBytes == 2 ? 126 : 127)));
  for (int i = lengthBytes > 1 ? lengthBytes : 0; i > 0; --i)
    out.push_back(static_cast<char>(i > 4 ? 0 : size >> (8 * (i - 1)) & 0xff));
  const std::string key = "\x12\x34\x56\x78";
  out += key;
  for (std::size_t i = 0; i < size; ++i) out.push_back(static_cast<char>(data[i] ^ key[i % 4]));
  return out;
}
constexpr int kLast = 0x80;

struct Read {
  std::vector<WebSocketMessage> messages;
  int violation = 0;
};

Read readAll(const std::string& bytes, std::size_t step = 1'000'000, std::size_t most = 1 << 20) {
  WebSocketReader reader(most);
  Read read;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    reader.feed(std::string_view(bytes).substr(at, step));
    while (auto message = reader.next()) read.messages.push_back(std::move(*message));
  }
  read.violation = reader.violation();
  return read;
}

TEST(WebSocket, TheHandshakeOfTheStandard) {
  EXPECT_EQ(webSocketAccept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_TRUE(isWebSocketKey("dGhlIHNhbXBsZSBub25jZQ=="));
  EXPECT_FALSE(isWebSocketKey("c2hvcnQ="));
}

TEST(WebSocket, MessagesOfEverySizeHoweverTheyAreCut) {
  for (std::size_t size : {0u, 1u, 125u, 126u, 65535u, 65536u, 300000u}) {
    const std::string text(size, 'a');
    for (std::size_t step : {997u, 1'000'000u}) {
      const Read read = readAll(sent(kLast | 1, text) + sent(kLast | 2, "b"), step);
      ASSERT_EQ(read.messages.size(), 2u);
      EXPECT_EQ(read.messages[0].data, text);
      EXPECT_EQ(read.messages[1].kind, WebSocketKind::bytes);
    }
  }
  EXPECT_EQ(readAll(sent(kLast | 1, "byte by byte"), 1).messages.at(0).data, "byte by byte");
}

TEST(WebSocket, FragmentsAreOneMessageAndControlFramesMayComeBetween) {
  const Read read = readAll(sent(1, "Hel") + sent(kLast | 9, "ping") + sent(0, "l") + sent(kLast | 0, "o"));
  ASSERT_EQ(read.messages.size(), 2u);
  EXPECT_EQ(read.messages[0].kind, WebSocketKind::ping);
  EXPECT_EQ(read.messages[0].data, "ping");
  EXPECT_EQ(read.messages[1].data, "Hello");
  EXPECT_EQ(read.messages[1].kind, WebSocketKind::text);
  EXPECT_EQ(readAll(sent(1, "\xc3") + sent(kLast | 0, "\xa9")).messages.at(0).data, "\xc3\xa9");
}

TEST(WebSocket, WhatTheProtocolForbidsEndsIt) {
  EXPECT_EQ(readAll(std::string("\x81\x01x", 3)).violation, 1002) << "not masked";
  EXPECT_EQ(readAll(sent(kLast | 0x40 | 1, "x")).violation, 1002) << "a reserved bit";
  for (int opcode : {3, 7, 11, 15}) EXPECT_EQ(readAll(sent(kLast | opcode, "x")).violation, 1002);
  EXPECT_EQ(readAll(sent(9, "x")).violation, 1002) << "a ping in fragments";
  EXPECT_EQ(readAll(sent(kLast | 9, std::string(126, 'x'))).violation, 1002) << "a ping that is too long";
  EXPECT_EQ(readAll(sent(kLast | 0, "x")).violation, 1002) << "goes on with nothing";
  EXPECT_EQ(readAll(sent(1, "x") + sent(kLast | 1, "y")).violation, 1002) << "begins within another";
  EXPECT_EQ(readAll(sent(kLast | 2, std::string(11, 'x')), 100, 10).violation, 1009);
  EXPECT_EQ(readAll(sent(2, "123456") + sent(kLast | 0, "78901"), 100, 10).violation, 1009);
}

TEST(WebSocket, TextMustBeUtf8) {
  for (const char* bad :
       {"\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xe2\x82", "\x80", "\xf8\x88\x80\x80\x80"})
    EXPECT_EQ(readAll(sent(kLast | 1, bad)).violation, 1007) << bad;
  for (const char* good :
       {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf", "\xee\x80\x80"})
    EXPECT_EQ(readAll(sent(kLast | 1, good)).messages.size(), 1u) << good;
  EXPECT_EQ(readAll(sent(kLast | 2, "\xff")).messages.size(), 1u) << "bytes may be anything";
}

TEST(WebSocket, ACloseHasACodeAndAReason) {
  const Read closed = readAll(sent(kLast | 8,
                                   "\x0f\xa1"
                                   "bye") +
                              sent(kLast | 1, "late"));
  ASSERT_EQ(closed.messages.size(), 1u) << "nothing follows it";
  EXPECT_EQ(closed.messages[0].code, 4001);
  EXPECT_EQ(closed.messages[0].data, "bye");
  EXPECT_EQ(readAll(sent(kLast | 8, "")).messages.at(0).code, 1005);
  EXPECT_EQ(readAll(sent(kLast | 8, "x")).violation, 1002);
  for (int code : {0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535}) {
    const std::string data{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
    EXPECT_EQ(readAll(sent(kLast | 8, data)).violation, 1002) << code;
  }
  EXPECT_EQ(readAll(sent(kLast | 8, "\x03\xe8\xff")).violation, 1007);
  EXPECT_EQ(webSocketClose(4001, "bye"), std::string("\x88\x05\x0f\xa1"
                                                     "bye"));
  EXPECT_EQ(webSocketClose(1005), std::string("\x88\0", 2));
  EXPECT_EQ(webSocketClose(1000, std::string(200, 'x')).size(), 127u);
}

TEST(WebSocket, FramesOfOursHaveTheShortestLength) {
  EXPECT_EQ(webSocketFrame(WebSocketKind::text, "hi"), "\x81\x02hi");
  EXPECT_EQ(webSocketFrame(WebSocketKind::bytes, std::string(126, 'x')).substr(0, 4), std::string("\x82\x7e\0\x7e", 4));
  EXPECT_EQ(webSocketFrame(WebSocketKind::bytes, std::string(65536, 'x')).substr(0, 10),
            std::string("\x82\x7f\0\0\0\0\0\x01\0\0", 10));
}

}  // namespace
}  // namespace gridiron::net
