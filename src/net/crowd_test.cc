#include "net/crowd.h"

#include <gtest/gtest.h>

namespace gridiron::net {
namespace {

using Verdict = Crowd::Verdict;

TrustedPeers trusting(const std::string& network) { return *TrustedPeers::parse({network}); }

TEST(Crowd, AnAddressHasItsNumberAndGetsItBackAsItsConnectionsEnd) {
  Crowd crowd(100, 2, {});
  EXPECT_EQ(crowd.enter("192.0.2.1"), Verdict::welcome);
  EXPECT_EQ(crowd.enter("192.0.2.1"), Verdict::welcome);
  EXPECT_EQ(crowd.enter("192.0.2.1"), Verdict::tooManyOfAddress);
  EXPECT_EQ(crowd.enter("192.0.2.2"), Verdict::welcome);
  crowd.leave("192.0.2.1");
  EXPECT_EQ(crowd.enter("192.0.2.1"), Verdict::welcome);
  EXPECT_EQ(crowd.size(), 3u);
}

TEST(Crowd, AnIpv6NetworkOf64BitsIsOneAddress) {
  EXPECT_EQ(networkOf("192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(networkOf("unix"), "unix");
  Crowd crowd(100, 1, {});
  EXPECT_EQ(crowd.enter("2001:db8:1:2::1"), Verdict::welcome);
  EXPECT_EQ(crowd.enter("2001:db8:1:2:ffff::9"), Verdict::tooManyOfAddress);
  EXPECT_EQ(crowd.enter("2001:db8:1:3::1"), Verdict::welcome);
}

TEST(Crowd, TrustedPeersAndUnixSocketsAreNotCountedByAddress) {
  Crowd crowd(100, 1, trusting("10.0.0.0/8"));
  for (const char* host : {"10.0.0.1", "10.0.0.1", "unix", "unix"}) EXPECT_EQ(crowd.enter(host), Verdict::welcome);
  for (const char* host : {"10.0.0.1", "10.0.0.1", "unix", "unix"}) crowd.leave(host);
  EXPECT_EQ(crowd.size(), 0u);
}

TEST(Crowd, WhenItIsFullThereIsATenthMoreForTrustedPeersAndNotForOthers) {
  Crowd crowd(20, 0, trusting("127.0.0.0/8"));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(crowd.enter("192.0.2.1"), Verdict::welcome);
  EXPECT_EQ(crowd.enter("192.0.2.2"), Verdict::full);
  EXPECT_EQ(crowd.enter("127.0.0.1"), Verdict::welcome);
  EXPECT_EQ(crowd.enter("unix"), Verdict::welcome);
  EXPECT_EQ(crowd.enter("127.0.0.1"), Verdict::full);
  crowd.leave("192.0.2.1");
  EXPECT_EQ(crowd.enter("192.0.2.2"), Verdict::full) << "22 of 20 were there";
  crowd.leave("unix");
  crowd.leave("127.0.0.1");
  EXPECT_EQ(crowd.enter("192.0.2.2"), Verdict::welcome);
}

}  // namespace
}  // namespace gridiron::net
