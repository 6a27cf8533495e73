#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <future>
#include <mutex>

#include "model/codec.h"
#include "store/checkpointer.h"
#include "store/syncer.h"
#include "store/testing.h"

namespace gridiron {
namespace {

TEST(Syncer, ManyMarksShareASyncAndTheLastIsWaitedFor) {
  const TemporaryDirectory directory;
  const auto path = directory.path() + "/log";
  Syncer syncer(Fd(::open(path.c_str(), O_RDWR | O_CREAT, 0600)));
  for (Mark mark = 1; mark <= 1000; ++mark) syncer.wrote(mark);
  syncer.wait(1000);
  EXPECT_EQ(syncer.durable(), 1000u);
  EXPECT_LE(syncer.syncs(), 1000u);
}

TEST(Syncer, WhatNobodyWaitsForIsSyncedOnceWhenSomebodyDoes) {
  const TemporaryDirectory directory;
  const auto path = directory.path() + "/log";
  Syncer syncer(Fd(::open(path.c_str(), O_RDWR | O_CREAT, 0600)), std::chrono::hours(1));
  for (Mark mark = 1; mark <= 1000; ++mark) syncer.wrote(mark);
  EXPECT_EQ(syncer.durable(), 0u);
  syncer.wait(1000);
  EXPECT_EQ(syncer.syncs(), 1u);
}

TEST(Syncer, WhatNobodyWaitsForIsSyncedByItself) {
  const TemporaryDirectory directory;
  const auto path = directory.path() + "/log";
  std::promise<void> told;
  Syncer syncer(Fd(::open(path.c_str(), O_RDWR | O_CREAT, 0600)), std::chrono::milliseconds(1));
  syncer.onDurable([&] { told.set_value(); });
  syncer.wrote(1);
  told.get_future().wait();
  EXPECT_EQ(syncer.durable(), 1u);
}

TEST(SyncerDeath, ASyncThatFailsEndsTheProcessWithItsReason) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        int ends[2];
        GRID_CHECK(::pipe(ends) == 0);  // cannot be synced
        Syncer syncer{Fd(ends[0])};
        syncer.wrote(1);
        syncer.wait(1);
      },
      "cannot be brought to disk.*Invalid argument");
}

// No file of this process may grow beyond `bytes` while it lives: what a full disk does.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit now{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FullDisk() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST(SqliteStore, OnAFullDiskABatchIsRefusedAsAWholeAndTheNextOnesWork) {
  SqliteMaker maker;
  auto store = maker.make();
  auto big = object("ap-2", "big");
  big.body.assign(4 << 20, 'x');
  {
    FullDisk full(1 << 20);
    const auto refused = store->apply(Batch().put(object("ap-1", "small")).put(big));
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Code::exhausted) << refused.error().message;
  }
  EXPECT_FALSE(store->get("app", "ap-1").value());
  ASSERT_TRUE(store->apply(Batch().put(big)).ok());
  store.reset();
  EXPECT_TRUE(maker.make()->get("app", "ap-2").value());
}

TEST(SqliteStore, WhatWasAppliedIsThereAfterARestart) {
  SqliteMaker maker;
  auto store = maker.make();
  ASSERT_TRUE(store->apply(Batch().put(object("ap-1", "shop")).put(call("fc-1")).put(input("in-1", "fc-1", 0))).ok());
  store.reset();
  store = maker.make();
  EXPECT_EQ(store->find("app", "acme", "main", "shop").value()->id, "ap-1");
  EXPECT_EQ(store->unfinishedCalls().value().size(), 1u);
}

TEST(Checkpointer, ALogThatIsWrittenWithoutAPauseBeginsAnew) {
  const TemporaryDirectory directory;
  const auto path = directory.path() + "/some.db";
  auto db = std::move(Database::open(path)).value();
  Checkpointer copier(std::move(Database::open(path)).value(), {.enough = 10, .tooMany = 20});
  int before = 0, now = 0;
  db->onCommit([&](int pages) { copier.wrote(now = pages); });
  ASSERT_TRUE(db->execute("CREATE TABLE t (n INTEGER)").ok());
  int rows = 0;
  for (int rounds = 0; rounds < 3 && rows < 1'000'000; ++rows) {
    const std::lock_guard writing(copier.writing());
    ASSERT_TRUE(db->execute("INSERT INTO t VALUES (1)").ok());
    rounds += now < before;
    before = now;
  }
  EXPECT_LT(rows, 1'000'000);
  copier.wait();
  auto other = std::move(Database::open(path)).value();
  auto count = other->prepare("SELECT count(*) FROM t").value();
  ASSERT_TRUE(count.step().value());
  EXPECT_EQ(count.number(0), rows);
}

TEST(SqliteStore, WhatAKilledProcessHadWrittenIsThereThoughTheLogWasBeingCopied) {
  SqliteMaker maker;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const auto child = ::fork();
  if (child == 0) {  // writes and says how much until it is killed
    auto store = maker.make();
    (void)store->apply(Batch().put(call("fc-1")));
    for (int i = 0;; ++i) {
      auto one = input("in-" + std::to_string(i), "fc-1", i);
      one.args.data.assign(16'000, 'x');
      if (!store->apply(Batch().put(one)).ok() || ::write(ends[1], &i, sizeof i) != sizeof i) ::_exit(1);
    }
  }
  ::close(ends[1]);
  int written = 0;
  while (written < 1500 && ::read(ends[0], &written, sizeof written) == sizeof written) {
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  const auto stored = maker.make()->call(CallId{"fc-1"}).value();
  ASSERT_TRUE(stored);
  EXPECT_GT(std::ssize(stored->inputs), written);
  for (std::size_t i = 0; i < stored->inputs.size(); ++i) EXPECT_EQ(stored->inputs[i].index, static_cast<int>(i));
}

// Makes the database's tables of calls what the first two schemas had, with a call of a settled and a waiting input.
void goBack(sqlite3* raw, int version) {
  std::string sql =
      "DROP TABLE inputs; DROP TABLE outputs; DROP TABLE open_inputs; DROP TABLE erased_calls;"
      "DROP INDEX calls_by_function; ALTER TABLE calls DROP COLUMN function;"
      "CREATE INDEX calls_by_time ON calls (created);"
      "CREATE TABLE inputs (id TEXT NOT NULL PRIMARY KEY, call TEXT NOT NULL, position INTEGER NOT NULL, "
      "state INTEGER NOT NULL, body BLOB NOT NULL);"
      "CREATE INDEX inputs_by_call ON inputs (call, position);"
      "CREATE INDEX inputs_unsettled ON inputs (call) WHERE state <> 4;"
      "CREATE TABLE outputs (call TEXT NOT NULL, sequence INTEGER NOT NULL, input TEXT NOT NULL UNIQUE, "
      "body BLOB NOT NULL, PRIMARY KEY (call, sequence));";
  if (version == 1) sql += "DROP INDEX calls_by_parent; ALTER TABLE calls DROP COLUMN parent;";
  sql += fmt::format("PRAGMA user_version = {}", version);
  ASSERT_EQ(sqlite3_exec(raw, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(raw);
  const auto insert = [&](const char* row, const std::string& body) {
    sqlite3_stmt* statement = nullptr;
    ASSERT_EQ(sqlite3_prepare_v2(raw, row, -1, &statement, nullptr), SQLITE_OK) << sqlite3_errmsg(raw);
    sqlite3_bind_blob(statement, 1, body.data(), static_cast<int>(body.size()), SQLITE_STATIC);
    EXPECT_EQ(sqlite3_step(statement), SQLITE_DONE) << sqlite3_errmsg(raw);
    sqlite3_finalize(statement);
  };
  insert("INSERT INTO calls (id, created, body) VALUES ('fc-1', 1, ?)", encode(call("fc-1")));
  insert("INSERT INTO inputs VALUES ('in-b', 'fc-1', 1, 1, ?)", encode(input("in-b", "fc-1", 1)));
  insert("INSERT INTO inputs VALUES ('in-a', 'fc-1', 0, 4, ?)", encode(input("in-a", "fc-1", 0)));
  insert("INSERT INTO outputs VALUES ('fc-1', 1, 'in-a', ?)", encode(output("in-a", "fc-1", 1)));
}

class OlderSchema : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(SqliteStore, OlderSchema, testing::Values(1, 2));

TEST_P(OlderSchema, IsBroughtUpToDateWithWhatItHolds) {
  SqliteMaker maker;
  maker.make();
  const auto path = maker.directory + "/data/grid.db";
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &raw), SQLITE_OK);
  goBack(raw, GetParam());
  sqlite3_close(raw);
  const auto store = maker.make();
  const auto stored = store->call(CallId{"fc-1"}).value();
  ASSERT_TRUE(stored);
  ASSERT_EQ(stored->inputs.size(), 2u);
  EXPECT_EQ(stored->inputs[0].state, InputState::settled);
  EXPECT_EQ(stored->inputs[1], input("in-b", "fc-1", 1));
  EXPECT_EQ(stored->outputs, std::vector{output("in-a", "fc-1", 1)});
  EXPECT_EQ(store->unfinishedCalls().value(), std::vector{CallId{"fc-1"}});
  auto child = call("fc-2");
  child.parent = InputId{"in-b"};
  ASSERT_TRUE(store->apply(Batch().put(child)).ok());
  EXPECT_EQ(store->callsBy(child.parent).value(), std::vector{child.id});
}

TEST(SqliteStore, AFileOfANewerProgramIsRefused) {
  SqliteMaker maker;
  maker.make();
  sqlite3* raw = nullptr;
  const auto path = maker.directory + "/data/grid.db";
  ASSERT_EQ(sqlite3_open(path.c_str(), &raw), SQLITE_OK);
  sqlite3_exec(raw, "PRAGMA user_version = 99", nullptr, nullptr, nullptr);
  sqlite3_close(raw);
  const auto store = openSqliteStore(path);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, Code::failedPrecondition);
}

TEST(SqliteStore, AFileThatIsNoDatabaseIsAnErrorThatNamesIt) {
  SqliteMaker maker;
  const auto path = maker.directory + "/junk.db";
  FILE* file = fopen(path.c_str(), "w");
  fputs(std::string(4096, 'x').c_str(), file);
  fclose(file);
  const auto store = openSqliteStore(path);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, Code::dataLoss);
  EXPECT_NE(store.error().message.find(path), std::string::npos);
}

TEST(SqliteStore, ADirectoryThatCannotBeMadeIsAnError) { EXPECT_FALSE(openSqliteStore("/proc/none/grid.db").ok()); }

}  // namespace
}  // namespace gridiron
