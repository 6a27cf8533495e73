#include "plan/predict.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace gridiron::plan {
namespace {

using namespace std::chrono_literals;

const Time kStart{Nanos(1'700'000'000s)};

// A clock that is played: arrivals as they come, and what is forecast after each.
struct Played {
  Arrivals arrivals;
  Time now = kStart;

  void at(Time when) { arrivals.note(now = when); }
  void after(Nanos gap) { at(now + gap); }
  std::optional<Forecast> next(Nanos later = 0s) const { return forecast(arrivals.all(), now + later); }
};

bool covers(const std::optional<Forecast>& f, Time at) { return f && f->from() <= at && at <= f->until(); }

TEST(Predict, ARegularRequestIsExpectedAPeriodAfterTheLast) {
  Played p;
  p.at(kStart);
  for (int i = 0; i < 3; ++i) p.after(60s);
  EXPECT_FALSE(p.next()) << "three gaps are not enough";
  p.after(60s);
  ASSERT_TRUE(p.next());
  EXPECT_EQ(p.next()->due, p.now + 60s);
  EXPECT_EQ(p.next()->confidence, 1);
  EXPECT_EQ(p.next()->why, "every 60 s");
  EXPECT_EQ(p.next()->early, 1s) << "they have been punctual";
}

TEST(Predict, JitterWidensTheTimeThatIsWaited) {
  Played p;
  std::mt19937 random(1);
  std::uniform_int_distribution<int> off(-2000, 2000);
  int hits = 0;
  for (int i = 0; i < 200; ++i) {
    const auto expected = p.next();
    p.at(kStart + i * 60s + std::chrono::milliseconds(off(random)));
    if (i >= 10) hits += covers(expected, p.now);
    EXPECT_TRUE(!expected || expected->early <= 6s);
  }
  EXPECT_GT(hits, 150) << "of 190";
}

TEST(Predict, ARequestThatWasMissedDoesNotEndThePattern) {
  Played p;
  p.at(kStart);
  for (int i = 1; i < 9; ++i) p.after(i == 5 ? 120s : 60s);
  ASSERT_TRUE(p.next());
  EXPECT_EQ(p.next()->due, p.now + 60s);
}

TEST(Predict, ItGivesUpWhenTheyStopComing) {
  Played p;
  p.at(kStart);
  for (int i = 0; i < 8; ++i) p.after(60s);
  EXPECT_EQ(p.next(62s)->due, p.now + 120s) << "the first was missed";
  EXPECT_EQ(p.next(122s)->due, p.now + 180s);
  EXPECT_FALSE(p.next(182s)) << "three times nothing came";
}

TEST(Predict, BurstsAtRandomTimesAreNoPattern) {
  Played p;
  std::mt19937 random(2);
  std::exponential_distribution<double> gap(1 / 3600.0);
  int forecasts = 0;
  for (int burst = 0; burst < 100; ++burst) {
    p.after(10s + std::chrono::seconds(static_cast<int>(gap(random))));
    for (int i = 0; i < 5; ++i) p.after(100ms);  // they are one arrival
    forecasts += p.next().has_value();
  }
  EXPECT_LE(forecasts, 3);
}

TEST(Predict, RandomArrivalsAreNotPredicted) {
  int forecasts = 0, all = 0;
  for (unsigned seed = 1; seed <= 40; ++seed) {
    Played p;
    std::mt19937 random(seed);
    std::exponential_distribution<double> gap(1.0 / (seed % 2 == 0 ? 90 : 5400));
    for (int i = 0; i < 200; ++i, ++all) {
      p.after(std::chrono::milliseconds(1100 + static_cast<int>(1000 * gap(random))));
      forecasts += p.next().has_value();
    }
  }
  EXPECT_LT(forecasts, all / 200) << "less than one in two hundred";
}

TEST(Predict, SeveralTimesOfADayAreKnownAfterThreeDays) {
  Played p;
  for (int day = 0; day < 3; ++day) {
    for (const Nanos hour : {Nanos(9h), Nanos(13h), Nanos(17h + 30min)}) p.at(kStart + day * 24h + hour + day * 1min);
  }
  ASSERT_TRUE(p.next());
  EXPECT_TRUE(covers(p.next(), kStart + 3 * 24h + 9h));
  EXPECT_EQ(p.next()->why, "at this time of the day");
  EXPECT_TRUE(covers(p.next(18h), kStart + 3 * 24h + 13h)) << "when nine is over";
}

TEST(Predict, AWeeklyRequestIsKnownAmongOthers) {
  Played p;
  for (int week = 0; week < 4; ++week) {
    p.at(kStart + week * 7 * 24h);
    p.at(kStart + week * 7 * 24h + (20h + 31h * week));
  }
  const auto next = p.next();
  ASSERT_TRUE(next);
  EXPECT_TRUE(covers(next, kStart + 4 * 7 * 24h));
}

TEST(Predict, WhatComesTooFastOrNeverIsNoPattern) {
  Played p;
  EXPECT_FALSE(p.next());
  for (int i = 0; i < 20; ++i) p.after(1s);
  EXPECT_FALSE(p.next()) << "it need not be started ahead";
}

TEST(Predict, AClockThatGoesBackIsNoArrival) {
  Played p;
  p.at(kStart);
  p.at(kStart - 1h);
  EXPECT_EQ(p.arrivals.all().size(), 1U);
}

TEST(Predict, NoMoreArrivalsAreKeptThanNeeded) {
  Played p;
  for (int i = 0; i < 1000; ++i) p.after(60s);
  EXPECT_EQ(p.arrivals.all().size(), kArrivalsKept);
  EXPECT_EQ(p.next()->due, p.now + 60s);
}

TEST(Predict, AStartIsExpectedToTakeAsLongAsNineOfTenDid) {
  StartTimes times;
  EXPECT_EQ(times.p90(), 2s);
  for (int i = 1; i <= 10; ++i) times.note(i * 100ms);
  EXPECT_EQ(times.p90(), 900ms);
  for (int i = 0; i < 16; ++i) times.note(50ms);
  EXPECT_EQ(times.p90(), 50ms) << "the last ones count";
}

}  // namespace
}  // namespace gridiron::plan
