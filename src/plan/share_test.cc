#include "plan/share.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gridiron::plan {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

const Time kNow{std::chrono::seconds{1'700'000'000}};

// Room for ten containers of `kOne`.
const Resources kOne{100, 100, "", 0};
const std::vector kWorkers{WorkerView{WorkerId{"wk-1"}, 0, 1000, 0, 1000, {}, {}}};

Claim claim(const std::string& workspace, const std::string& function, int count = 1, bool works = true) {
  return {workspace, FunctionId{function}, kOne, count, works, false, kNow};
}

std::vector<Busy> busy(Shares& shares, const std::string& workspace, const std::string& function, int count,
                       Nanos readyFor = 10s) {
  std::vector<Busy> all;
  for (int i = 0; i < count; ++i) {
    shares.add(workspace, FunctionId{function}, kOne);
    all.push_back({InstanceId{function + std::to_string(i)}, workspace, FunctionId{function}, WorkerId{"wk-1"}, kOne,
                   kNow - readyFor + i * 1s});
  }
  return all;
}

// Who gets containers, one after another, while there is room for `room` of them.
std::string granted(Shares shares, std::vector<Claim> claims, int room) {
  std::string order;
  for (int i = 0; i < room; ++i) {
    const auto next = shares.next(claims);
    if (!next) break;
    order += claims[*next].function.value;
    --claims[*next].count;
    shares.add(claims[*next].workspace, claims[*next].function, claims[*next].each);
  }
  return order;
}

std::vector<std::string> ids(const std::vector<Busy>& all) {
  std::vector<std::string> names;
  for (const auto& b : all) names.push_back(b.id.value);
  return names;
}

TEST(Shares, FunctionsOfAWorkspaceAreServedInTurn) {
  EXPECT_EQ(granted(Shares(kWorkers), {claim("w", "m", 1'000'000), claim("w", "f", 2)}, 6), "fmfmmm");
}

TEST(Shares, WhoHasLessIsServedFirst) {
  Shares shares(kWorkers);
  busy(shares, "w", "m", 3);
  EXPECT_EQ(granted(shares, {claim("w", "m", 9), claim("w", "f", 9)}, 5), "ffffm") << "equals by name";
}

TEST(Shares, AWorkspaceGetsNoMoreByHavingManyFunctions) {
  EXPECT_EQ(
      granted(Shares(kWorkers), {claim("w", "a", 9), claim("w", "b", 9), claim("w", "c", 9), claim("v", "z", 9)}, 8),
      "azbzczaz");
}

TEST(Shares, TheDominantResourceCounts) {
  Shares shares(kWorkers);
  shares.add("w", FunctionId{"cpu"}, {300, 10, "", 0});
  shares.add("w", FunctionId{"mem"}, {10, 400, "", 0});
  EXPECT_EQ(granted(shares, {claim("w", "mem"), claim("w", "cpu")}, 1), "cpu");
}

TEST(Shares, MinimumsComeLastAndWebComesFirstAmongEquals) {
  auto web = claim("w", "web");
  web.web = true;
  web.since = kNow + 1s;
  const std::vector claims{claim("w", "a"), claim("w", "min", 1, false), web};
  std::vector<std::string> order;
  auto left = claims;
  const Shares shares(kWorkers);
  while (const auto next = shares.next(left)) {
    order.push_back(left[*next].function.value);
    left[*next].count = 0;
  }
  EXPECT_THAT(order, ElementsAre("web", "a", "min"));
}

TEST(Shares, NoClaimNoTurn) { EXPECT_FALSE(Shares(kWorkers).next(std::vector{claim("w", "f", 0)})); }

TEST(MayYield, WhoHasMoreGivesDownToTheClaimsShare) {
  Shares shares(kWorkers);
  const auto all = busy(shares, "w", "m", 4);
  EXPECT_THAT(ids(shares.mayYield(claim("w", "f"), all)), ElementsAre("m0", "m1", "m2"));
  EXPECT_THAT(ids(shares.mayYield(claim("w", "m"), all)), IsEmpty()) << "not to itself";
}

TEST(MayYield, WhatIsGivenIsNotTakenBack) {
  Shares shares(kWorkers);
  auto all = busy(shares, "w", "m", 2);
  const auto more = busy(shares, "w", "f", 1);
  all.insert(all.end(), more.begin(), more.end());
  EXPECT_THAT(shares.mayYield(claim("w", "f"), all), IsEmpty());
  EXPECT_THAT(shares.mayYield(claim("w", "m"), all), IsEmpty());
}

TEST(MayYield, AmongWorkspacesTheirSharesCount) {
  Shares shares(kWorkers);
  auto all = busy(shares, "w", "a", 2);
  const auto more = busy(shares, "w", "b", 2);
  all.insert(all.end(), more.begin(), more.end());
  EXPECT_THAT(ids(shares.mayYield(claim("v", "f"), all)), ElementsAre("a0", "b0", "a1"));
}

TEST(MayYield, WhereOnlyOneFitsFunctionsTakeTurnsOfAMinute) {
  Shares shares(kWorkers);
  const auto young = busy(shares, "w", "m", 1, 59s);
  EXPECT_THAT(shares.mayYield(claim("w", "f"), young), IsEmpty());
  EXPECT_THAT(shares.mayTakeTurns(claim("w", "f"), young, kNow), IsEmpty());
  EXPECT_THAT(ids(shares.mayTakeTurns(claim("w", "f"), young, kNow + 1s)), ElementsAre("m0"));
  shares.add("w", FunctionId{"f"}, kOne);
  EXPECT_THAT(shares.mayTakeTurns(claim("w", "f"), young, kNow + 1s), IsEmpty()) << "it has one";
}

}  // namespace
}  // namespace gridiron::plan
