#include "net/h1_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "net/h1_differential.h"

namespace gridiron::net {
namespace {

using ::testing::HasSubstr;

int refusal(std::string_view bytes) { return readOurs(bytes, bytes.size()).refused; }

TEST(H1Parser, ReadsARequest) {
  const ReadRequest read =
      readOurs("POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nX-Thing: \t v w \r\nContent-Length: 4\r\n\r\nbodyREST", 3);
  EXPECT_TRUE(read.whole);
  EXPECT_EQ(read.method, "POST");
  EXPECT_EQ(read.target, "/a%20b?x=1");
  EXPECT_EQ(read.body, "body");
  EXPECT_EQ(read.fields[1], (std::pair<std::string, std::string>("x-thing", "v w")));
}

TEST(H1Parser, TakesApartATargetWithAHost) {
  H1Parser parser(1000);
  const std::string bytes = "GET http://inner:80?q HTTP/1.1\r\nHost: outer\r\n\r\n";
  ASSERT_EQ(parser.next(bytes), H1Parser::Event::head);
  EXPECT_EQ(parser.head().target, "/?q");
  EXPECT_EQ(parser.head().authority, "inner:80");
}

TEST(H1Parser, KeepsOrClosesTheConnection) {
  const auto keeps = [](std::string_view head) { return readOurs(head, head.size()).keepAlive; };
  EXPECT_TRUE(keeps("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"));
}

struct Refused {
  const char* bytes;
  int status;
};

TEST(H1Parser, RefusesWhatCanBeReadInTwoWays) {
  const Refused cases[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nx", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx", 413},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 501},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
      {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\nHost: a\n\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /\tx HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
      {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {"GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417},
      {"\x01GET / HTTP/1.1\r\n", 400},
  };
  for (const Refused& one : cases) EXPECT_EQ(refusal(one.bytes), one.status) << one.bytes;
  EXPECT_EQ(refusal(std::string("GET / HTTP/1.1\r\nHost: a\r\nX: ") + "\x01" + "\r\n\r\n"), 400);
  EXPECT_EQ(refusal(std::string("GET / HTTP/1.1\r\nHost: a\r\nX: ") + std::string(1, 0) + "\r\n\r\n"), 400);
}

TEST(H1Parser, RefusesMalformedChunks) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char* body : {"\r\n", "g\r\n", "-1\r\n", "+1\r\n", " 1\r\n", "1 \r\nx\r\n", "1\nx\r\n", "1\r\nxy\r\n",
                           "1\r\nx\n", "0x1\r\nx\r\n", "1;\r\nx\r\n", "1;a=\"b\"\r\nx\r\n", "fffffffffffffffff\r\n",
                           "0\r\nno colon\r\n\r\n", "0\r\n a: b\r\n\r\n", "0\r\na: b\nc: d\r\n\r\n"}) {
    EXPECT_EQ(refusal(head + body), 400) << body;
  }
  EXPECT_TRUE(readOurs(head + "00A\r\n0123456789\r\n0\r\n\r\n", 1).whole);
}

TEST(H1Parser, HasLimits) {
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 300; ++i) many += "a: b\r\n";
  EXPECT_EQ(refusal(many + "\r\n"), 431);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nX: " + std::string(70'000, 'x') + "\r\n\r\n"), 431);
  EXPECT_EQ(refusal("GET /" + std::string(70'000, 'x') + " HTTP/1.1\r\n\r\n"), 414);
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(2000, 'x')),
            400);
  EXPECT_EQ(refusal("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + std::string(70'000, 'x')),
            431);
}

// Requests and near-requests, mutated the way attacks and accidents do it.
class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::string next() {
    std::string bytes = kSeeds[pick(std::size(kSeeds))];
    for (std::size_t n = pick(5); n > 0; --n) mutate(bytes);
    return bytes;
  }
  std::size_t pick(std::size_t below) { return std::uniform_int_distribution<std::size_t>(0, below - 1)(random_); }

 private:
  void mutate(std::string& bytes) {
    const std::size_t at = bytes.empty() ? 0 : pick(bytes.size());
    switch (pick(6)) {
      case 0:
        bytes.insert(at, kPieces[pick(std::size(kPieces))]);
        break;
      case 1:
        bytes.erase(at, 1 + pick(3));
        break;
      case 2:
        if (!bytes.empty()) bytes[at] = static_cast<char>(pick(256));
        break;
      case 3:
        bytes.insert(at, bytes.substr(pick(bytes.size() + 1), pick(30)));
        break;
      case 4:
        afterALine(bytes, kLines[pick(std::size(kLines))]);
        break;
      default:
        bytes.resize(at);
        break;
    }
  }
  void afterALine(std::string& bytes, const char* line) {
    const auto end = bytes.find("\r\n", bytes.empty() ? 0 : pick(bytes.size()));
    if (end != std::string::npos) bytes.insert(end + 2, line);
  }

  static constexpr const char* kSeeds[] = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST /p?q=1 HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nt: 1\r\n\r\n",
      "PUT http://a/b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n",
      "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
  };
  static constexpr const char* kPieces[] = {"\r", "\n",  "\r\n", " ",        "\t",      ":",        ",",
                                            ";",  "0",   "\x7f", "\xc3\xa4", "chunked", "HTTP/1.1", "\r\n\r\n",
                                            "#",  "%00", "\"",   "\\",       "//",      "@"};
  static constexpr const char* kLines[] = {"Content-Length: 3\r\n",
                                           "Transfer-Encoding: chunked\r\n",
                                           "Host: b\r\n",
                                           " folded\r\n",
                                           "Connection: keep-alive\r\n",
                                           "Connection: close\r\n",
                                           "Expect: 100-continue\r\n",
                                           "Content-Length : 1\r\n",
                                           "Upgrade: h2c\r\n",
                                           "Connection: Upgrade\r\n",
                                           "Transfer-Encoding: identity\r\n"};
  std::mt19937 random_;
};

TEST(H1Parser, AgreesWithBeastOnThousandsOfMutatedRequests) {
  Mutator mutator(20'251'124);
  int taken = 0;
  for (int i = 0; i < 40'000; ++i) {
    const std::string bytes = mutator.next();
    const std::string difference = compareReadings(bytes, 1 + mutator.pick(20));
    ASSERT_EQ(difference, "") << "case " << i << ": " << ::testing::PrintToString(bytes);
    taken += readOurs(bytes, 1000).whole ? 1 : 0;
  }
  EXPECT_GT(taken, 2'000) << "too few of the inputs are requests to say anything";
}

}  // namespace
}  // namespace gridiron::net
