#include "store/store.h"

#include <gtest/gtest.h>

#include <future>
#include <mutex>

#include "store/testing.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;

struct MemoryMaker {
  std::unique_ptr<Store> make() { return openMemoryStore(); }
};

struct CrashingMaker {
  std::unique_ptr<Store> make() { return openCrashingStore(); }
};

template <class Maker>
class StoreContract : public testing::Test {
 protected:
  Maker maker;
  std::unique_ptr<Store> store = maker.make();

  void apply(const Batch& batch) {
    auto done = store->apply(batch);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  std::vector<std::string> texts(const LogQuery& query) {
    std::vector<std::string> texts;
    const auto entries = store->logs(query).value();
    for (const auto& e : entries) texts.push_back(e.text);
    return texts;
  }
  std::vector<std::string> ids(const ObjectQuery& query) {
    std::vector<std::string> ids;
    const auto objects = store->list(query).value();
    for (const auto& o : objects) ids.push_back(o.id);
    return ids;
  }
};
using Stores = testing::Types<MemoryMaker, CrashingMaker, SqliteMaker>;
TYPED_TEST_SUITE(StoreContract, Stores);

TYPED_TEST(StoreContract, AChangeIsSeenAtOnceAndDurableSoon) {
  std::promise<void> told;
  std::once_flag once;
  this->store->flush();
  const Mark before = this->store->written();
  this->store->onDurable([&] { std::call_once(once, [&] { told.set_value(); }); });
  this->apply(Batch().put(object("ap-1", "shop")));
  EXPECT_EQ(this->store->written(), before + 1);
  EXPECT_TRUE(this->store->get("app", "ap-1").value());
  this->store->flush();
  EXPECT_EQ(this->store->durable(), before + 1);
  told.get_future().wait();
  this->store->onDurable({});
}

TYPED_TEST(StoreContract, WhatWasRefusedOrEmptyIsNoChange) {
  this->apply(Batch().put(object("ap-1", "shop")));
  const Mark before = this->store->written();
  ASSERT_FALSE(this->store->apply(Batch().put(object("ap-2", "shop"))).ok());
  this->apply(Batch());
  EXPECT_EQ(this->store->written(), before);
}

TYPED_TEST(StoreContract, AnObjectIsFoundByIdAndByName) {
  this->apply(Batch().put(object("ap-1", "shop")));
  EXPECT_EQ(*this->store->get("app", "ap-1").value(), object("ap-1", "shop"));
  EXPECT_EQ(this->store->find("app", "acme", "main", "shop").value()->id, "ap-1");
  EXPECT_FALSE(this->store->get("secret", "ap-1").value());
  EXPECT_FALSE(this->store->find("app", "acme", "dev", "shop").value());
  EXPECT_FALSE(this->store->find("app", "other", "main", "shop").value());
}

TYPED_TEST(StoreContract, PuttingAgainReplaces) {
  this->apply(Batch().put(object("ap-1", "shop")));
  auto changed = object("ap-1", "store");
  changed.body = std::string("\0\x01", 2);
  this->apply(Batch().put(changed));
  EXPECT_EQ(*this->store->get("app", "ap-1").value(), changed);
  EXPECT_FALSE(this->store->find("app", "acme", "main", "shop").value());
}

TYPED_TEST(StoreContract, ATakenNameUndoesTheWholeBatch) {
  this->apply(Batch().put(object("ap-1", "shop")));
  const auto done = this->store->apply(Batch().put(object("ap-2", "other")).put(object("ap-3", "shop")));
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, Code::alreadyExists);
  EXPECT_EQ(done.error().message, "app 'shop' already exists in environment 'main'");
  EXPECT_FALSE(this->store->get("app", "ap-2").value());
}

TYPED_TEST(StoreContract, ANameIsFreeOnceItsHolderIsErasedOrNotLive) {
  this->apply(Batch().put(object("ap-1", "shop")));
  this->apply(Batch().erase("app", "ap-1").put(object("ap-2", "shop")));
  auto retired = object("ap-2", "shop");
  retired.live = false;
  this->apply(Batch().put(retired).put(object("ap-3", "shop")));
  EXPECT_EQ(this->store->find("app", "acme", "main", "shop").value()->id, "ap-3");
}

TYPED_TEST(StoreContract, ManyObjectsMayHaveNoName) {
  this->apply(Batch().put(object("ap-1", "")).put(object("ap-2", "")));
  EXPECT_FALSE(this->store->find("app", "acme", "main", "").value());
}

TYPED_TEST(StoreContract, ListsAreNewestFirstAndPageByTime) {
  this->apply(Batch().put(object("ap-1", "a", 3s)).put(object("ap-2", "b", 1s)).put(object("ap-3", "c", 2s)));
  ObjectQuery query;
  query.kind = "app";
  query.limit = 2;
  EXPECT_EQ(this->ids(query), (std::vector<std::string>{"ap-2", "ap-3"}));
  query.createdBefore = kStart - 2s;
  EXPECT_EQ(this->ids(query), (std::vector<std::string>{"ap-1"}));
}

TYPED_TEST(StoreContract, ListsAreRestrictedByWhatIsAsked) {
  auto elsewhere = object("ap-2", "b");
  elsewhere.environment = "dev";
  auto retired = object("ap-3", "c");
  retired.live = false;
  this->apply(Batch().put(object("ap-1", "a")).put(elsewhere).put(retired));
  ObjectQuery query;
  query.kind = "app";
  query.environment = "main";
  EXPECT_EQ(this->ids(query), (std::vector<std::string>{"ap-1"}));
  query.liveOnly = false;
  EXPECT_EQ(this->ids(query).size(), 2u);
  query.environment.reset();
  query.workspace = "acme";
  query.idPrefix = "ap-2";
  EXPECT_EQ(this->ids(query), (std::vector<std::string>{"ap-2"}));
  query.idPrefix = "ap-%";
  EXPECT_TRUE(this->ids(query).empty()) << "a prefix is no pattern";
}

TYPED_TEST(StoreContract, ACallComesBackWithItsInputsInTheirOrder) {
  this->apply(Batch().put(call("fc-1")).put(input("in-b", "fc-1", 1)).put(input("in-a", "fc-1", 0)));
  const auto stored = this->store->call(CallId{"fc-1"}).value();
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->call, call("fc-1"));
  ASSERT_EQ(stored->inputs.size(), 2u);
  EXPECT_EQ(stored->inputs[0], input("in-a", "fc-1", 0));
  EXPECT_FALSE(this->store->call(CallId{"fc-2"}).value());
}

TYPED_TEST(StoreContract, AnOutputSettlesItsInput) {
  this->apply(Batch().put(call("fc-1")).put(input("in-a", "fc-1", 0)).put(input("in-b", "fc-1", 1)));
  this->apply(Batch().put(output("in-b", "fc-1", 1, 1)));
  const auto stored = this->store->call(CallId{"fc-1"}).value();
  EXPECT_EQ(stored->inputs[0].state, InputState::queued);
  EXPECT_EQ(stored->inputs[1].state, InputState::settled);
  EXPECT_EQ(stored->outputs, std::vector{output("in-b", "fc-1", 1, 1)});
}

TYPED_TEST(StoreContract, AnInputHasOneOutput) {
  this->apply(Batch().put(call("fc-1")).put(input("in-a", "fc-1", 0)).put(output("in-a", "fc-1", 1)));
  EXPECT_EQ(this->store->apply(Batch().put(output("in-a", "fc-1", 2))).error().code, Code::alreadyExists);
  EXPECT_EQ(this->store->call(CallId{"fc-1"}).value()->outputs.size(), 1u);
}

TYPED_TEST(StoreContract, UnfinishedCallsAreThoseWithAnOpenInput) {
  this->apply(Batch().put(call("fc-new")).put(input("in-1", "fc-new", 0)));
  this->apply(Batch().put(call("fc-old", 9s)).put(input("in-2", "fc-old", 0)));
  this->apply(Batch().put(call("fc-done")).put(input("in-3", "fc-done", 0)).put(output("in-3", "fc-done", 1)));
  this->apply(Batch().put(call("fc-empty")));
  const auto calls = this->store->unfinishedCalls().value();
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].value, "fc-old");
  EXPECT_EQ(calls[1].value, "fc-new");
}

TYPED_TEST(StoreContract, CallsAreFoundByTheInputThatMadeThem) {
  auto young = call("fc-young"), old = call("fc-old", 9s), others = call("fc-others");
  young.parent = old.parent = InputId{"in-1"};
  others.parent = InputId{"in-2"};
  this->apply(Batch().put(young).put(old).put(others).put(call("fc-nobodys")));
  const auto made = this->store->callsBy(InputId{"in-1"}).value();
  EXPECT_EQ(made, (std::vector{CallId{"fc-old"}, CallId{"fc-young"}}));
  EXPECT_TRUE(this->store->callsBy(InputId{"in-3"}).value().empty());
  EXPECT_TRUE(this->store->callsBy(InputId{}).value().empty());
  this->apply(Batch().eraseCall(CallId{"fc-old"}));
  EXPECT_EQ(this->store->callsBy(InputId{"in-1"}).value().size(), 1u);
}

TYPED_TEST(StoreContract, ErasingACallTakesAllOfIt) {
  this->apply(Batch().put(call("fc-1")).put(input("in-a", "fc-1", 0)).put(output("in-a", "fc-1", 1)));
  this->apply(Batch().eraseCall(CallId{"fc-1"}));
  EXPECT_FALSE(this->store->call(CallId{"fc-1"}).value());
  while (this->store->prune(kStart - 100h, kStart - 100h).value()) {
  }
  this->apply(Batch().put(call("fc-1")));
  EXPECT_EQ(*this->store->call(CallId{"fc-1"}).value(), (StoredCall{call("fc-1"), {}, {}}));
}

TYPED_TEST(StoreContract, TheRoomOfAHugeCallComesBackInSlices) {
  Batch batch;
  batch.put(call("fc-1", 1h));
  for (int i = 0; i < 2500; ++i) {
    const auto id = "in-" + std::to_string(i);
    batch.put(input(id, "fc-1", i)).put(output(id, "fc-1", i + 1, i));
  }
  this->apply(batch);
  int slices = 1;
  while (this->store->prune(kStart, kStart).value()) ++slices;
  EXPECT_FALSE(this->store->call(CallId{"fc-1"}).value());
  EXPECT_LT(slices, 20);
  this->apply(Batch().put(call("fc-1")));
  EXPECT_TRUE(this->store->call(CallId{"fc-1"}).value()->inputs.empty());
}

TYPED_TEST(StoreContract, AnOutputOfAnInputThatIsNotThereIsRefused) {
  EXPECT_EQ(this->store->apply(Batch().put(output("in-1", "fc-1", 1))).error().code, Code::alreadyExists);
  this->apply(Batch().put(call("fc-1")).put(input("in-1", "fc-1", 0)));
  EXPECT_EQ(this->store->apply(Batch().put(output("in-2", "fc-1", 1, 7))).error().code, Code::alreadyExists);
  EXPECT_EQ(this->store->call(CallId{"fc-1"}).value()->inputs.size(), 1u);
}

TYPED_TEST(StoreContract, TheNewestLinesComeBackInOrderOfTime) {
  this->apply(Batch().append({line("third", 3s), line("first", 1s), line("second", 2s)}));
  LogQuery query;
  query.app = AppId{"ap-1"};
  query.limit = 2;
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"second", "third"}));
  query.until = kStart + 3s;
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"first", "second"}));
  query.since = kStart + 2s;
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"second"}));
}

TYPED_TEST(StoreContract, AReaderGoesOnAfterTheLastSequence) {
  this->apply(Batch().append({line("a", 2s), line("b", 1s), line("c", 3s)}));
  LogQuery query;
  query.keep = LogQuery::Keep::oldest;
  query.limit = 2;
  auto got = this->store->logs(query).value();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[1].text, "b");
  query.after = got[1].sequence;
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"c"}));
}

TYPED_TEST(StoreContract, LinesAreFoundByWhatPrintedThem) {
  auto a = line("from the task", 1s);
  a.instance = InstanceId{"ta-1"};
  a.function = FunctionId{"fu-1"};
  auto b = line("from the build", 2s, "");
  b.image = ImageId{"im-1"};
  auto c = line("100% of the call", 3s);
  c.call = CallId{"fc-1"};
  c.input = InputId{"in-1"};
  c.source = LogSource::stderrLine;
  this->apply(Batch().append({a, b, c}));
  LogQuery query;
  query.instance = InstanceId{"ta-1"};
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"from the task"}));
  query = {};
  query.image = ImageId{"im-1"};
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"from the build"}));
  query = {};
  query.call = CallId{"fc-1"};
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"100% of the call"}));
  query = {};
  query.source = LogSource::stderrLine;
  EXPECT_EQ(this->texts(query).size(), 1u);
  query = {};
  query.text = "%";
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"100% of the call"})) << "the text is no pattern";
}

TYPED_TEST(StoreContract, CountsAgreeWithWhatIsFetched) {
  auto error = line("oops", 61s);
  error.source = LogSource::stderrLine;
  this->apply(Batch().append({line("a", 0s), line("b", 10s), error, line("elsewhere", 5s, "ap-2")}));
  LogQuery query;
  query.app = AppId{"ap-1"};
  const auto buckets = this->store->countLogs(query, 60s).value();
  const Time first{std::chrono::seconds{1'700'000'000 / 60 * 60}};
  ASSERT_EQ(buckets.size(), 2u);
  EXPECT_EQ(buckets[0], (LogBucket{first, 2, 0, 0}));
  EXPECT_EQ(buckets[1], (LogBucket{first + 60s, 0, 1, 0}));
  EXPECT_EQ(this->store->countLogs(query, 0s).error().code, Code::invalidArgument);
}

TYPED_TEST(StoreContract, ContainersAreListedNewestFirst) {
  Instance a;
  a.id = InstanceId{"ta-1"};
  a.app = AppId{"ap-1"};
  a.wantedAt = kStart;
  a.phases = {{"queue", 2ms}};
  auto b = a;
  b.id = InstanceId{"ta-2"};
  b.wantedAt = kStart + 1s;
  this->apply(Batch().put(a).put(b));
  EXPECT_EQ(*this->store->instance(a.id).value(), a);
  b.state = InstanceState::gone;
  this->apply(Batch().put(b));
  EXPECT_EQ(this->store->instances(AppId{"ap-1"}, false, 0).value(), (std::vector{b, a}));
  EXPECT_EQ(this->store->instances({}, true, 0).value(), std::vector{a});
  EXPECT_TRUE(this->store->instances(AppId{"ap-2"}, false, 0).value().empty());
  EXPECT_FALSE(this->store->instance(InstanceId{"ta-3"}).value());
}

TYPED_TEST(StoreContract, AUsageRecordWrittenTwiceIsOneRecord) {
  UsageRecord r;
  r.id = "ta-1";
  r.app = AppId{"ap-1"};
  r.startedAt = kStart;
  this->apply(Batch().put(r));
  r.endedAt = kStart + 10s;
  this->apply(Batch().put(r));
  UsageQuery query;
  query.app = AppId{"ap-1"};
  EXPECT_EQ(this->store->usage(query).value(), std::vector{r});
  query.since = kStart + 11s;
  EXPECT_TRUE(this->store->usage(query).value().empty());
  query.since.reset();
  query.until = kStart;
  EXPECT_TRUE(this->store->usage(query).value().empty());
}

TYPED_TEST(StoreContract, UsageThatHasNotEndedIsInEveryLaterPeriod) {
  UsageRecord r;
  r.id = "ta-1";
  r.startedAt = kStart;
  this->apply(Batch().put(r));
  UsageQuery query;
  query.since = kStart + 1h;
  EXPECT_EQ(this->store->usage(query).value().size(), 1u);
}

TYPED_TEST(StoreContract, PruningForgetsOldFinishedCallsAndOldLines) {
  this->apply(Batch().put(call("fc-old", 1h)).put(input("in-1", "fc-old", 0)).put(output("in-1", "fc-old", 1)));
  this->apply(Batch().put(call("fc-open", 1h)).put(input("in-2", "fc-open", 0)));
  this->apply(Batch().put(call("fc-new")).put(input("in-3", "fc-new", 0)).put(output("in-3", "fc-new", 1)));
  this->apply(Batch().append({line("old", -1h), line("new", 0s)}));
  ASSERT_TRUE(this->store->prune(kStart - 1min, kStart - 1min).ok());
  EXPECT_FALSE(this->store->call(CallId{"fc-old"}).value());
  EXPECT_EQ(this->store->call(CallId{"fc-open"}).value()->inputs.size(), 1u);
  EXPECT_EQ(this->store->call(CallId{"fc-new"}).value()->outputs.size(), 1u);
  EXPECT_EQ(this->texts({}), (std::vector<std::string>{"new"}));
}

TYPED_TEST(StoreContract, ChangesOfABatchAreMadeInTheirOrder) {
  this->apply(Batch().put(object("ap-1", "shop")).erase("app", "ap-1"));
  EXPECT_FALSE(this->store->get("app", "ap-1").value());
  this->apply(Batch().erase("app", "ap-1").put(object("ap-1", "shop")));
  EXPECT_TRUE(this->store->get("app", "ap-1").value());
}

TYPED_TEST(StoreContract, AnEmptyBatchIsNoFailure) { this->apply(Batch()); }

TYPED_TEST(StoreContract, ErasingWhatIsNotThereIsNoFailure) {
  this->apply(Batch().erase("app", "ap-none").eraseCall(CallId{"fc-none"}));
}

TYPED_TEST(StoreContract, ARefusedBatchLeavesNothingOfAnyKind) {
  this->apply(Batch().put(call("fc-1")).put(input("in-1", "fc-1", 0)).put(output("in-1", "fc-1", 1)));
  Instance container;
  container.id = InstanceId{"ta-1"};
  UsageRecord usage;
  usage.id = "ta-1";
  Batch batch;
  batch.put(object("ap-1", "shop")).put(call("fc-2")).put(container).put(usage).append({line("lost", 0s)});
  batch.put(output("in-1", "fc-1", 2));
  EXPECT_FALSE(this->store->apply(batch).ok());
  EXPECT_FALSE(this->store->get("app", "ap-1").value());
  EXPECT_FALSE(this->store->call(CallId{"fc-2"}).value());
  EXPECT_FALSE(this->store->instance(InstanceId{"ta-1"}).value());
  EXPECT_TRUE(this->store->usage({}).value().empty());
  EXPECT_TRUE(this->texts({}).empty());
}

TYPED_TEST(StoreContract, TheSameIdMayBeOfTwoKinds) {
  auto other = object("x-1", "shop");
  other.kind = "secret";
  this->apply(Batch().put(object("x-1", "shop")).put(other));
  EXPECT_EQ(this->store->find("secret", "acme", "main", "shop").value()->kind, "secret");
  this->apply(Batch().erase("secret", "x-1"));
  EXPECT_TRUE(this->store->get("app", "x-1").value());
}

TYPED_TEST(StoreContract, BodiesMayBeLargeAndOfAnyBytes) {
  auto big = object("ap-1", "big");
  big.body.assign(3 << 20, '\xff');
  big.body[17] = '\0';
  this->apply(Batch().put(big));
  EXPECT_EQ(this->store->get("app", "ap-1").value()->body, big.body);
}

TYPED_TEST(StoreContract, NamesAreNotSql) {
  const std::string name = "x'; DROP TABLE objects; --";
  this->apply(Batch().put(object("ap-1", name)));
  EXPECT_EQ(this->store->find("app", "acme", "main", name).value()->id, "ap-1");
}

TYPED_TEST(StoreContract, ANextAttemptReplacesTheInput) {
  auto i = input("in-1", "fc-1", 0);
  this->apply(Batch().put(call("fc-1")).put(i));
  i.state = InputState::delayed;
  i.attempt = 1;
  i.queuedAt = kStart + 10s;
  this->apply(Batch().put(i));
  const auto calls = this->store->unfinishedCalls().value();
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(this->store->call(calls[0]).value()->inputs, std::vector{i});
}

TYPED_TEST(StoreContract, ACallWrittenAgainKeepsItsInputs) {
  this->apply(Batch().put(call("fc-1")).put(input("in-1", "fc-1", 0)));
  auto changed = call("fc-1");
  changed.cancelled = true;
  this->apply(Batch().put(changed));
  const auto stored = this->store->call(CallId{"fc-1"}).value();
  EXPECT_TRUE(stored->call.cancelled);
  EXPECT_EQ(stored->inputs.size(), 1u);
}

TYPED_TEST(StoreContract, OutputsComeBackInTheirSequenceWhateverTheIndex) {
  Batch batch;
  batch.put(call("fc-1"));
  for (int i = 0; i < 12; ++i) batch.put(input("in-" + std::to_string(i), "fc-1", i));
  this->apply(batch);
  for (int i = 0; i < 12; ++i) this->apply(Batch().put(output("in-" + std::to_string(11 - i), "fc-1", i + 1, 11 - i)));
  const auto stored = this->store->call(CallId{"fc-1"}).value();
  ASSERT_EQ(stored->outputs.size(), 12u);
  EXPECT_EQ(stored->outputs[0].input.value, "in-11");
  EXPECT_EQ(stored->outputs[11].sequence, 12);
  EXPECT_TRUE(this->store->unfinishedCalls().value().empty());
}

TYPED_TEST(StoreContract, PeriodsOfLinesTakeTheStartAndLeaveTheEnd) {
  this->apply(Batch().append({line("before", 1s - 1ns), line("at", 1s), line("after", 1s + 1ns)}));
  LogQuery query;
  query.since = kStart + 1s;
  query.until = kStart + 1s + 1ns;
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"at"}));
}

TYPED_TEST(StoreContract, LinesOfOneMomentKeepTheirOrder) {
  this->apply(Batch().append({line("1", 0s), line("2", 0s)}).append({line("3", 0s)}));
  EXPECT_EQ(this->texts({}), (std::vector<std::string>{"1", "2", "3"}));
  LogQuery query;
  query.limit = 2;
  EXPECT_EQ(this->texts(query), (std::vector<std::string>{"2", "3"}));
}

TYPED_TEST(StoreContract, ALineMayHoldAnything) {
  const std::string odd = "tab\t quote' \xF0\x9F\x8E\x89 100%_\n";
  this->apply(Batch().append({line(odd, 0s)}));
  EXPECT_EQ(this->texts({}), std::vector{odd});
}

TYPED_TEST(StoreContract, RestrictionsOfLinesAddUp) {
  auto a = line("hit", 1s), b = line("hit", 2s), c = line("miss", 3s);
  a.function = c.function = FunctionId{"fu-1"};
  b.function = FunctionId{"fu-2"};
  this->apply(Batch().append({a, b, c}));
  LogQuery query;
  query.app = AppId{"ap-1"};
  query.function = FunctionId{"fu-1"};
  query.text = "hit";
  EXPECT_EQ(this->texts(query).size(), 1u);
  query.since = kStart + 2s;
  EXPECT_TRUE(this->texts(query).empty());
}

TYPED_TEST(StoreContract, SequencesAreNotGivenTwice) {
  this->apply(Batch().append({line("a", 0s), line("b", 0s)}));
  const auto last = this->store->logs({}).value().back().sequence;
  ASSERT_TRUE(this->store->prune(kStart + 1h, kStart + 1h).ok());
  this->apply(Batch().append({line("c", 0s)}));
  EXPECT_GT(this->store->logs({}).value().back().sequence, last) << "a reader's cursor stays good";
}

TYPED_TEST(StoreContract, UsageIsFoundByKindAndFunction) {
  UsageRecord container, run;
  container.id = "ta-1";
  container.function = run.function = FunctionId{"fu-1"};
  run.id = "in-1";
  run.kind = UsageKind::input;
  this->apply(Batch().put(container).put(run));
  UsageQuery query;
  query.kind = UsageKind::input;
  EXPECT_EQ(this->store->usage(query).value(), std::vector{run});
  query.function = FunctionId{"fu-2"};
  EXPECT_TRUE(this->store->usage(query).value().empty());
}

TYPED_TEST(StoreContract, TheNewestUsageComesFirstWhenItIsAskedFor) {
  Batch batch;
  for (int i = 0; i < 5; ++i) {
    UsageRecord run;
    run.id = "in-" + std::to_string(i);
    run.kind = UsageKind::input;
    run.startedAt = kStart + std::chrono::seconds(i);
    run.endedAt = run.startedAt + 1s;
    run.call = CallId{"fc-1"};
    batch.put(run);
  }
  this->apply(batch);
  UsageQuery query;
  query.order = UsageQuery::Order::newest;
  query.limit = 2;
  const auto two = this->store->usage(query).value();
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].id, "in-4");
  EXPECT_EQ(two[1].call.value, "fc-1");
}

TYPED_TEST(StoreContract, ListsOfContainersAreCut) {
  Batch batch;
  for (int i = 0; i < 5; ++i) {
    Instance c;
    c.id = InstanceId{"ta-" + std::to_string(i)};
    c.wantedAt = kStart + std::chrono::seconds(i);
    batch.put(c);
  }
  this->apply(batch);
  const auto two = this->store->instances({}, false, 2).value();
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].id.value, "ta-4");
}

// What a power cut does, on a store whose disk obeys.
class Crash : public testing::Test {
 protected:
  std::unique_ptr<CrashingStore> store = openCrashingStore();
  void apply(const Batch& batch) { ASSERT_TRUE(store->apply(batch).ok()); }
};

TEST_F(Crash, ForgetsTheNewestChangesOnly) {
  apply(Batch().put(object("ap-1", "a")));
  apply(Batch().put(object("ap-2", "b")));
  apply(Batch().erase("app", "ap-1").put(object("ap-3", "a")));
  store->sync(2);
  EXPECT_EQ(store->durable(), 2u);
  store->crash();
  EXPECT_EQ(store->written(), 2u);
  EXPECT_EQ(store->find("app", "acme", "main", "a").value()->id, "ap-1");
  EXPECT_TRUE(store->get("app", "ap-2").value());
  EXPECT_FALSE(store->get("app", "ap-3").value());
}

TEST_F(Crash, PutsCallsInputsAndOutputsBackAsTheyWere) {
  apply(Batch().put(call("fc-1")).put(input("in-1", "fc-1", 0)));
  store->flush();
  const auto before = *store->call(CallId{"fc-1"}).value();
  auto changed = input("in-1", "fc-1", 0);
  changed.attempt = 3;
  apply(Batch().put(changed).put(input("in-2", "fc-1", 1)));
  apply(Batch().put(output("in-1", "fc-1", 1)).put(call("fc-2")).append({line("x", 0s)}));
  apply(Batch().put(input("in-9", "fc-9", 0)));
  apply(Batch().eraseCall(CallId{"fc-1"}));
  store->crash();
  EXPECT_EQ(*store->call(CallId{"fc-1"}).value(), before);
  EXPECT_FALSE(store->call(CallId{"fc-2"}).value());
  EXPECT_FALSE(store->call(CallId{"fc-9"}).value());
  EXPECT_TRUE(store->logs({}).value().empty());
}

TEST_F(Crash, AFullDiskRefusesAndChangesNothing) {
  store->fill(true);
  const auto refused = store->apply(Batch().put(object("ap-1", "a")));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::exhausted);
  EXPECT_EQ(store->written(), 0u);
  store->fill(false);
  apply(Batch().put(object("ap-1", "a")));
}

}  // namespace
}  // namespace gridiron
