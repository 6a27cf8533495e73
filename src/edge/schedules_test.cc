#include "edge/schedules.h"

#include <gtest/gtest.h>

#include "base/testing.h"
#include "catalog/catalog.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {
namespace {

using namespace std::chrono_literals;
namespace api = ::modal::client;

class SchedulesTest : public testing::Test {
 protected:
  SchedulesTest() {
    blobs.emplace(*blob::Blobs::open(directory));
    catalog = *Catalog::open(*store, *blobs, clock, {.keyFile = "", .workspace = "acme", .builderVersion = "2025.06"});
    start();
  }

  void start() {
    schedules.reset();
    calls.emplace(*store, catalog->apps(), clock);
    ASSERT_TRUE(calls->load().ok());
    schedules.emplace(*store, *calls, catalog->apps(), clock);
    ASSERT_TRUE(schedules->load().ok());
  }
  FunctionId deploy(const api::Schedule& schedule) {
    Apps& apps = catalog->apps();
    const auto existing = apps.named("main", "clockwork");
    const App app = existing ? *existing : *apps.create({"main", "clockwork", "", "ann", AppState::initializing, {}});
    Function function;
    function.id = *apps.precreate(app.id, "f", existing ? existing->functions.at("f") : FunctionId{});
    function.app = app.id;
    function.tag = "f";
    api::Function definition;
    *definition.mutable_schedule() = schedule;
    function.definition = definition.SerializeAsString();
    const FunctionId id = (*apps.putDraft(function, function.definition))->id;
    Publication publication;
    publication.app = app.id;
    publication.name = "clockwork";
    publication.state = AppState::deployed;
    publication.functions = {{"f", id}};
    EXPECT_TRUE(apps.publish(publication).ok());
    if (const auto changed = apps.find(id)) schedules->functionChanged(*changed);
    return id;
  }
  static api::Schedule hours(int n) {
    api::Schedule schedule;
    schedule.mutable_period()->set_hours(n);
    return schedule;
  }
  static api::Schedule cron(const std::string& text, const std::string& zone) {
    api::Schedule schedule;
    schedule.mutable_cron()->set_cron_string(text);
    schedule.mutable_cron()->set_timezone(zone);
    return schedule;
  }
  int queuedAfter(const FunctionId& function, Nanos wait) {
    clock.advance(wait);
    schedules->turn();
    return calls->demandOf(function).queued;
  }

  FakeClock clock;
  const TemporaryDirectory folder;
  const std::string& directory = folder.path();
  std::unique_ptr<Store> store = openMemoryStore();
  std::optional<blob::Blobs> blobs;
  std::unique_ptr<Catalog> catalog;
  std::optional<Calls> calls;
  std::optional<Schedules> schedules;
};

TEST_F(SchedulesTest, APeriodRunsAndADeploymentStartsItAnew) {
  const FunctionId f = deploy(hours(2));
  EXPECT_EQ(queuedAfter(f, 119min), 0);
  deploy(hours(3));
  EXPECT_EQ(queuedAfter(f, 179min), 0);
  EXPECT_EQ(queuedAfter(f, 1min), 1);
  EXPECT_EQ(queuedAfter(f, 1min), 1) << "once";
  EXPECT_EQ(schedules->of(f)->next, clock.now() + 179min);
}

TEST_F(SchedulesTest, ARunAndTheNoteOfItAreOneChange) {
  const FunctionId f = deploy(hours(1));
  const Mark before = store->written();
  EXPECT_EQ(queuedAfter(f, 1h), 1);
  EXPECT_EQ(store->written(), before + 1);
}

TEST_F(SchedulesTest, AfterTheGridWasDownAPeriodRunsOnceAndACronNot) {
  const FunctionId f = deploy(hours(1));
  EXPECT_EQ(queuedAfter(f, 1h), 1);
  clock.advance(10h);
  start();
  EXPECT_EQ(queuedAfter(f, 0s), 2) << "one for the ten that were missed";
  EXPECT_EQ(queuedAfter(f, 59min), 2);
  deploy(cron("* * * * *", ""));
  clock.advance(10h);
  start();
  EXPECT_EQ(queuedAfter(f, 0s), 2);
  EXPECT_EQ(queuedAfter(f, 1min), 3);
}

TEST_F(SchedulesTest, ACronKeepsItsLocalTimeOverAChangeOfClocks) {
  clock.advance(Time{std::chrono::sys_days{std::chrono::year{2026} / 10 / 24}} - clock.now());
  const FunctionId f = deploy(cron("30 2 * * *", "Europe/Berlin"));
  EXPECT_EQ(queuedAfter(f, 30min), 1);  // 24th, summer time
  EXPECT_EQ(queuedAfter(f, 24h), 2);    // 25th: the first of two
  EXPECT_EQ(queuedAfter(f, 1h), 2);     // the second is none
  EXPECT_EQ(queuedAfter(f, 23h + 59min), 2);
  EXPECT_EQ(queuedAfter(f, 1min), 3);  // 26th, winter time
}

TEST_F(SchedulesTest, AStoppedAppRunsNoMore) {
  const FunctionId f = deploy(hours(1));
  const App app = *catalog->apps().named("main", "clockwork");
  schedules->appStopped(app, "");
  EXPECT_EQ(queuedAfter(f, 5h), 0);
  EXPECT_FALSE(schedules->of(f));
}

}  // namespace
}  // namespace gridiron::edge
