#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing.h"
#include "catalog/dicts.h"
#include "catalog/queues.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Values = std::vector<std::string>;

// Queues and dicts on a store in a file, which can be opened again as after a kill -9 of the process.
class Collections : public testing::Test {
 protected:
  Collections() { reopen(); }

  void reopen() {
    queues.reset();
    dicts.reset();
    store.reset();
    store = *openSqliteStore(directory + "/grid.db");
    queues.emplace(*store, clock, "acme", limits);
    dicts.emplace(*store, clock, "acme");
    ASSERT_TRUE(queues->load().ok());
    ASSERT_TRUE(dicts->load().ok());
  }
  QueueId newQueue(const std::string& name) {
    return QueueId{queues->book().create("main", name, IfExists::fail, "ann")->id};
  }
  DictId newDict(const std::string& name) {
    return DictId{dicts->book().create("main", name, IfExists::fail, "ann")->id};
  }
  void put(const QueueId& queue, const std::string& partition, const Values& values, Nanos ttl = 0s) {
    const auto done = queues->put(queue, partition, values, ttl);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  std::size_t stored(const std::string& kind) {
    ObjectQuery query;
    query.kind = kind;
    return store->list(query).value().size();
  }

  const TemporaryDirectory folder;
  const std::string& directory = folder.path();
  FakeClock clock;
  Queues::Limits limits;
  std::unique_ptr<Store> store;
  std::optional<Queues> queues;
  std::optional<Dicts> dicts;
};

TEST_F(Collections, AQueueGivesItsItemsInOrderAndEachPartitionItsOwn) {
  const QueueId queue = newQueue("jobs");
  put(queue, "", {"a", "b"});
  put(queue, "red", {"r"});
  put(queue, "", {"c"});
  EXPECT_EQ(queues->take(queue, "", 2).value(), (Values{"a", "b"}));
  EXPECT_EQ(queues->take(queue, "", 5).value(), (Values{"c"}));
  EXPECT_THAT(queues->take(queue, "", 5).value(), IsEmpty());
  EXPECT_EQ(queues->size(queue)->partitions, 1u);
  EXPECT_EQ(queues->take(queue, "red", 1).value(), (Values{"r"}));
}

TEST_F(Collections, WhatWasPutAndNotTakenIsThereAfterARestart) {
  const QueueId queue = newQueue("jobs");
  put(queue, std::string("k\0/x", 4), {"a", "b", std::string("\0c", 2)});
  ASSERT_TRUE(queues->take(queue, std::string("k\0/x", 4), 1).ok());
  reopen();
  EXPECT_EQ(queues->book().find("main", "jobs")->id, queue.str());
  EXPECT_EQ(queues->length(queue, std::string("k\0/x", 4)).value(), 2u);
  put(queue, std::string("k\0/x", 4), {"d"});
  EXPECT_EQ(queues->take(queue, std::string("k\0/x", 4), 9).value(), (Values{"b", std::string("\0c", 2), "d"}));
  EXPECT_EQ(stored("queue_item") + stored("queue_partition"), 0u);
}

TEST_F(Collections, WhoAsksAgainGetsWhatItTookAlsoAfterARestart) {
  const QueueId queue = newQueue("jobs");
  put(queue, "", {"a", std::string("\0 1", 3), "c"});
  const Values took = {"a", std::string("\0 1", 3)};
  EXPECT_EQ(queues->take(queue, "", 2, "client|key").value(), took);
  reopen();
  EXPECT_EQ(queues->take(queue, "", 2, "client|key").value(), took) << "its answer was lost with the process";
  clock.advance(9min);
  queues->expire();
  EXPECT_EQ(queues->take(queue, "", 2, "client|key").value(), took);
  clock.advance(2min);
  queues->expire();
  EXPECT_EQ(stored("queue_taken"), 0u);
  EXPECT_EQ(queues->take(queue, "", 2, "client|key").value(), Values{"c"});
}

TEST_F(Collections, APartitionEndsADayAfterItsLastPutOrWhenThatPutSays) {
  const QueueId queue = newQueue("jobs");
  put(queue, "", {"a"});
  put(queue, "short", {"s"}, 10s);
  clock.advance(10s);
  EXPECT_EQ(queues->length(queue, "short").value(), 0u);
  clock.advance(23h);
  put(queue, "", {"b"});
  clock.advance(23h);
  reopen();
  EXPECT_EQ(queues->length(queue, "").value(), 2u);
  clock.advance(1h);
  queues->expire();
  EXPECT_EQ(queues->size(queue)->items, 0u);
  EXPECT_EQ(stored("queue_item") + stored("queue_partition"), 0u);
}

TEST_F(Collections, LookingThroughAQueueTakesNothingAndGoesOnBehindWhatWasSeen) {
  const QueueId queue = newQueue("jobs");
  Values many(250, "v");
  put(queue, "", many);
  std::string last;
  std::size_t seen = 0;
  for (auto items = queues->peek(queue, "", last).value(); !items.empty();
       items = queues->peek(queue, "", last).value()) {
    seen += items.size();
    last = items.back().entry;
  }
  EXPECT_EQ(seen, 250u);
  EXPECT_EQ(queues->length(queue, "").value(), 250u);
  ASSERT_TRUE(queues->clear(queue, "").ok());
  clock.advance(1s);
  reopen();
  put(queue, "", {"new"});
  const auto behind = queues->peek(queue, "", last).value();
  ASSERT_EQ(behind.size(), 1u) << "an entry's place is never given again";
}

TEST_F(Collections, AFullPartitionIsExhaustedAndWhatNeverFitsIsInvalid) {
  limits = {.itemBytes = 10, .partitionItems = 3, .partitionBytes = 25, .partitions = 2, .keyBytes = 4};
  reopen();
  const QueueId queue = newQueue("jobs");
  put(queue, "a", {"1", "2"});
  EXPECT_EQ(queues->put(queue, "a", {"3", "4"}, 0s).error().code, Code::exhausted);
  EXPECT_EQ(queues->length(queue, "a").value(), 2u) << "all or none";
  put(queue, "a", {"3"});
  EXPECT_EQ(queues->put(queue, "a", {"4"}, 0s).error().code, Code::exhausted);
  EXPECT_THAT(queues->put(queue, "b", {"12345678901"}, 0s).error().message, HasSubstr("status = '413'"));
  EXPECT_EQ(queues->put(queue, "b", {"1", "2", "3", "4"}, 0s).error().code, Code::invalidArgument);
  EXPECT_EQ(queues->put(queue, "long!", {"1"}, 0s).error().code, Code::invalidArgument);
  put(queue, "b", {"1234567890", "1234567890"});
  EXPECT_EQ(queues->put(queue, "b", {"123456"}, 0s).error().code, Code::exhausted) << "25 bytes in all";
  EXPECT_EQ(queues->put(queue, "c", {"1"}, 0s).error().code, Code::exhausted) << "two partitions";
  ASSERT_TRUE(queues->take(queue, "a", 3).ok());
  put(queue, "c", {"1"});
}

TEST_F(Collections, AnErasedQueueLeavesNothing) {
  const QueueId queue = newQueue("jobs");
  put(queue, "", {"a"});
  ASSERT_TRUE(queues->erase(queue).ok());
  EXPECT_EQ(queues->put(queue, "", {"b"}, 0s).error().code, Code::notFound);
  EXPECT_EQ(stored("queue") + stored("queue_item") + stored("queue_partition"), 0u);
  EXPECT_NE(newQueue("jobs"), queue);
}

TEST_F(Collections, AnEphemeralQueueLivesAsLongAsItsClientBeats) {
  const QueueId queue{queues->book().ephemeral("main", "ann")->id};
  put(queue, "", {"a"});
  clock.advance(10min);
  ASSERT_TRUE(queues->book().heartbeat(queue.str()).ok());
  clock.advance(10min);
  queues->expire();
  EXPECT_EQ(queues->length(queue, "").value(), 1u);
  EXPECT_THAT(queues->book().list("main"), IsEmpty());
  clock.advance(6min);
  queues->expire();
  EXPECT_EQ(queues->length(queue, "").error().code, Code::notFound);
  EXPECT_EQ(stored("queue") + stored("queue_item"), 0u);
}

TEST_F(Collections, NamesAreOfAnEnvironmentAndAMisspeltOneIsGuessed) {
  newQueue("jobs");
  EXPECT_EQ(queues->book().create("main", "jobs", IfExists::fail, "bob").error().code, Code::alreadyExists);
  EXPECT_EQ(queues->book().create("main", "jobs", IfExists::keep, "bob")->createdBy, "ann");
  EXPECT_TRUE(queues->book().create("dev", "jobs", IfExists::fail, "bob").ok());
  EXPECT_THAT(queues->book().find("main", "jbos").error().message, HasSubstr("jobs"));
  EXPECT_EQ(queues->book().create("main", "no/slash", IfExists::keep, "bob").error().code, Code::invalidArgument);
}

TEST_F(Collections, ADictKeepsWhatItWasGivenOverARestart) {
  const DictId dict = newDict("scores");
  EXPECT_EQ(dicts->update(dict, {{"a", "1"}, {"b", "2"}, {std::string("\0:", 2), ""}}, IfExists::replace).value(), 3u);
  EXPECT_EQ(dicts->update(dict, {{"a", "9"}, {"c", "3"}}, IfExists::keep).value(), 1u);
  EXPECT_EQ(dicts->update(dict, {{"b", "22"}}, IfExists::replace).value(), 0u);
  EXPECT_EQ(dicts->pop(dict, "c").value(), "3");
  reopen();
  EXPECT_EQ(dicts->get(dict, "a").value(), "1");
  EXPECT_EQ(dicts->get(dict, "b").value(), "22");
  EXPECT_EQ(dicts->get(dict, std::string("\0:", 2)).value(), "");
  EXPECT_EQ(dicts->get(dict, "c").value(), std::nullopt);
  EXPECT_THAT(dicts->keys(dict).value(), ElementsAre("a", "b", std::string("\0:", 2)));
  ASSERT_TRUE(dicts->clear(dict).ok());
  EXPECT_EQ(stored("dict_entry"), 0u);
}

TEST_F(Collections, OneUpdateWithAKeyTwiceKeepsTheLast) {
  const DictId dict = newDict("scores");
  EXPECT_EQ(dicts->update(dict, {{"a", "1"}, {"a", "2"}}, IfExists::replace).value(), 1u);
  EXPECT_EQ(dicts->get(dict, "a").value(), "2");
  EXPECT_EQ(stored("dict_entry"), 1u);
}

TEST_F(Collections, AnEntryGoesSevenDaysAfterItsLastUse) {
  const DictId dict = newDict("scores");
  ASSERT_TRUE(dicts->update(dict, {{"read", "1"}, {"left", "2"}}, IfExists::replace).ok());
  clock.advance(24h * 5);
  EXPECT_TRUE(dicts->contains(dict, "read").value());
  clock.advance(24h * 3);
  reopen();  // the read is remembered
  EXPECT_EQ(dicts->length(dict).value(), 1u);
  EXPECT_EQ(dicts->get(dict, "read").value(), "1");
  EXPECT_EQ(dicts->get(dict, "left").value(), std::nullopt);
  dicts->expire();
  EXPECT_EQ(stored("dict_entry"), 1u);
}

TEST_F(Collections, ADictSaysWhatIsTooLargeInTheClientsWords) {
  const DictId dict = newDict("scores");
  const std::vector<DictEntry> many(10'001, {"k", "v"});
  EXPECT_THAT(dicts->update(dict, many, IfExists::replace).error().message, HasSubstr("status = '413'"));
  ASSERT_TRUE(dicts->erase(dict).ok());
  EXPECT_EQ(dicts->get(dict, "k").error().code, Code::notFound);
}

}  // namespace
}  // namespace gridiron
