#include "meter/meter.h"

#include <gtest/gtest.h>

#include <set>

namespace gridiron {
namespace {

using namespace std::chrono_literals;

class MeterTest : public testing::Test {
 protected:
  FakeClock clock;
  std::unique_ptr<Store> store = openMemoryStore();
  Meter meter{*store, clock};
  const Time start = clock.now();

  Instance container(const std::string& id, const std::string& app = "ap-1") {
    Instance i;
    i.id = InstanceId{id};
    i.app = AppId{app};
    i.function = FunctionId{"fu-" + id};
    i.resources = Resources{500, 2048, "H100", 2};
    i.orderedAt = clock.now();
    i.readyAt = clock.now();
    return i;
  }
  UsageRecord input(const std::string& id, OutcomeStatus status) {
    UsageRecord r;
    r.id = id;
    r.kind = UsageKind::input;
    r.app = AppId{"ap-1"};
    r.function = FunctionId{"fu-1"};
    r.startedAt = clock.now();
    r.endedAt = clock.now() + 250ms;
    r.outcome = nameOf(status);
    return r;
  }
  std::vector<UsageSum> all(UsageBy by = UsageBy::app) { return meter.sum(start, clock.now() + 1s, by).value(); }
};

TEST_F(MeterTest, AContainerCostsFromReadyToGone) {
  auto i = container("ta-1");
  meter.container(i);
  clock.advance(10s);
  i.goneAt = clock.now();
  meter.container(i);
  clock.advance(1h);
  const auto sums = all();
  ASSERT_EQ(sums.size(), 1u);
  EXPECT_EQ(sums[0].containerMillis, 10'000);
  EXPECT_DOUBLE_EQ(sums[0].cpuSeconds, 5);
  EXPECT_DOUBLE_EQ(sums[0].memoryGibSeconds, 20);
  EXPECT_DOUBLE_EQ(sums[0].gpuSeconds.at("H100"), 20);
}

TEST_F(MeterTest, AContainerThatNeverWasReadyCostsNothing) {
  auto i = container("ta-1");
  i.readyAt = {};
  i.goneAt = clock.now();
  meter.container(i);
  EXPECT_TRUE(all().empty());
}

TEST_F(MeterTest, OneThatStillRunsIsCountedUpToNow) {
  meter.container(container("ta-1"));
  ASSERT_TRUE(meter.flush().ok());
  clock.advance(3s);
  EXPECT_EQ(all()[0].containerMillis, 3000);
}

TEST_F(MeterTest, TheSameFactToldTwiceCountsOnce) {
  meter.input(input("in-1", OutcomeStatus::success));
  ASSERT_TRUE(meter.flush().ok());
  meter.input(input("in-1", OutcomeStatus::success));
  ASSERT_TRUE(meter.flush().ok());
  EXPECT_EQ(all()[0].inputs, 1);
  EXPECT_EQ(all()[0].inputMillis, 250);
}

TEST_F(MeterTest, InputsThatFailedAreCounted) {
  meter.input(input("in-1", OutcomeStatus::success));
  meter.input(input("in-2", OutcomeStatus::failure));
  meter.input(input("in-2/1", OutcomeStatus::timeout));
  EXPECT_EQ(all()[0].inputs, 3);
  EXPECT_EQ(all()[0].failedInputs, 2);
}

TEST_F(MeterTest, UseIsCutToThePeriod) {
  auto i = container("ta-1");
  clock.advance(60s);
  i.goneAt = clock.now();
  meter.container(i);
  const auto sums = meter.sum(start + 10s, start + 15s, UsageBy::app).value();
  ASSERT_EQ(sums.size(), 1u);
  EXPECT_EQ(sums[0].containerMillis, 5000);
  EXPECT_TRUE(meter.sum(start + 61s, start + 70s, UsageBy::app).value().empty());
}

TEST_F(MeterTest, SumsAreByAppOrByFunction) {
  for (const auto* id : {"a", "b"}) {
    auto i = container(id);
    clock.advance(1s);
    i.goneAt = clock.now();
    meter.container(i);
  }
  auto other = container("c", "ap-2");
  other.goneAt = clock.now();
  meter.container(other);
  EXPECT_EQ(all().size(), 2u);
  EXPECT_EQ(all(UsageBy::function).size(), 3u);
  EXPECT_EQ(all()[0].containers, 2);
}

TEST_F(MeterTest, FlushedRecordsAreInTheStore) {
  meter.input(input("in-1", OutcomeStatus::success));
  EXPECT_TRUE(meter.isPending());
  ASSERT_TRUE(meter.flush().ok());
  EXPECT_FALSE(meter.isPending());
  EXPECT_EQ(store->usage({}).value().size(), 1u);
}

TEST_F(MeterTest, ManyRecordsAreWrittenInPartsAndNoneStandsBehindWhatKeepsComing) {
  for (const auto* id : {"in-2", "in-4", "in-6"}) meter.input(input(id, OutcomeStatus::success));
  ASSERT_TRUE(meter.flush(2).ok());
  EXPECT_EQ(store->usage({}).value().size(), 2u);
  EXPECT_EQ(all()[0].inputs, 3);
  for (const auto* id : {"in-1", "in-3", "in-5"}) meter.input(input(id, OutcomeStatus::success));
  ASSERT_TRUE(meter.flush(2).ok());
  std::set<std::string> written;
  const auto records = store->usage({}).value();
  for (const auto& record : records) written.insert(record.id);
  EXPECT_EQ(written, (std::set<std::string>{"in-2", "in-4", "in-5", "in-6"}));
  ASSERT_TRUE(meter.flush(5).ok());
  EXPECT_FALSE(meter.isPending());
  EXPECT_EQ(all()[0].inputs, 6);
}

}  // namespace
}  // namespace gridiron
