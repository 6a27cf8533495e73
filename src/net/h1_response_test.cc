#include "net/h1_response.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gridiron::net {
namespace {

using ::testing::HasSubstr;

struct Read {
  int status = 0;
  Headers headers, trailers;
  std::string body, error;
  bool ended = false, keepAlive = false;
  std::string left;
};

// What one response reads as when it comes in pieces of `cut` bytes and the connection is closed behind it (or not).
Read readOf(std::string_view bytes, std::size_t cut, bool closes, std::string_view method = "GET",
            bool upgrade = false) {
  H1ResponseParser parser(1000);
  parser.expect(method, upgrade);
  Read out;
  std::string buffer;
  while (true) {
    buffer += bytes.substr(0, cut);
    bytes.remove_prefix(std::min(cut, bytes.size()));
    for (;;) {
      const auto event = parser.next(buffer, closes && bytes.empty());
      out.body += parser.bodyPiece();
      buffer.erase(0, parser.consumed());
      if (event == H1ResponseParser::Event::head) {
        out.status = parser.head().status;
        out.headers = parser.head().headers;
      }
      if (event == H1ResponseParser::Event::failed) out.error = parser.error();
      out.ended = out.ended || event == H1ResponseParser::Event::end;
      if (event == H1ResponseParser::Event::needMore && parser.consumed() == 0) break;
      if (out.ended || !out.error.empty()) break;
    }
    if (out.ended || !out.error.empty() || bytes.empty()) break;
  }
  out.trailers = parser.trailers();
  out.keepAlive = parser.keepAlive();
  out.left = buffer + std::string(bytes);
  return out;
}

// However it is cut.
Read readAll(std::string_view bytes, bool closes = false, std::string_view method = "GET", bool upgrade = false) {
  const Read whole = readOf(bytes, bytes.size() + 1, closes, method, upgrade);
  for (std::size_t cut = 1; cut < 8; ++cut) {
    const Read pieces = readOf(bytes, cut, closes, method, upgrade);
    EXPECT_EQ(pieces.status, whole.status) << cut;
    EXPECT_EQ(pieces.body, whole.body) << cut;
    EXPECT_EQ(pieces.ended, whole.ended) << cut;
    EXPECT_EQ(pieces.error, whole.error) << cut;
    EXPECT_EQ(pieces.left, whole.left) << cut;
  }
  return whole;
}

TEST(H1Response, ABodyIsAsLongAsItsHeadSays) {
  const Read read = readAll("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b \r\n\r\nhelloHTTP/1.1");
  EXPECT_EQ(read.status, 200);
  EXPECT_EQ(read.body, "hello");
  EXPECT_TRUE(read.ended && read.keepAlive);
  EXPECT_EQ(*read.headers.find("x-a"), "b");
  EXPECT_EQ(read.left, "HTTP/1.1");
  EXPECT_EQ(readAll("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", true).error, "its body ends too early");
  EXPECT_FALSE(readAll("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").ended);
}

TEST(H1Response, ChunksAndTrailers) {
  const Read read = readAll(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 6\r\nTE: "
      "x\r\n\r\n");
  EXPECT_EQ(read.body, "hello!");
  EXPECT_TRUE(read.ended && read.keepAlive);
  EXPECT_EQ(*read.trailers.find("x-sum"), "6");
  EXPECT_FALSE(read.trailers.find("te"));
  EXPECT_THAT(readAll("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n").error,
              HasSubstr("longer"));
  EXPECT_THAT(readAll("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n").error, HasSubstr("hexadecimal"));
}

TEST(H1Response, ABodyWithoutLengthEndsWithTheConnection) {
  const Read read = readAll("HTTP/1.0 200 OK\nServer: old\n\nuntil the end", true);
  EXPECT_EQ(read.body, "until the end");
  EXPECT_TRUE(read.ended);
  EXPECT_FALSE(read.keepAlive);
  EXPECT_FALSE(readAll("HTTP/1.1 200 OK\r\n\r\nuntil the end").ended);
}

TEST(H1Response, SomeHaveNoBody) {
  EXPECT_TRUE(readAll("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, "HEAD").ended);
  EXPECT_TRUE(readAll("HTTP/1.1 204 No Content\r\n\r\n").ended);
  EXPECT_TRUE(readAll("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").ended);
  EXPECT_TRUE(readAll("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ended);
}

TEST(H1Response, InterimOnesAreLeftOut) {
  const Read read =
      readAll("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 x\r\n\r\n");
  EXPECT_EQ(read.status, 204);
  EXPECT_FALSE(read.headers.find("link"));
  std::string many;
  for (int i = 0; i < 20; ++i) many += "HTTP/1.1 100 Continue\r\n\r\n";
  EXPECT_THAT(readAll(many).error, HasSubstr("interim"));
  EXPECT_THAT(readAll("HTTP/1.1 101 Switching Protocols\r\n\r\n").error, HasSubstr("not asked for"));
  const Read upgraded = readAll("HTTP/1.1 101 Switching Protocols\r\n\r\nraw\n\n", true, "GET", true);
  EXPECT_EQ(upgraded.body, "raw\n\n");
}

TEST(H1Response, KeepAliveIsAsItSays) {
  EXPECT_FALSE(readAll("HTTP/1.1 204 x\r\nConnection: close\r\n\r\n").keepAlive);
  EXPECT_FALSE(readAll("HTTP/1.0 204 x\r\n\r\n").keepAlive);
  EXPECT_TRUE(readAll("HTTP/1.0 200 x\r\nConnection: x, Keep-Alive\r\nContent-Length: 0\r\n\r\n").keepAlive);
}

TEST(H1Response, WhatCanBeReadTwoWaysIsRefused) {
  const auto error = [](const std::string& fields) {
    return readAll("HTTP/1.1 200 OK\r\n" + fields + "\r\n\r\n").error;
  };
  EXPECT_THAT(error("Content-Length: 5\r\nTransfer-Encoding: chunked"), HasSubstr("contradict"));
  EXPECT_THAT(error("Content-Length: 5\r\nContent-Length: 6"), HasSubstr("two lengths"));
  EXPECT_THAT(error("Content-Length: +5"), HasSubstr("not a number"));
  EXPECT_THAT(error("Content-Length: 5, 5"), HasSubstr("not a number"));
  EXPECT_THAT(error("Content-Length: -1"), HasSubstr("not a number"));
  EXPECT_THAT(error("Transfer-Encoding: gzip, chunked"), HasSubstr("another than chunked"));
  EXPECT_THAT(error("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), HasSubstr("another than chunked"));
  EXPECT_THAT(error("A: b\r\n folded"), HasSubstr("name: value"));
  EXPECT_THAT(error("A : b"), HasSubstr("name: value"));
  EXPECT_THAT(error(std::string("A: b\0c", 6)), HasSubstr("control character"));
  EXPECT_THAT(error("A: b\rc"), HasSubstr("control character"));
  EXPECT_EQ(error("Content-Length: 0\r\nContent-Length: 0"), "");
}

TEST(H1Response, WhatIsNoResponseIsRefusedAtOnce) {
  EXPECT_THAT(readAll("SSH-2.0-OpenSSH_9\r\n").error, HasSubstr("HTTP/"));
  EXPECT_THAT(readAll("HTTP/2 200\r\n\r\n").error, HasSubstr("status"));
  EXPECT_THAT(readAll("HTTP/1.1 20 OK\r\n\r\n").error, HasSubstr("status"));
  EXPECT_THAT(readAll("HTTP/1.1 2000\r\n\r\n").error, HasSubstr("status"));
  EXPECT_THAT(readAll("HTTP/1.1 099 x\r\n\r\n").error, HasSubstr("status"));
  EXPECT_THAT(readAll("HTTP/1.1 200 OK\r\nA: b", true).error, HasSubstr("ends too early"));
  EXPECT_THAT(readAll("HTTP/1.1 200 OK\r\nA: " + std::string(2000, 'x')).error, HasSubstr("larger than 1000"));
  EXPECT_EQ(readAll("HTTP/1.1 200\r\n\r\n", true).status, 200) << "without a phrase";
}

}  // namespace
}  // namespace gridiron::net
