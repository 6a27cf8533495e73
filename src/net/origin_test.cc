#include "net/origin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gridiron::net {
namespace {

using ::testing::HasSubstr;

TrustedPeers trusting(std::vector<std::string> networks) {
  auto out = TrustedPeers::parse(networks);
  EXPECT_TRUE(out.ok()) << out.error().message;
  return out.ok() ? *out : TrustedPeers();
}

TEST(TrustedPeersTest, KnowsAddressesNetworksAndUnixSockets) {
  const TrustedPeers peers = trusting({"10.1.0.0/17", "192.0.2.7", "fd00::/8", "::1", "unix"});
  for (const char* yes : {"10.1.0.1", "10.1.127.255", "192.0.2.7", "fd12::9", "::1", "unix"})
    EXPECT_TRUE(peers.has(yes)) << yes;
  for (const char* no : {"10.1.128.0", "10.2.0.1", "192.0.2.8", "fe00::1", "::2", "", "nobody"})
    EXPECT_FALSE(peers.has(no)) << no;
  EXPECT_FALSE(TrustedPeers().has("127.0.0.1"));
  EXPECT_TRUE(trusting({"0.0.0.0/0"}).has("203.0.113.9"));
  EXPECT_FALSE(trusting({"0.0.0.0/0"}).has("2001:db8::1"));
}

TEST(TrustedPeersTest, WhatIsNoNetworkIsNamed) {
  for (const char* text : {"10.0.0.0/33", "10.0.0/8", "::1/129", "proxy.example", "10.0.0.0/", "10.0.0.0/-1", ""}) {
    const auto out = TrustedPeers::parse({"::1", text});
    ASSERT_FALSE(out.ok()) << text;
    EXPECT_THAT(out.error().message, HasSubstr('"' + std::string(text) + '"'));
  }
}

struct Sent {
  std::vector<std::pair<std::string, std::string>> headers;
  std::string host, scheme;
};

std::ostream& operator<<(std::ostream& out, const Sent& sent) { return out << sent.headers.front().second; }

class Origin : public ::testing::TestWithParam<Sent> {};

TEST_P(Origin, OfARequestThatAProxyPassesOn) {
  RequestHead head;
  head.peerHost = "10.0.0.2";
  head.peerPort = 4711;
  head.scheme = "http";
  for (const auto& [name, value] : GetParam().headers) head.headers.add(name, value);
  resolveOrigin(head, trusting({"10.0.0.0/8"}));
  EXPECT_EQ(head.peerHost, GetParam().host);
  EXPECT_EQ(head.scheme, GetParam().scheme);
  EXPECT_EQ(head.peerPort, head.peerHost == "10.0.0.2" ? 4711 : 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, Origin,
    ::testing::Values(Sent{{{"accept", "*/*"}}, "10.0.0.2", "http"},
                      Sent{{{"x-forwarded-for", "203.0.113.9"}}, "203.0.113.9", "http"},
                      // Who stands left of the first stranger is his own claim.
                      Sent{{{"x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.0.0.3"}}, "203.0.113.9", "http"},
                      Sent{
                          {{"x-forwarded-for", "203.0.113.9"}, {"x-forwarded-for", "10.0.0.3"}}, "203.0.113.9", "http"},
                      Sent{{{"x-forwarded-for", "10.0.0.4, 10.0.0.3"}}, "10.0.0.4", "http"},
                      Sent{{{"x-forwarded-for", "203.0.113.9:5000"}}, "203.0.113.9", "http"},
                      Sent{{{"x-forwarded-for", "[2001:db8::1]:5000"}}, "2001:db8::1", "http"},
                      Sent{{{"x-forwarded-for", "unknown"}}, "10.0.0.2", "http"},
                      Sent{{{"x-forwarded-for", "<script>, 10.0.0.3"}}, "10.0.0.3", "http"},
                      Sent{{{"x-forwarded-proto", "https"}}, "10.0.0.2", "https"},
                      Sent{{{"x-forwarded-proto", "http, https"}}, "10.0.0.2", "https"},
                      Sent{{{"x-forwarded-proto", "gopher"}}, "10.0.0.2", "http"},
                      Sent{{{"forwarded", "for=203.0.113.9;proto=https"}}, "203.0.113.9", "https"},
                      Sent{{{"forwarded", "For=\"[2001:db8::1]:80\"; Proto=HTTPS"}}, "2001:db8::1", "https"},
                      Sent{{{"forwarded", "for=1.1.1.1;proto=http, for=203.0.113.9;proto=https, for=10.0.0.3"}},
                           "203.0.113.9",
                           "https"},
                      Sent{{{"forwarded", "for=_hidden;by=10.0.0.2"}}, "10.0.0.2", "http"},
                      Sent{{{"forwarded", "for=8.8.8.8"}, {"x-forwarded-for", "203.0.113.9"}}, "203.0.113.9", "http"}));

TEST(OriginTest, AStrangerIsNotBelieved) {
  RequestHead head;
  head.peerHost = "203.0.113.9";
  head.peerPort = 4711;
  head.scheme = "http";
  head.headers.add("x-forwarded-for", "127.0.0.1");
  head.headers.add("x-forwarded-proto", "https");
  resolveOrigin(head, trusting({"127.0.0.0/8"}));
  EXPECT_EQ(head.peerHost, "203.0.113.9");
  EXPECT_EQ(head.peerPort, 4711);
  EXPECT_EQ(head.scheme, "http");
}

std::string proxyHeader(char command, char family, const std::string& payload) {
  std::string out("\r\n\r\n\0\r\nQUIT\n", 12);
  out += {command, family, static_cast<char>(payload.size() >> 8), static_cast<char>(payload.size() & 0xff)};
  return out + payload;
}

TEST(ProxyHeaderTest, GivesTheAddressOfWhomItSpeaksFor) {
  const std::string four = proxyHeader('\x21', '\x11', std::string("\xcb\0\x71\x09\x0a\0\0\x02\x13\x88\x01\xbb", 12));
  auto read = readProxyHeader(four + "GET /");
  ASSERT_TRUE(read.ok() && *read);
  EXPECT_EQ((*read)->length, four.size());
  EXPECT_EQ((*read)->host, "203.0.113.9");
  EXPECT_EQ((*read)->port, 5000);

  std::string addresses(32, '\0');
  addresses[0] = '\x20', addresses[1] = '\x01', addresses[15] = '\x07';
  read = readProxyHeader(proxyHeader('\x21', '\x21', addresses + std::string("\x13\x88\x01\xbb", 4) + "more of it"));
  ASSERT_TRUE(read.ok() && *read);
  EXPECT_EQ((*read)->host, "2001::7");
  EXPECT_EQ((*read)->port, 5000);
}

TEST(ProxyHeaderTest, AProxyMaySpeakForItself) {
  for (const auto& text :
       {proxyHeader('\x20', '\0', ""), proxyHeader('\x20', '\x11', std::string(12, '\1')),
        proxyHeader('\x21', '\0', "whatever"), proxyHeader('\x21', '\x31', std::string(216, '\0'))}) {
    const auto read = readProxyHeader(text);
    ASSERT_TRUE(read.ok() && *read);
    EXPECT_EQ((*read)->length, text.size());
    EXPECT_EQ((*read)->host, "");
  }
}

TEST(ResolveOriginTest, AnAddressWithBytesBehindItIsNone) {
  RequestHead head;
  head.peerHost = "127.0.0.1";
  head.headers.add("x-forwarded-for", std::string("1.2.3.4\0.evil", 13));
  resolveOrigin(head, *TrustedPeers::parse({"127.0.0.1"}));
  EXPECT_EQ(head.peerHost, "127.0.0.1");
}

TEST(ProxyHeaderTest, MayComeByteByByte) {
  const std::string whole = proxyHeader('\x21', '\x11', std::string(12, '\1'));
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_TRUE(beginsProxyHeader(std::string_view(whole).substr(0, n)));
    const auto read = readProxyHeader(std::string_view(whole).substr(0, n));
    ASSERT_TRUE(read.ok()) << n;
    EXPECT_FALSE(*read) << n;
  }
}

TEST(ProxyHeaderTest, WhatIsMalformedIsRefused) {
  EXPECT_FALSE(beginsProxyHeader("\r\n\r\nGET"));
  for (const auto& text :
       {proxyHeader('\x11', '\x11', std::string(12, '\1')), proxyHeader('\x22', '\x11', std::string(12, '\1')),
        proxyHeader('\x21', '\x11', std::string(11, '\1')), proxyHeader('\x21', '\x21', std::string(35, '\1')),
        proxyHeader('\x21', '\x11', std::string(5000, '\1')), std::string("GET / HTTP/1.1\r\n")}) {
    EXPECT_FALSE(readProxyHeader(text).ok());
  }
}

}  // namespace
}  // namespace gridiron::net
