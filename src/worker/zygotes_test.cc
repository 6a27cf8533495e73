#include "worker/zygotes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/testing.h"
#include "sandbox/fake.h"
#include "worker/start_steps.h"
#include "worker/testing.h"

namespace gridiron::worker {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ZygotesTest : public ::testing::Test {
 protected:
  ZygotesTest() { open(); }

  void open(std::int64_t memoryMb = 256) {
    zygotes.reset();
    zygotes.emplace(sandboxes, clock,
                    Zygotes::Options{"/zygote.py", "/zygote.so", scratch.path() + "/learnt", memoryMb << 20});
  }
  Zygotes::Kind kind(const std::string& image = "im-1", const std::string& client = "1.6.4") {
    Zygotes::Kind out;
    out.image.imageId = image;
    out.image.layers = {"/layers/" + image};
    out.image.pythonPath = "/usr/local/bin/python";
    out.clientVersion = client;
    return out;
  }
  // A container of it has come up.
  void ready(const Zygotes::Kind& kind, const std::string& imports = "") {
    zygotes->ready(kind, imports);
    zygotes->settle();
  }
  std::vector<std::string> learnt(std::size_t zygote) {
    return nlohmann::json::parse(sandboxes.zygotes().at(zygote)->wish).at("learnt").get<std::vector<std::string>>();
  }

  TemporaryDirectory scratch;
  FakeClock clock;
  sandbox::FakeSandboxes sandboxes;
  std::optional<Zygotes> zygotes;
};

TEST_F(ZygotesTest, TheFirstStartOfAKindIsPlainAndTheNextIsNot) {
  EXPECT_EQ(zygotes->offer(kind()).why, "no zygote of the image is ready yet");
  EXPECT_TRUE(sandboxes.zygotes().empty()) << "not while the first container needs the processor";
  ready(kind());
  ASSERT_EQ(sandboxes.zygotes().size(), 1U);
  EXPECT_EQ(zygotes->offer(kind()).zygote, sandboxes.zygotes()[0]);
  EXPECT_THAT(sandboxes.zygotes()[0]->spec.lowers, ElementsAre("/layers/im-1"));
}

TEST_F(ZygotesTest, OneThatIsExpectedIsThereForTheFirstStart) {
  zygotes->expect(kind());
  zygotes->settle();
  zygotes->expect(kind());
  zygotes->settle();
  ASSERT_EQ(sandboxes.zygotes().size(), 1U) << "one is enough";
  EXPECT_EQ(zygotes->offer(kind()).zygote, sandboxes.zygotes()[0]);
  ready(kind(), "httpx\n");
  EXPECT_THAT(learnt(1), ElementsAre("httpx"));
}

TEST_F(ZygotesTest, OneThatIsOnlyExpectedTakesNoOthersMemory) {
  sandboxes.zygotesHold(200 << 20);
  ready(kind());
  zygotes->expect(kind("im-2"));
  zygotes->settle();
  EXPECT_EQ(sandboxes.zygotes().size(), 1U);
  EXPECT_EQ(zygotes->offer(kind("im-2")).why, "no zygote of the image is ready yet");
  ready(kind("im-2"));
  EXPECT_TRUE(zygotes->offer(kind("im-2")).zygote) << "one that is used may";
}

TEST_F(ZygotesTest, AnotherImageOrClientIsAnotherKind) {
  ready(kind());
  EXPECT_FALSE(zygotes->offer(kind("im-2")).zygote);
  EXPECT_FALSE(zygotes->offer(kind("im-1", "1.3.5")).zygote);
  ready(kind("im-2"));
  EXPECT_NE(zygotes->offer(kind("im-2")).zygote, zygotes->offer(kind()).zygote);
}

TEST_F(ZygotesTest, WhatAForkHadToImportTheNextZygoteHas) {
  ready(kind());
  ready(kind(), "httpx\nhttpx._api\n");
  ASSERT_EQ(sandboxes.zygotes().size(), 2U);
  EXPECT_THAT(learnt(1), ElementsAre("httpx", "httpx._api"));
  EXPECT_FALSE(sandboxes.zygotes()[0]->alive());
  EXPECT_EQ(zygotes->offer(kind()).zygote, sandboxes.zygotes()[1]);
  ready(kind(), "httpx\n");
  EXPECT_EQ(sandboxes.zygotes().size(), 2U) << "nothing new";
}

TEST_F(ZygotesTest, WhatWasLearntOutlivesTheWorker) {
  ready(kind(), "numpy\n");
  open();
  ready(kind());
  EXPECT_THAT(learnt(1), ElementsAre("numpy"));
}

TEST_F(ZygotesTest, OneThatHasEndedIsNotOfferedAndIsStartedAgain) {
  ready(kind());
  sandboxes.zygotes()[0]->retire();
  EXPECT_EQ(zygotes->offer(kind()).why, "its zygote has ended");
  ready(kind());
  EXPECT_EQ(zygotes->offer(kind()).zygote, sandboxes.zygotes().at(1));
}

TEST_F(ZygotesTest, OneThatCannotStartRestsAfterThreeTries) {
  for (int i = 0; i < 4; ++i) sandboxes.failNext("zygote", EIO);
  for (int i = 0; i < 5; ++i) ready(kind());
  EXPECT_THAT(zygotes->offer(kind()).why, HasSubstr("zygote: EIO"));
  clock.advance(11min);
  ready(kind());  // the fourth failure
  ready(kind());
  EXPECT_TRUE(zygotes->offer(kind()).zygote);
}

TEST_F(ZygotesTest, TheLeastUsefulGiveWayWhenMemoryIsScarce) {
  sandboxes.zygotesHold(100 << 20);
  ready(kind("im-1"));
  ready(kind("im-2"));
  for (int i = 0; i < 5; ++i) zygotes->offer(kind("im-1"));
  zygotes->offer(kind("im-2"));
  ready(kind("im-3"));
  EXPECT_TRUE(zygotes->offer(kind("im-1")).zygote);
  const bool second = zygotes->offer(kind("im-2")).zygote != nullptr;
  const bool third = zygotes->offer(kind("im-3")).zygote != nullptr;
  EXPECT_NE(second, third) << "one of them had to go";
  std::int64_t held = 0;
  for (const auto& view : zygotes->all()) held += view.residentBytes;
  EXPECT_LE(held, 256 << 20);
}

TEST_F(ZygotesTest, OneLargerThanAllMayBeIsNotKept) {
  sandboxes.zygotesHold(300 << 20);
  ready(kind());
  EXPECT_THAT(zygotes->offer(kind()).why, HasSubstr("memory"));
  EXPECT_FALSE(sandboxes.zygotes()[0]->alive());
}

TEST_F(ZygotesTest, TheyAreRenewedDaily) {
  ready(kind());
  clock.advance(23h);
  ready(kind());
  EXPECT_EQ(sandboxes.zygotes().size(), 1U);
  clock.advance(2h);
  ready(kind());
  EXPECT_EQ(zygotes->offer(kind()).zygote, sandboxes.zygotes().at(1));
}

TEST_F(ZygotesTest, WhatNobodyUsesForADayIsLetGo) {
  ready(kind("im-1"));
  clock.advance(20h);
  ready(kind("im-2"));
  clock.advance(5h);
  zygotes->tend();
  zygotes->settle();
  EXPECT_FALSE(sandboxes.zygotes()[0]->alive());
  ASSERT_EQ(zygotes->all().size(), 1U);
  EXPECT_EQ(zygotes->all()[0].imageId, "im-2");
}

TEST_F(ZygotesTest, WhatIsKnownIsBoundedAndTheLeastUsedKindGoesFirst) {
  open(100'000);
  for (int i = 0; i < 100; ++i) {
    ready(kind("im-" + std::to_string(i)));
    zygotes->offer(kind("im-0"));
  }
  EXPECT_EQ(zygotes->all().size(), 64U);
  EXPECT_TRUE(zygotes->offer(kind("im-0")).zygote);
  EXPECT_FALSE(zygotes->offer(kind("im-1")).zygote);
  int alive = 0;
  for (const auto& zygote : sandboxes.zygotes()) alive += zygote->alive();
  EXPECT_LE(alive, 64);
}

TEST_F(ZygotesTest, ThoseThatLiveAreCountedWithTheirMemory) {
  sandboxes.zygotesHold(70 << 20);
  ready(kind("im-1"));
  zygotes->offer(kind("im-1"));
  ASSERT_EQ(zygotes->all().size(), 1U);
  const auto view = zygotes->all()[0];
  EXPECT_EQ(std::tie(view.imageId, view.clientVersion), std::tuple("im-1", "1.6.4"));
  EXPECT_EQ(std::pair(view.residentBytes, view.starts), std::pair(std::int64_t{70} << 20, std::int64_t{1}));
  sandboxes.zygotes()[0]->retire();
  EXPECT_TRUE(zygotes->all().empty());
}

TEST(ZygoteMemory, IsASixteenthOfTheMachineWithAMostAndNoneWhereOneDoesNotFit) {
  constexpr std::int64_t kGiB = std::int64_t{1} << 30;
  EXPECT_EQ(Zygotes::memoryFor(64 * kGiB), kGiB);
  EXPECT_EQ(Zygotes::memoryFor(8 * kGiB), kGiB / 2);
  EXPECT_EQ(Zygotes::memoryFor(kGiB), 0);
}

// Starts of containers on im-1, and what the last one's sandbox was told.
class ZygoteStarts : public ZygotesTest {
 protected:
  ZygoteStarts() {
    order.set_task_id("ta-1");
    order.set_image_id("im-1");
    order.set_client_version("1.6.4");
  }
  // Why it was to be a plain start; "" when it was to be a fork.
  std::string why() {
    Steps steps;
    auto out = startContainer(setting(), order, {}, steps, [](std::string_view) {});
    EXPECT_TRUE(out.ok()) << out.error().message;
    if (!out.ok()) return "";
    if (out->shape) ready(*out->shape->kind);
    EXPECT_EQ(steps.phases().back().name, "exec");
    EXPECT_NE(sandboxes.starts().back().zygote != nullptr, steps.phases().back().why != "");
    return steps.phases().back().why;
  }
  StartSetting setting() { return {&sandboxes, &images, scratch.path() + "/data", 8401, &*zygotes, nullptr, ""}; }

  testing::HandyImages images;
  link::StartInstance order;
};

TEST_F(ZygoteStarts, AFunctionsSecondContainerIsAFork) {
  EXPECT_EQ(why(), "no zygote of the image is ready yet");
  EXPECT_EQ(why(), "");
  order.set_client_version("1.3.5");
  EXPECT_EQ(why(), "no zygote of the image is ready yet");
}

TEST_F(ZygoteStarts, TheFirstContainerOfWhatIsDeployedIsAFork) {
  link::PrepareImage expected;
  expected.set_image_id("im-1");
  expected.set_client_version("1.6.4");
  prepareZygote(setting(), expected);
  zygotes->settle();
  EXPECT_EQ(why(), "");
  expected.set_image_id("im-gone");
  prepareZygote(setting(), expected);
  zygotes->settle();
  EXPECT_EQ(sandboxes.zygotes().size(), 1U);
}

TEST_F(ZygoteStarts, AZygoteKnowsNothingOfAContainersOwn) {
  link::Variable& secret = *order.add_secrets();
  secret.set_name("TOKEN");
  secret.set_value("sesame");
  link::Variable& variable = *order.add_environment();
  variable.set_name("MODAL_ENVIRONMENT");
  variable.set_value("main");
  order.add_mounts()->add_files()->set_path("/root/app.py");
  why();
  const sandbox::Spec& spec = sandboxes.zygotes().at(0)->spec;
  for (const auto& [name, value] : spec.environment) {
    EXPECT_NE(name, "TOKEN");
    EXPECT_NE(name, "MODAL_ENVIRONMENT");
    EXPECT_NE(name, "MODAL_TASK_ID");
  }
  EXPECT_THAT(spec.lowers, ElementsAre("/layers/top", "/layers/base"));
  std::vector<std::string> bound;
  for (const sandbox::Bind& bind : spec.binds) bound.push_back(bind.target);
  EXPECT_THAT(bound, ElementsAre("/pkg", "/__modal/deps", "/__modal/zygote.py", "/__modal/zygote.so"));
}

TEST_F(ZygoteStarts, WhatLiesOverPackagesMakesAStartPlain) {
  why();
  order.add_mounts()->add_files()->set_path("/usr/local/lib/python3.11/site-packages/helper.py");
  EXPECT_EQ(why(), "a mount lies over installed packages");
}

TEST_F(ZygoteStarts, AnImageThatIsMadeOfAContainerComesFromAPlainOne) {
  why();
  order.set_commit_as_image_id("im-2");
  EXPECT_EQ(why(), "an image is made of it");
}

TEST_F(ZygotesTest, TurnedOffThereAreNone) {
  open(0);
  ready(kind());
  EXPECT_FALSE(zygotes->offer(kind()).zygote);
  EXPECT_TRUE(sandboxes.zygotes().empty());
}

}  // namespace
}  // namespace gridiron::worker
