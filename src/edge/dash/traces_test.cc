#include "edge/dash/traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

namespace gridiron::edge {
namespace {

using namespace std::chrono_literals;

Instance startOf(std::vector<StartPhase> phases) {
  Instance out;
  out.phases = std::move(phases);
  return out;
}

TEST(Traces, ABootSaysWhyItWasNoFork) {
  const auto phases = notedPhases({{"queue", 1ms}, {"exec: no zygote", 2ms}, {"import", 3ms}});
  ASSERT_EQ(phases.size(), 3U);
  EXPECT_EQ(phases[1].name, "boot");
  EXPECT_EQ(phases[1].note, "no zygote");
  EXPECT_EQ(phases[2].name, "import");
}

TEST(Traces, StartsAreSummedUpByPhaseAndTheDearestIsNamed) {
  std::vector<Instance> starts;
  for (int i = 1; i <= 100; ++i)
    starts.push_back(startOf({{"queue", 1ms}, {"exec: an entrypoint", 9ms}, {"import", i * 1ms}}));
  const auto summary = coldSummary(starts, {"grpc (known not to survive a fork)"});
  EXPECT_EQ(summary["starts"], 100);
  ASSERT_EQ(summary["phases"].size(), 3U);
  EXPECT_EQ(summary["phases"][1]["name"], "boot");
  EXPECT_EQ(summary["phases"][1]["note"], "an entrypoint");
  EXPECT_EQ(summary["phases"][2]["p50_ms"], 50.0);
  EXPECT_EQ(summary["phases"][2]["p99_ms"], 99.0);
  EXPECT_EQ(summary["total"]["p50_ms"], 60.0);
  EXPECT_EQ(summary["dearest"], "import: 83% of the starts; not learnt: grpc (known not to survive a fork)");
}

TEST(Traces, TheDearestPackageOfAnImportIsNamedWithWhyItIsNotLearnt) {
  std::vector<Instance> starts;
  for (int i = 0; i < 4; ++i)
    starts.push_back(startOf({{"fork", 9ms}, {"import", 100ms}, {"import numpy", 61ms}, {"own import app", 20ms}}));
  const auto summary = coldSummary(starts, {"numpy.core (starts threads)", "grpc (known not to survive a fork)"});
  ASSERT_EQ(summary["phases"].size(), 2U);
  const auto& parts = summary["phases"][1]["parts"];
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0]["name"], "numpy");
  EXPECT_EQ(parts[0]["share"], 0.61);
  EXPECT_EQ(parts[1]["own"], true);
  EXPECT_EQ(summary["total"]["p50_ms"], 109.0) << "parts do not count twice";
  EXPECT_EQ(summary["dearest"],
            "import: 92% of the starts; numpy: 61% of import; not learnt because it starts threads");
  const auto denied = coldSummary(starts, {"numpy (known not to survive a fork)"});
  EXPECT_THAT(denied["dearest"].get<std::string>(), testing::EndsWith("not learnt: known not to survive a fork"));
}

TEST(Traces, WhatTheAppsOwnModuleTakesIsToldApart) {
  const std::vector<Instance> starts{startOf({{"import", 100ms}, {"own import app", 80ms}, {"import httpx", 9ms}})};
  EXPECT_EQ(coldSummary(starts, {})["dearest"],
            "import: 100% of the starts; app: 80% of import; the app's own module, which every container imports");
}

TEST(Traces, AFunctionThatNeverStartedHasNoDearest) {
  const auto summary = coldSummary({}, {});
  EXPECT_EQ(summary["starts"], 0);
  EXPECT_TRUE(summary["phases"].empty());
  EXPECT_EQ(summary["dearest"], "");
}

}  // namespace
}  // namespace gridiron::edge
