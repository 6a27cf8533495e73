#include "edge/http/followed.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/testing.h"
#include "edge/http/trace_context.h"
#include "net/testing.h"

namespace gridiron::edge {
namespace {

using net::PlayedExchange;
using nlohmann::json;
using ::testing::HasSubstr;

class FollowedTest : public testing::Test {
 protected:
  FollowedTest() {
    exchange_->asked.method = "POST";
    exchange_->asked.scheme = "https";
    exchange_->asked.authority = "you--paid.localhost";
    exchange_->asked.target = "/a\"\xc3\xa9?token=secret";
    exchange_->asked.peerHost = "192.0.2.1";
    exchange_->asked.headers.add("user-agent", "curl/8\n");
    function_.environment = "main";
    function_.app = AppId{"ap-1"};
    auto opened = AccessLog::open(path_);
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    log_ = std::move(*opened);
    book_ = std::make_unique<RequestBook>(clock_, log_.get(), [](const AppId&) { return "shop"; });
  }
  template <class Story>
  void run(Story story) {
    spawn(io_, story());
    io_.run();
    io_.restart();
  }
  std::vector<json> lines() {
    log_.reset();
    std::vector<json> all;
    std::istringstream text(readFile(path_).value());
    for (std::string line; std::getline(text, line);) all.push_back(json::parse(line));
    return all;
  }

  const TemporaryDirectory folder_;
  const std::string path_ = folder_.path() + "/access.log";
  FakeClock clock_;
  asio::io_context io_;
  std::unique_ptr<AccessLog> log_;
  std::unique_ptr<RequestBook> book_;
  std::shared_ptr<PlayedExchange> exchange_ = std::make_shared<PlayedExchange>();
  Function function_;
};

TEST_F(FollowedTest, ARequestIsOneLineOnceItsAnswerIsComplete) {
  exchange_->pieces = {"hello", "!"};
  auto followed = book_->follow(exchange_);
  followed->isFor(function_, "paid");
  followed->facts().call = "fc-1";
  followed->atTheEnd([](RequestFacts& facts) {
    facts.phases = {{"queue", std::chrono::microseconds(1500)}, {"run", std::chrono::milliseconds(20)}};
  });
  run([&]() -> Task<void> {
    while ((co_await followed->read()).value()) {
    }
    clock_.advance(std::chrono::milliseconds(20));
    (void)co_await followed->respond(201, {}, false);
    clock_.advance(std::chrono::milliseconds(10));
    (void)co_await followed->write("0123456789");
    (void)co_await followed->finish({});
    clock_.advance(std::chrono::hours(1));  // what the app does in the background
    followed->end();
  });
  const auto all = lines();
  ASSERT_EQ(all.size(), 1u);
  const json expected = {{"time", 1'700'000'000.0},
                         {"client", "192.0.2.1"},
                         {"protocol", "HTTP/1.1"},
                         {"scheme", "https"},
                         {"method", "POST"},
                         {"host", "you--paid.localhost"},
                         {"path", "/a\"\u00c3\u00a9"},
                         {"status", 201},
                         {"complete", true},
                         {"bytes_in", 6},
                         {"bytes_out", 10},
                         {"ms", 30.0},
                         {"head_ms", 20.0},
                         {"phases", {{"queue", 1.5}, {"run", 20.0}}},
                         {"environment", "main"},
                         {"app", "shop"},
                         {"function", "paid"},
                         {"call", "fc-1"},
                         {"user_agent", "curl/8\n"}};
  EXPECT_EQ(all[0], expected) << all[0].dump(1);
  const RequestCounts& counts = book_->counts().at({"main", "shop", "paid"});
  EXPECT_EQ(counts.byStatus.at(201), 1u);
  EXPECT_EQ(counts.bytesOut, 10u);
  EXPECT_EQ(counts.took[3], 1u) << "between 25 and 50 ms";
}

TEST_F(FollowedTest, APeerThatLeavesBeforeItsAnswerIsA499AndOneThatLeavesInItIsIncomplete) {
  book_->follow(exchange_).reset();
  run([&]() -> Task<void> {
    auto followed = book_->follow(exchange_);
    (void)co_await followed->respond(200, {}, false);
  });
  const auto all = lines();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["status"], 499);
  EXPECT_EQ(all[1]["status"], 200);
  EXPECT_EQ(all[1]["complete"], false);
}

TEST_F(FollowedTest, WhatAPeerSaysIsCutToALength) {
  exchange_->asked.target = "/" + std::string(100'000, 'x');
  book_->follow(exchange_).reset();
  EXPECT_EQ(lines().at(0)["path"].get<std::string>().size(), 1024u);
}

TEST_F(FollowedTest, RotationLosesNothing) {
  for (int i = 0; i < 1000; ++i) {
    if (i == 500) {
      ASSERT_EQ(::rename(path_.c_str(), (path_ + ".1").c_str()), 0);
      log_->reopen();
    }
    book_->follow(exchange_).reset();
  }
  const std::size_t fresh = lines().size();
  std::istringstream old(readFile(path_ + ".1").value());
  std::size_t rotated = 0;
  for (std::string line; std::getline(old, line);) rotated += json::parse(line).is_object() ? 1 : 0;
  EXPECT_EQ(fresh + rotated, 1000u);
  EXPECT_GT(rotated, 0u);
}

TEST_F(FollowedTest, NobodyWaitsForAReaderThatDoesNotReadAndWhatWasDroppedIsTold) {
  const std::string pipe = folder_.path() + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const Fd reader(::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  auto opened = AccessLog::open(pipe, 10'000);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  log_ = std::move(*opened);
  const std::string line = json({{"x", std::string(90, 'x')}}).dump();
  for (int i = 0; i < 20'000; ++i) log_->write(line);  // two megabytes, a pipe holds 64 KiB
  std::string got;
  const auto take = [&] {
    std::string some(64 * 1024, '\0');
    while (true) {
      const ssize_t n = ::read(reader.get(), some.data(), some.size());
      if (n <= 0) return n == 0;
      got.append(some, 0, static_cast<std::size_t>(n));
    }
  };
  std::thread ender([&] { log_.reset(); });
  while (!take()) ::usleep(1000);
  ender.join();
  std::istringstream text(got);
  std::size_t written = 0, dropped = 0;
  for (std::string one; std::getline(text, one);) {
    const json parsed = json::parse(one);
    written += parsed.contains("x") ? 1 : 0;
    dropped += parsed.value("dropped", 0u);
  }
  EXPECT_EQ(written + dropped, 20'000u);
  EXPECT_GT(dropped, 10'000u);
}

TEST(TraceContext, AGoodOneIsKeptAndAnyOtherIsReplaced) {
  const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
  EXPECT_TRUE(isTraceparent(good));
  EXPECT_TRUE(isTraceparent("cc" + good.substr(2) + "-later"));
  const std::vector<std::string> others = {"",
                                           good.substr(1),
                                           good + "-x",
                                           "ff" + good.substr(2),
                                           "00-" + std::string(32, '0') + good.substr(35),
                                           good.substr(0, 36) + std::string(16, '0') + "-01",
                                           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-00"};
  for (const std::string& bad : others) EXPECT_FALSE(isTraceparent(bad)) << bad;
  wire::HeaderList headers = {{"traceparent", good}, {"tracestate", "a=1"}};
  EXPECT_EQ(traceInto(headers), good);
  EXPECT_EQ(headers.size(), 2u);
  headers = {{"traceparent", "junk"}, {"tracestate", "a=1"}};
  const std::string made = traceInto(headers);
  EXPECT_TRUE(isTraceparent(made)) << made;
  EXPECT_EQ(headers, (wire::HeaderList{{"traceparent", made}}));
  EXPECT_NE(newTraceparent(), newTraceparent());
}

}  // namespace
}  // namespace gridiron::edge
