#include "sandbox/sandbox.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <cstring>

#include "sandbox/cgroup.h"
#include "sandbox/criu.h"
#include "sandbox/fake.h"
#include "sandbox/filter.h"
#include "sandbox/netlink.h"
#include "sandbox/network.h"
#include "sandbox/plan.h"

namespace gridiron::sandbox {
namespace {

Spec named(const std::string& name) {
  Spec spec;
  spec.name = name;
  spec.argv = {"true"};
  return spec;
}

std::string readAll(Fd fd) {
  std::string out;
  char buffer[256];
  for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;) out.append(buffer, static_cast<std::size_t>(n));
  return out;
}

bool ended(const Sandbox& box) {
  pollfd wait{box.exitFd(), POLLIN, 0};
  return ::poll(&wait, 1, 0) == 1;
}

TEST(CgroupLayout, AHybridHostLimitsByV1) {
  const auto layout = CgroupLayout::parse(
      "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
      "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
      "hugetlb\n");
  EXPECT_EQ(layout.kind, HostFacts::Cgroups::hybrid);
  EXPECT_EQ(layout.unified, "/sys/fs/cgroup/unified");
  EXPECT_EQ(layout.mountOf("cpu"), "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(layout.mountOf("memory"), "/sys/fs/cgroup/memory");
}

TEST(CgroupLayout, V2IsUsedWhenItHasTheMemoryController) {
  const auto layout =
      CgroupLayout::parse("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", "cpuset cpu io memory pids\n");
  EXPECT_EQ(layout.kind, HostFacts::Cgroups::v2);
  EXPECT_TRUE(layout.controllers.empty());
}

TEST(CgroupLayout, WithoutMounts) { EXPECT_EQ(CgroupLayout::parse("", "").kind, HostFacts::Cgroups::none); }

TEST(Subnet, IsSplitInHalves) {
  const auto subnet = Subnet::parse("10.213.7.9/16");
  ASSERT_TRUE(subnet.ok());
  EXPECT_EQ(addressText(subnet->base), "10.213.0.0");
  EXPECT_EQ(addressText(subnet->gateway()), "10.213.0.1");
  EXPECT_EQ(addressText(subnet->upperHalf()), "10.213.128.0");
  EXPECT_EQ(addressText(subnet->last()), "10.213.255.254");
}

TEST(Subnet, NonsenseIsRefused) {
  for (const char* text : {"", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0/16", "10.0.0.0/16x", "fd00::/16"}) {
    EXPECT_FALSE(Subnet::parse(text).ok()) << text;
  }
}

TEST(NetworkNames, FitTheKernel) {
  const auto names = NetworkNames::of("my-grid: 7");
  EXPECT_EQ(names.table, "gridiron_my_grid__7");
  EXPECT_EQ(names.linkPrefix.size(), 7U);
  EXPECT_NE(names.linkPrefix, NetworkNames::of("other").linkPrefix);
}

TEST(NetlinkMessage, NestsKnowTheirLength) {
  NetlinkMessage message(16, 0);
  message.begin(18).putU8(1, 7).putString(2, "abc").end();
  const std::vector<char>& bytes = message.finish();
  EXPECT_EQ(bytes.size(), 16U + 4 + 8 + 8);
  std::uint32_t whole = 0;
  std::uint16_t nest = 0;
  std::memcpy(&whole, bytes.data(), sizeof whole);
  std::memcpy(&nest, bytes.data() + 16, sizeof nest);
  EXPECT_EQ(whole, bytes.size());
  EXPECT_EQ(nest, 20U);
}

TEST(Texts, HostsNamesTheGridOnlyWhenItIsReachable) {
  EXPECT_NE(hostsText("box", "10.0.0.2", "10.0.0.1").find("10.0.0.2 box\n10.0.0.1 grid.internal\n"), std::string::npos);
  EXPECT_EQ(hostsText("box", "", "").find("grid.internal"), std::string::npos);
}

TEST(Texts, AResolverOnTheHostsLoopbackIsReplaced) {
  EXPECT_EQ(resolverText("nameserver 127.0.0.53\n", "nameserver 9.9.9.9\n"), "nameserver 9.9.9.9\n");
  EXPECT_EQ(resolverText("nameserver 10.0.0.9\n", "nameserver 9.9.9.9\n"), "nameserver 10.0.0.9\n");
  EXPECT_EQ(resolverText("nameserver 127.0.0.1\n", ""), "nameserver 127.0.0.1\n");
}

TEST(MountPoints, ComeParentsFirstAndOnce) {
  const auto points =
      MountPoints::of({{0, "/a/b/c", true}, {0, "/a/b/file", false}, {0, "/a", true}, {0, "/dev/x", false}});
  EXPECT_EQ(points.directories, (std::vector<std::string>{"/proc", "/sys", "/dev", "/etc", "/a", "/a/b", "/a/b/c"}));
  EXPECT_EQ(points.files, (std::vector<std::string>{"/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/a/b/file"}));
}

TEST(Filter, IsMadeAndFits) {
  const auto filter = makeFilter();
  ASSERT_TRUE(filter.ok()) << filter.error().message;
  EXPECT_GT(filter->size(), 50U);
  EXPECT_LT(filter->size(), 4096U);
}

TEST(FakeSandboxes, AScriptedContainerSaysItsLinesAndEnds) {
  FakeSandboxes all;
  all.script("a", {{"one", "two"}, {"oops"}, false, {3, 0, false}});
  auto box = std::move(*all.start(named("a"), nullptr));
  EXPECT_TRUE(ended(*box));
  EXPECT_EQ(readAll(box->takeStdout()), "one\ntwo\n");
  EXPECT_EQ(readAll(box->takeStderr()), "oops\n");
  EXPECT_EQ(box->wait().code, 3);
  EXPECT_TRUE(ended(*box)) << "waiting does not use the end up";
}

TEST(FakeSandboxes, ARunningOneEndsBySignal) {
  FakeSandboxes all;
  all.otherwise({{}, {}, true, {}});
  auto box = std::move(*all.start(named("a"), nullptr));
  EXPECT_FALSE(ended(*box));
  ASSERT_TRUE(box->signal(SIGTERM).ok());
  EXPECT_EQ(box->wait().signal, SIGTERM);
  EXPECT_FALSE(box->signal(SIGTERM).ok());
  EXPECT_EQ(all.signalsTo("a"), std::vector<int>{SIGTERM});
}

TEST(FakeSandboxes, AFailureNamesItsStepAndLeavesTheNameFree) {
  FakeSandboxes all;
  all.failNext("rootfs", ENOSPC);
  const auto failed = all.start(named("a"), nullptr);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().message.substr(0, 23), "start a: rootfs: ENOSPC");
  EXPECT_TRUE(all.present().empty());
  EXPECT_TRUE(all.start(named("a"), nullptr).ok());
}

TEST(FakeSandboxes, ANameIsTakenUntilRemoved) {
  FakeSandboxes all;
  auto box = std::move(*all.start(named("a"), nullptr));
  EXPECT_FALSE(all.start(named("a"), nullptr).ok());
  ASSERT_TRUE(box->remove().ok());
  EXPECT_TRUE(all.start(named("a"), nullptr).ok());
}

TEST(FakeSandboxes, AListenerInsideCanBeFound) {
  FakeSandboxes all;
  all.otherwise({{}, {}, true, {}});
  Fd listener;
  auto box = std::move(*all.start(named("a"), [&](Sandbox& sandbox) -> Result<void> {
    ASSIGN_OR_RETURN(listener, sandbox.listenInside(700));
    return {};
  }));
  EXPECT_GT(all.reachedPort("a", 700), 0);
  EXPECT_EQ(all.reachedPort("a", 701), 0);
}

}  // namespace
std::string image(std::size_t magics, const std::string& entry) {
  std::string out(4 * magics, 'm');
  const auto size = static_cast<std::uint32_t>(entry.size());
  out.append(reinterpret_cast<const char*>(&size), sizeof size);
  return out + entry;
}

TEST(Criu, ImagesSayThatTheirUserNamespaceIsCriusOwn) {
  const std::string rootIds("\x08\x01\x50\xac\x02", 5);  // 1: 1, 10: 300
  const std::string inventory = image(1, std::string("\x08\x02\x1a\x05", 4) + rootIds);
  const std::string ids = image(2, std::string("\x08\x07\x48\x03\x50\x09\x5a\x01x", 9));
  const auto changed = withRootsUserNamespace(ids, inventory);
  ASSERT_TRUE(changed.ok()) << changed.error().message;
  EXPECT_EQ(*changed, image(2, std::string("\x08\x07\x48\x03\x50\xac\x02\x5a\x01x", 10)));
}

TEST(Criu, ImagesThatAreNoneAreRefused) {
  const std::string inventory = image(1, std::string("\x1a\x03\x50\xac\x02", 5));
  const std::string ids = image(2, std::string("\x50\x09", 2));
  ASSERT_TRUE(withRootsUserNamespace(ids, inventory).ok());
  for (std::size_t cut = 0; cut < inventory.size(); ++cut)
    EXPECT_FALSE(withRootsUserNamespace(ids, inventory.substr(0, cut)).ok()) << cut;
  for (std::size_t cut = 0; cut < ids.size(); ++cut)
    EXPECT_FALSE(withRootsUserNamespace(ids.substr(0, cut), inventory).ok()) << cut;
  EXPECT_FALSE(withRootsUserNamespace(ids, image(1, std::string("\x08\x02", 2))).ok());
}

}  // namespace gridiron::sandbox
