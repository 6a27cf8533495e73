#include "plan/schedule.h"

#include <date/date.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace gridiron::plan {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

Time at(const std::string& text) {  // "2026-03-29 01:00", UTC
  std::istringstream in(text);
  date::sys_time<std::chrono::minutes> time;
  in >> date::parse("%Y-%m-%d %H:%M", time);
  EXPECT_FALSE(in.fail()) << text;
  return time;
}

std::string text(std::optional<Time> time) {
  return time ? date::format("%Y-%m-%d %H:%M", date::floor<std::chrono::minutes>(*time)) : "never";
}

std::vector<std::string> runs(const Schedule& schedule, const std::string& after, int count) {
  std::vector<std::string> all;
  Time now = at(after);
  for (int i = 0; i < count; ++i) {
    const auto next = nextRun(schedule, at(after), now);
    all.push_back(text(next));
    if (!next) break;
    now = *next;
  }
  return all;
}

Schedule cron(const std::string& fields, const std::string& zone = "") { return {fields, zone, 0, {}}; }

TEST(Schedule, ACronRunsAtItsTimes) {
  EXPECT_THAT(runs(cron("*/20 9 * * *"), "2026-01-01 09:10", 3),
              ElementsAre("2026-01-01 09:20", "2026-01-01 09:40", "2026-01-02 09:00"));
  EXPECT_THAT(runs(cron("0 12 * * mon-fri"), "2026-01-01 13:00", 3),
              ElementsAre("2026-01-02 12:00", "2026-01-05 12:00", "2026-01-06 12:00"));
  EXPECT_THAT(runs(cron("30 6,18 * * 7"), "2026-01-01 00:00", 2), ElementsAre("2026-01-04 06:30", "2026-01-04 18:30"));
  EXPECT_THAT(runs(cron("@hourly"), "2026-12-31 23:00", 1), ElementsAre("2027-01-01 00:00"));
  EXPECT_THAT(runs(cron("0 0 29 2 *"), "2097-01-01 00:00", 1), ElementsAre("2104-02-29 00:00"));
  EXPECT_THAT(runs(cron("0 0 30 2 *"), "2026-01-01 00:00", 1), ElementsAre("never"));
}

TEST(Schedule, ADayAndAWeekdayTogetherMeanEither) {
  EXPECT_THAT(runs(cron("0 0 13 * 5"), "2026-01-01 00:00", 3),
              ElementsAre("2026-01-02 00:00", "2026-01-09 00:00", "2026-01-13 00:00"));
}

TEST(Schedule, ACronIsInItsTimeZone) {
  EXPECT_THAT(runs(cron("0 6 * * *", "America/New_York"), "2026-01-01 00:00", 1), ElementsAre("2026-01-01 11:00"));
  EXPECT_THAT(runs(cron("0 6 * * *", "America/New_York"), "2026-07-01 00:00", 1), ElementsAre("2026-07-01 10:00"));
}

TEST(Schedule, ATimeThatClocksSkipRunsWhenTheyAreSet) {  // Berlin, 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC
  EXPECT_THAT(runs(cron("30 2 * * *", "Europe/Berlin"), "2026-03-28 00:00", 3),
              ElementsAre("2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"));
  EXPECT_THAT(runs(cron("0,30 * * * *", "Europe/Berlin"), "2026-03-29 00:30", 2),
              ElementsAre("2026-03-29 01:00", "2026-03-29 01:30"))
      << "by the clock: one run each half hour that is";
}

TEST(Schedule, ATimeThatComesTwiceRunsOnceUnlessItIsByTheClock) {  // 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC
  EXPECT_THAT(runs(cron("30 2 * * *", "Europe/Berlin"), "2026-10-24 12:00", 2),
              ElementsAre("2026-10-25 00:30", "2026-10-26 01:30"));
  EXPECT_THAT(runs(cron("30 * * * *", "Europe/Berlin"), "2026-10-24 23:45", 3),
              ElementsAre("2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"));
}

TEST(Schedule, APeriodCountsFromItsBase) {
  const Schedule every{"", "", 0, 90min};
  EXPECT_THAT(runs(every, "2026-01-01 00:00", 2), ElementsAre("2026-01-01 01:30", "2026-01-01 03:00"));
  EXPECT_EQ(text(nextRun(every, at("2026-01-01 00:00"), at("2026-01-02 00:10"))), "2026-01-02 01:30");
  const Schedule monthly{"", "", 1, {}};
  EXPECT_THAT(runs(monthly, "2026-01-31 10:00", 3),
              ElementsAre("2026-02-28 10:00", "2026-03-31 10:00", "2026-04-30 10:00"));
}

TEST(Schedule, WhatIsWrongIsSaid) {
  EXPECT_THAT(checkSchedule(cron("* * * *")).error().message, HasSubstr("4 fields"));
  EXPECT_THAT(checkSchedule(cron("60 * * * *")).error().message, HasSubstr("'60' is no minute"));
  EXPECT_THAT(checkSchedule(cron("5-1 * * * *")).error().message, HasSubstr("'5-1'"));
  EXPECT_THAT(checkSchedule(cron("*/0 * * * *")).error().message, HasSubstr("'*/0'"));
  EXPECT_THAT(checkSchedule(cron("0 0 * * *", "Mars/Olympus")).error().message, HasSubstr("Mars/Olympus"));
  EXPECT_FALSE(checkSchedule(Schedule{}).ok());
  EXPECT_TRUE(checkSchedule(cron("0 9 1-7/2 jan,jul sun", "Asia/Tokyo")).ok());
}

}  // namespace
}  // namespace gridiron::plan
