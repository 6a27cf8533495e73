#include "worker/parking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "base/testing.h"
#include "sandbox/fake.h"
#include "worker/start_steps.h"
#include "worker/testing.h"

namespace gridiron::worker {
namespace {

using namespace std::chrono_literals;

// Starts of containers on im-1 where zygotes are kept and containers are parked.
class ParkingTest : public ::testing::Test {
 protected:
  ParkingTest() {
    open(256);
    order.set_task_id("ta-0");
    order.set_image_id("im-1");
    order.set_client_version("1.6.4");
    order.set_container_arguments("arguments");
  }
  void open(std::int64_t memoryMb) {
    parking.reset();
    zygotes.emplace(sandboxes, clock,
                    Zygotes::Options{"/zygote.py", "/zygote.so", scratch.path() + "/learnt", memoryMb << 20});
    parking.emplace(*zygotes, clock,
                    Parking::Options{memoryMb << 20,
                                     [this](const Parking::Shape& shape, std::shared_ptr<sandbox::Zygote> zygote) {
                                       return parkContainer(setting(), shape, std::move(zygote));
                                     },
                                     [this](Parking::Slot slot) { discardParked(setting(), std::move(slot)); }});
  }
  StartSetting setting() {
    return {&sandboxes, &images, scratch.path() + "/data", 8401, &*zygotes, &*parking, "/fast_lane.py"};
  }

  Started begin() {
    order.set_task_id("ta-" + std::to_string(++starts));
    Steps steps;
    auto out = startContainer(setting(), order, mounts, steps, [](std::string_view) {});
    EXPECT_TRUE(out.ok()) << out.error().message;
    return std::move(*out);
  }
  // It is done with its first input.
  void settled(const Started& started) {
    zygotes->ready(*started.shape->kind, "");
    zygotes->settle();
    parking->started(*started.shape, order.function_id());
    parking->settle();
  }
  // A whole start; true when the container was there already.
  bool start() {
    clock.advance(1s);
    const std::size_t before = waiting();
    const Started started = begin();
    const bool taken = waiting() < before;
    settled(started);
    return taken;
  }
  std::size_t waiting() {
    std::size_t count = 0;
    for (const auto& [spec, alive] : sandboxes.parked()) count += *alive;
    return count;
  }

  TemporaryDirectory scratch;
  FakeClock clock;
  sandbox::FakeSandboxes sandboxes;
  testing::HandyImages images;
  link::StartInstance order;
  std::vector<std::string> mounts{"/mounts/app"};
  std::optional<Zygotes> zygotes;
  std::optional<Parking> parking;
  int starts = 0;
};

TEST_F(ParkingTest, TheSecondStartFindsAContainerThatIsThereAndAnotherIsParkedForTheThird) {
  EXPECT_FALSE(start());
  EXPECT_EQ(waiting(), 1U);
  clock.advance(1min);
  EXPECT_TRUE(start());
  EXPECT_EQ(sandboxes.parked().size(), 2U);
  EXPECT_EQ(waiting(), 1U) << "none is used twice";
}

TEST_F(ParkingTest, AParkedContainerKnowsNothingOfTheOneBeforeAndTheArgumentsAreItsOwn) {
  link::Variable& secret = *order.add_secrets();
  secret.set_name("TOKEN");
  secret.set_value("sesame");
  start();
  const sandbox::Spec spec = sandboxes.parked().at(0).first;
  EXPECT_TRUE(spec.environment.empty());
  EXPECT_EQ(spec.lowers.front(), "/mounts/app");
  order.set_container_arguments("other arguments");
  const Started started = begin();
  EXPECT_EQ(*readFile(scratch.path() + "/data/containers/" + started.name + "/container_arguments.bin"),
            "other arguments");
  removeContainerFiles(setting(), started.name);
  EXPECT_FALSE(std::filesystem::exists(scratch.path() + "/data/containers/" + started.name));
}

TEST_F(ParkingTest, OneThatServesTheWebHasItsDoorWhereItIsLookedFor) {
  order.set_lane(true);
  EXPECT_FALSE(start());
  const sandbox::Spec spec = sandboxes.parked().at(0).first;
  const auto lane = std::find_if(spec.binds.begin(), spec.binds.end(),
                                 [](const sandbox::Bind& bind) { return bind.target == "/__modal/lane"; });
  ASSERT_NE(lane, spec.binds.end());
  EXPECT_FALSE(lane->readOnly);
  std::ofstream(lane->source + "/door") << "of the parked one";
  EXPECT_TRUE(start());
  EXPECT_EQ(*readFile(scratch.path() + "/data/containers/" + order.task_id() + "/lane/door"), "of the parked one");
  EXPECT_FALSE(std::filesystem::exists(lane->source));
}

TEST_F(ParkingTest, TheyAreCountedByTheKindOfTheirZygotes) {
  start();
  order.set_needs_fastapi(true);  // the same image and client, but other packages
  start();
  const auto views = parking->all();
  ASSERT_EQ(views.size(), 2U);
  for (const auto& view : views) {
    EXPECT_EQ(view.parked, 1);
    const auto zygote = zygotes->all();
    EXPECT_EQ(std::count_if(zygote.begin(), zygote.end(), [&](const auto& one) { return one.kind == view.kind; }), 1);
  }
}

TEST_F(ParkingTest, OtherCodeIsAnotherShape) {
  start();
  mounts = {"/mounts/app-2"};
  EXPECT_FALSE(start());
  EXPECT_TRUE(start());
}

TEST_F(ParkingTest, AsManyAreParkedAsCameTogetherAndOneOnlyAfterAWhile) {
  start();
  std::vector<Started> burst;
  for (int i = 0; i < 5; ++i) burst.push_back(begin());
  for (const Started& one : burst) settled(one);
  EXPECT_LT(waiting(), 6U) << "while they come the processor is theirs";
  clock.advance(2s);
  parking->tend();
  parking->settle();
  EXPECT_EQ(waiting(), 6U);
  clock.advance(11min);
  parking->tend();
  parking->settle();
  EXPECT_EQ(waiting(), 1U);
  clock.advance(25h);
  parking->tend();
  parking->settle();
  EXPECT_EQ(waiting(), 0U);
}

TEST_F(ParkingTest, OneThatEndedOrWhoseZygoteIsGoneIsNotTaken) {
  start();
  *sandboxes.parked().at(0).second = false;
  EXPECT_FALSE(start());
  sandboxes.zygotes().at(0)->retire();
  EXPECT_FALSE(start());
  EXPECT_TRUE(start()) << "of the new zygote";
}

TEST_F(ParkingTest, WhatIsParkedGoesWithItsZygoteWhenThatHasLearntMore) {
  start();
  ASSERT_EQ(waiting(), 1U);
  clock.advance(1min);
  const Started started = begin();
  settled(started);  // another is parked
  ASSERT_EQ(waiting(), 1U);
  zygotes->ready(*started.shape->kind, "httpx\n");
  zygotes->settle();
  ASSERT_EQ(sandboxes.zygotes().size(), 2U);
  start();
  for (const auto& [spec, alive] : sandboxes.parked()) {
    EXPECT_EQ(*alive, spec.zygote == sandboxes.zygotes()[1]) << "what waited had not what was learnt";
  }
  clock.advance(1min);
  EXPECT_TRUE(start()) << "of the new zygote";
}

TEST_F(ParkingTest, OneThatRefusesIsFollowedByAStartOfTheUsualKind) {
  start();
  sandboxes.failNext("become", EPERM);
  const Started started = begin();
  EXPECT_EQ(started.name, order.task_id());
  EXPECT_TRUE(started.sandbox);
}

TEST_F(ParkingTest, AStartWhoseZygoteEndsInItIsMadeAgainWithoutOne) {
  start();
  mounts = {"/mounts/app-2"};  // nothing is parked for it
  sandboxes.failNext("rootfs", ESRCH);
  const Started started = begin();
  EXPECT_EQ(started.name, order.task_id());
  EXPECT_TRUE(started.sandbox);
  EXPECT_FALSE(started.imports.valid());
}

TEST_F(ParkingTest, TheyGiveWayToZygotesAndOlderShapesToNewerOnes) {
  open(100);  // a zygote is 64, a parked one 8
  start();
  EXPECT_EQ(waiting(), 1U);
  for (int i = 0; i < 4; ++i) {
    clock.advance(1s);
    mounts = {"/mounts/other-" + std::to_string(i)};
    start();
  }
  EXPECT_LE(waiting(), 4U);
  EXPECT_TRUE(start()) << "the newest has one";
  mounts = {"/mounts/app"};
  EXPECT_FALSE(start()) << "the oldest had to go";
}

TEST_F(ParkingTest, WhatIsParkedForADeploymentThatIsReplacedIsLetGo) {
  order.set_function_id("fu-a");
  start();
  mounts = {"/mounts/app-2"};
  start();
  order.set_function_id("fu-b");
  clock.advance(1min);
  start();
  EXPECT_EQ(waiting(), 2U);
  parking->retire("fu-other");
  parking->retire("fu-a");
  parking->settle();
  EXPECT_EQ(waiting(), 1U) << "the other is of fu-b too";
  clock.advance(1min);
  EXPECT_TRUE(start());
  mounts = {"/mounts/app"};
  EXPECT_FALSE(start());
  parking->retire("fu-b");
  parking->settle();
  EXPECT_EQ(waiting(), 0U);
  EXPECT_FALSE(start()) << "it may come back";
  EXPECT_TRUE(start());
}

}  // namespace
}  // namespace gridiron::worker
