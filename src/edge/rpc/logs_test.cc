#include "edge/rpc/logs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "edge/http/test_grid.h"

namespace gridiron::edge::test {
namespace {

using ::testing::ElementsAre;

struct Followed {
  std::vector<std::string> lines;
  std::string cursor;
  bool appDone = false, ended = false;
};

Task<void> follow(std::shared_ptr<Container> client, AppId app, std::string after, float timeout,
                  std::shared_ptr<Followed> out) {
  api::AppGetLogsRequest request;
  request.set_app_id(app.str());
  request.set_timeout(timeout);
  request.set_last_entry_id(after);
  auto stream = co_await client->stream("AppGetLogs", request);
  for (;;) {
    Result<std::optional<std::string>> message = co_await stream->read();
    if (!message.ok() || !message->has_value()) break;
    api::TaskLogsBatch batch;
    EXPECT_TRUE(batch.ParseFromString(**message));
    for (const auto& item : batch.items()) {
      if (!item.data().empty()) out->lines.push_back(item.data());
    }
    if (!batch.entry_id().empty()) out->cursor = batch.entry_id();
    out->appDone = out->appDone || batch.app_done();
  }
  out->ended = true;
}

class LogRpcs : public ::testing::Test {
 protected:
  void print(const std::string& text, LogSource source = LogSource::stdoutLine) {
    std::vector<LogEntry> entries(1);
    entries[0].app = grid.app.id;
    entries[0].text = text;
    entries[0].source = source;
    grid.hub.append(std::move(entries));
  }
  std::shared_ptr<Followed> follow(float timeout, const std::string& after = "") {
    auto out = std::make_shared<Followed>();
    spawn(grid.io, test::follow(client, grid.app.id, after, timeout, out));
    return out;
  }
  Grid grid;
  std::shared_ptr<Container> client = std::make_shared<Container>(grid.io, grid.url());
};

TEST_F(LogRpcs, AFollowerGetsLinesAsTheyComeAndTheEndOfTheApp) {
  auto out = follow(50);
  print("one\n");
  grid.runUntil([&] { return out->lines.size() == 1; }, "the first line came");
  print("two\n");
  grid.runUntil([&] { return out->lines.size() == 2; }, "the second line came");
  EXPECT_FALSE(out->appDone);
  grid.app.state = AppState::stopped;
  grid.wakes.ring(Wake::logs(grid.app.id));
  grid.runUntil([&] { return out->ended; }, "the stream ended");
  EXPECT_TRUE(out->appDone);
  EXPECT_THAT(out->lines, ElementsAre("one\n", "two\n"));
}

TEST_F(LogRpcs, AReaderGoesOnBehindTheLastLineItHad) {
  print("one\n");
  auto first = follow(0);
  grid.runUntil([&] { return first->ended; }, "a stream without time ends");
  EXPECT_THAT(first->lines, ElementsAre("one\n"));
  print("two\n");
  auto second = follow(0, first->cursor);
  grid.runUntil([&] { return second->ended; }, "the second stream ended");
  EXPECT_THAT(second->lines, ElementsAre("two\n"));
}

Task<void> countAndFetch(std::shared_ptr<Container> client, AppId app, std::vector<std::string>* fetched,
                         std::vector<std::uint64_t>* counts, bool* done) {
  api::AppFetchLogsRequest fetch;
  fetch.set_app_id(app.str());
  fetch.set_limit(2);
  auto got = co_await client->ask<api::AppFetchLogsResponse>("AppFetchLogs", fetch);
  for (const auto& batch : got.batches()) {
    for (const auto& item : batch.items()) fetched->push_back(item.data());
  }
  api::AppCountLogsRequest count;
  count.set_app_id(app.str());
  count.set_bucket_secs(86400);
  auto counted = co_await client->ask<api::AppCountLogsResponse>("AppCountLogs", count);
  *counts = {0, 0};
  for (const auto& bucket : counted.buckets()) {
    (*counts)[0] += bucket.stdout_logs();
    (*counts)[1] += bucket.stderr_logs();
  }
  *done = true;
}

TEST_F(LogRpcs, FetchingGivesTheNewestLinesAndCountingAllOfThem) {
  print("a\n");
  print("b\n", LogSource::stderrLine);
  print("c\n");
  std::vector<std::string> fetched;
  std::vector<std::uint64_t> counts;
  bool done = false;
  spawn(grid.io, countAndFetch(client, grid.app.id, &fetched, &counts, &done));
  grid.runUntil([&] { return done; }, "both answered");
  EXPECT_THAT(fetched, ElementsAre("b\n", "c\n"));
  EXPECT_THAT(counts, ElementsAre(2u, 1u));
}

TEST_F(LogRpcs, BuildOutputAppearsInTheLogsOfTheAppThatWantsTheImage) {
  grid.hub.buildingFor(ImageId{"im-1"}, grid.app.id);
  link::LogLines lines;
  lines.set_image_id("im-1");
  lines.add_lines()->set_data("=> Step 0\n");
  grid.hub.append(lines);
  auto out = follow(0);
  grid.runUntil([&] { return out->ended; }, "the stream ended");
  EXPECT_THAT(out->lines, ElementsAre("=> Step 0\n"));
}

TEST_F(LogRpcs, ALineBelongsToTheInputThatRanWhenItWasPrinted) {
  const Time start = grid.clock.now();
  const auto at = [&](int milliseconds) { return start + std::chrono::milliseconds(milliseconds); };
  const auto run = [&](const std::string& name, int from) {
    Input input;
    input.id = InputId{"in-" + name};
    input.call = CallId{"fc-" + name};
    input.instance = InstanceId{"ta-1"};
    input.startedAt = at(from);
    grid.hub.inputStarted(input);
    return input;
  };
  const auto end = [&](const Input& input) { grid.hub.inputEnded(input, {}, true); };
  end(run("past", -1000));  // ends now
  run("a", 60'000);
  run("b", 70'000);
  link::LogLines lines;
  lines.set_task_id("ta-1");
  const auto print = [&](const std::string& text, int when) {
    link::LogLine& line = *lines.add_lines();
    line.set_data(text);
    line.set_at_unix_nanos(at(when).time_since_epoch().count());
  };
  print("as it ran", -500);
  print("just after", 100);
  print("long after", 50'000);
  print("alone again", 65'000);
  print("two of them", 71'000);
  grid.hub.append(lines);
  ASSERT_TRUE(grid.hub.flush().ok());
  std::vector<std::string> owners;
  LogQuery query;
  query.instance = InstanceId{"ta-1"};
  Result<std::vector<LogEntry>> entries = grid.store->logs(query);
  ASSERT_TRUE(entries.ok());
  for (const LogEntry& entry : *entries) owners.push_back(entry.text + ": " + entry.call.str());
  EXPECT_THAT(owners, ElementsAre("as it ran: fc-past", "just after: fc-past", "long after: ", "alone again: fc-a",
                                  "two of them: "));
}

}  // namespace
}  // namespace gridiron::edge::test
