#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/post.hpp>

#include "base/testing.h"
#include "net/door.h"
#include "net/grpc.h"
#include "net/grpc_frames.h"

namespace gridiron::net {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// A door, a channel to it, and a loop that runs until a story is told.
class Grpc : public ::testing::Test {
 protected:
  using Handler = std::function<Task<void>(GrpcServerCall)>;

  void serve(Handler handler, DoorOptions options = {}) {
    door_ = std::make_unique<Door>(io_, options, [handler](std::shared_ptr<Exchange> exchange) -> Task<void> {
      return handler(GrpcServerCall(std::move(exchange)));
    });
    auto address = door_->listen("127.0.0.1:0");
    ASSERT_TRUE(address.ok()) << address.error().message;
    address_ = *address;
    channel_ = std::make_unique<GrpcChannel>(io_, "http://" + address_);
  }

  // Runs the loop until `story` has ended.
  void tell(Task<void> story) {
    bool told = false;
    spawn(io_, mark(std::move(story), &told));
    const auto limit = std::chrono::steady_clock::now() + 60s;
    while (!told && std::chrono::steady_clock::now() < limit) io_.run_one_for(1s);
    EXPECT_TRUE(told) << "the story did not end";
  }
  void runUntil(const bool& condition) {
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (!condition && std::chrono::steady_clock::now() < limit) io_.run_one_for(100ms);
    EXPECT_TRUE(condition);
  }

  void TearDown() override {
    channel_.reset();
    door_.reset();
    io_.run_for(50ms);
  }

  asio::io_context io_;
  std::unique_ptr<Door> door_;
  std::unique_ptr<GrpcChannel> channel_;
  std::string address_;

 private:
  static Task<void> mark(Task<void> story, bool* told) {
    co_await std::move(story);
    *told = true;
  }
};

Task<void> echoUnary(GrpcServerCall call) {
  auto message = co_await call.read();
  if (!message.ok() || !message->has_value()) co_return;
  (void)co_await call.finish({}, std::move(**message));
}

Task<void> expectUnary(GrpcChannel* channel, std::string message, std::string wanted) {
  Headers metadata;
  metadata.add("x-test", "1");
  auto answer = co_await channel->unary("/test.Echo/Say", std::move(metadata), std::move(message), 20s);
  EXPECT_TRUE(answer.ok()) << answer.error().message;
  const bool same = answer.ok() && *answer == wanted;
  EXPECT_TRUE(same) << "not the answer that was wanted";
}

TEST_F(Grpc, AUnaryCallIsAnswered) {
  serve(echoUnary);
  tell(expectUnary(channel_.get(), "hello", "hello"));
  tell(expectUnary(channel_.get(), "", ""));
}

TEST_F(Grpc, TwentyMegabytesGoUpAndComeBack) {
  serve(echoUnary);
  std::string big(20 * 1000 * 1000, 'x');
  for (std::size_t i = 0; i < big.size(); i += 997) big[i] = static_cast<char>(i);
  tell(expectUnary(channel_.get(), big, big));
}

TEST_F(Grpc, AHundredCallsShareOneConnection) {
  serve(echoUnary);
  int done = 0;
  bool all = false;
  for (int i = 0; i < 100; ++i) {
    spawn(io_, [](GrpcChannel* channel, int n, int* count, bool* finished) -> Task<void> {
      const std::string text = "call " + std::to_string(n);
      co_await expectUnary(channel, text, text);
      if (++*count == 100) *finished = true;
    }(channel_.get(), i, &done, &all));
  }
  runUntil(all);
  EXPECT_EQ(door_->connections(), 1u);
}

TEST_F(Grpc, AFailureArrivesWithItsTextAndItsBackOff) {
  serve([](GrpcServerCall call) -> Task<void> {
    GrpcStatus status(Error{Code::exhausted, "50% of “Käse”\nis gone"});
    status.retryAfter = 1500ms;
    status.warnings = {"old client: 1.0 → 1.6"};
    (void)co_await call.finish(std::move(status));
  });
  tell([](GrpcChannel* channel) -> Task<void> {
    auto call = co_await channel->open("/test.Echo/Fail", {}, 10s);
    EXPECT_TRUE(call.ok());
    (void)co_await (*call)->writesDone();
    auto message = co_await (*call)->read();
    EXPECT_TRUE(message.ok() && !message->has_value());
    const GrpcStatus& status = (*call)->status();
    EXPECT_EQ(status.code, Code::exhausted);
    EXPECT_EQ(status.message, "50% of “Käse”\nis gone");
    EXPECT_TRUE(status.retryAfter == Nanos(1500ms));
    EXPECT_EQ(status.warnings, std::vector<std::string>{"old client: 1.0 → 1.6"});
    EXPECT_EQ((*call)->trailers().find("grpc-message"), "50%25 of %E2%80%9CK%C3%A4se%E2%80%9D%0Ais gone");
  }(channel_.get()));
}

TEST_F(Grpc, AServerStreamArrivesMessageByMessageAndThenItsStatus) {
  serve([](GrpcServerCall call) -> Task<void> {
    auto request = co_await call.read();
    for (int i = 0; i < 5; ++i) (void)co_await call.write("item " + std::to_string(i));
    (void)co_await call.finish({});
  });
  tell([](GrpcChannel* channel) -> Task<void> {
    auto call = co_await channel->open("/test.Echo/List", {}, std::nullopt);
    (void)co_await (*call)->write("please");
    (void)co_await (*call)->writesDone();
    std::vector<std::string> got;
    for (;;) {
      auto message = co_await (*call)->read();
      EXPECT_TRUE(message.ok());
      if (!message.ok() || !message->has_value()) break;
      got.push_back(**message);
    }
    EXPECT_EQ(got, (std::vector<std::string>{"item 0", "item 1", "item 2", "item 3", "item 4"}));
    EXPECT_EQ((*call)->status().code, Code::ok);
  }(channel_.get()));
}

TEST_F(Grpc, BothSidesTalkInTurns) {
  serve([](GrpcServerCall call) -> Task<void> {
    for (;;) {
      auto message = co_await call.read();
      if (!message.ok() || !message->has_value()) break;
      (void)co_await call.write("re: " + **message);
    }
    (void)co_await call.finish({});
  });
  tell([](GrpcChannel* channel) -> Task<void> {
    auto call = co_await channel->open("/test.Echo/Talk", {}, std::nullopt);
    for (const char* word : {"one", "two", "three"}) {
      (void)co_await (*call)->write(word);
      auto message = co_await (*call)->read();
      EXPECT_TRUE(message.ok() && message->has_value());
      EXPECT_EQ(**message, std::string("re: ") + word);
    }
    (void)co_await (*call)->writesDone();
    auto end = co_await (*call)->read();
    EXPECT_TRUE(end.ok() && !end->has_value());
    EXPECT_EQ((*call)->status().code, Code::ok);
  }(channel_.get()));
}

TEST_F(Grpc, ACancelledCallReachesItsHandlerAndTheConnectionGoesOn) {
  bool cancelled = false;
  bool readEnded = false;
  serve([&](GrpcServerCall call) -> Task<void> {
    return [](GrpcServerCall c, bool* noted, bool* ended) -> Task<void> {
      if (c.path() != "/test.Echo/Hang") {
        co_await echoUnary(c);
        co_return;
      }
      c.onCancel([noted]() { *noted = true; });
      (void)co_await c.read();
      auto never = co_await c.read();
      EXPECT_FALSE(never.ok());
      EXPECT_EQ(never.error().code, Code::cancelled);
      EXPECT_TRUE(c.cancelled());
      *ended = true;
    }(std::move(call), &cancelled, &readEnded);
  });
  tell([](GrpcChannel* channel) -> Task<void> {
    auto call = co_await channel->open("/test.Echo/Hang", {}, std::nullopt);
    (void)co_await (*call)->write("wait");
    co_await expectUnary(channel, "in between", "in between");
    (*call)->cancel();
    auto end = co_await (*call)->read();
    EXPECT_TRUE(end.ok() && !end->has_value());
    EXPECT_EQ((*call)->status().code, Code::cancelled);
    co_await expectUnary(channel, "after", "after");
  }(channel_.get()));
  runUntil(cancelled);
  runUntil(readEnded);
  EXPECT_EQ(door_->connections(), 1u);
}

TEST_F(Grpc, ACallThatNobodyReadsHoldsBackItsWriterAndNobodyElse) {
  auto go = std::make_unique<Notifier>(io_);
  serve([&](GrpcServerCall call) -> Task<void> {
    return [](GrpcServerCall c, Notifier* wait) -> Task<void> {
      if (c.path() == "/test.Echo/Later") co_await wait->wait(20s);
      co_await echoUnary(c);
    }(std::move(call), go.get());
  });
  const std::string big(8'000'000, 'b');
  bool answered = false;
  spawn(io_, [](GrpcChannel* channel, std::string message, bool* ended) -> Task<void> {
    auto answer = co_await channel->unary("/test.Echo/Later", {}, message, 20s);
    EXPECT_TRUE(answer.ok() && *answer == message);
    *ended = true;
  }(channel_.get(), big, &answered));
  tell(expectUnary(channel_.get(), "meanwhile", "meanwhile"));
  io_.run_for(50ms);
  tell(expectUnary(channel_.get(), big, big));
  EXPECT_FALSE(answered);
  go->notifyAll();
  runUntil(answered);
}

TEST_F(Grpc, ADeadlineEndsTheCallOnBothSides) {
  bool cancelled = false;
  serve([&](GrpcServerCall call) -> Task<void> {
    return [](GrpcServerCall c, bool* noted) -> Task<void> {
      EXPECT_TRUE(c.timeLeft().has_value());
      c.onCancel([noted]() { *noted = true; });
      (void)co_await c.read();
      auto never = co_await c.read();
      EXPECT_FALSE(never.ok());
    }(std::move(call), &cancelled);
  });
  tell([](GrpcChannel* channel) -> Task<void> {
    auto call = co_await channel->open("/test.Echo/Hang", {}, 50ms);
    (void)co_await (*call)->write("wait");
    auto end = co_await (*call)->read();
    EXPECT_TRUE(end.ok() && !end->has_value());
    EXPECT_EQ((*call)->status().code, Code::deadlineExceeded);
  }(channel_.get()));
  runUntil(cancelled);
}

TEST_F(Grpc, ALostConnectionIsReportedAndTheNextCallMakesAnother) {
  serve([](GrpcServerCall call) -> Task<void> {
    auto message = co_await call.read();
    if (call.path() == "/test.Echo/Hang") {
      (void)co_await call.read();
      co_return;
    }
    (void)co_await call.finish({}, std::move(**message));
  });
  std::shared_ptr<GrpcClientCall> hanging;
  tell([](GrpcChannel* channel, std::shared_ptr<GrpcClientCall>* out) -> Task<void> {
    auto call = co_await channel->open("/test.Echo/Hang", {}, std::nullopt);
    (void)co_await (*call)->write("wait");
    co_await expectUnary(channel, "sync", "sync");
    *out = *call;
  }(channel_.get(), &hanging));
  const std::string address = address_;
  door_.reset();
  door_ = std::make_unique<Door>(io_, DoorOptions{}, [](std::shared_ptr<Exchange> exchange) -> Task<void> {
    return echoUnary(GrpcServerCall(std::move(exchange)));
  });
  ASSERT_TRUE(door_->listen(address).ok());
  tell([](GrpcChannel* channel, std::shared_ptr<GrpcClientCall> call) -> Task<void> {
    auto end = co_await call->read();
    EXPECT_FALSE(end.ok());
    EXPECT_EQ(call->status().code, Code::unavailable);
    co_await expectUnary(channel, "again", "again");
  }(channel_.get(), hanging));
}

TEST_F(Grpc, CallsGoThroughAUnixSocketAndAnAdoptedOne) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/sock";
  serve(echoUnary);
  ASSERT_TRUE(door_->listen("unix:" + path).ok());
  channel_ = std::make_unique<GrpcChannel>(io_, "unix:" + path);
  tell(expectUnary(channel_.get(), "through a path", "through a path"));

  Fd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(at);
  ASSERT_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&at), length), 0);
  ASSERT_EQ(::listen(listening.get(), 16), 0);
  ASSERT_EQ(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&at), &length), 0);
  ASSERT_TRUE(door_->adopt(std::move(listening)).ok());
  channel_ = std::make_unique<GrpcChannel>(io_, "http://localhost:" + std::to_string(ntohs(at.sin_port)));
  tell(expectUnary(channel_.get(), "adopted", "adopted"));
  door_.reset();
  EXPECT_NE(::access(path.c_str(), F_OK), 0) << "the socket's file stays behind";
}

TEST_F(Grpc, AnAddressWhereNobodyListensIsUnavailable) {
  channel_ = std::make_unique<GrpcChannel>(io_, "unix:/nonexistent/door");
  tell([](GrpcChannel* channel) -> Task<void> {
    auto answer = co_await channel->unary("/a/b", {}, "", 1s);
    EXPECT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().code, Code::unavailable);
    EXPECT_THAT(answer.error().message, HasSubstr("unix:/nonexistent/door"));
  }(channel_.get()));
}

TEST_F(Grpc, AHandlerThatForgetsToAnswerGivesAnErrorAndNotSilence) {
  serve([](GrpcServerCall call) -> Task<void> { (void)co_await call.read(); });
  tell([](GrpcChannel* channel) -> Task<void> {
    auto answer = co_await channel->unary("/a/b", {}, "x", 5s);
    EXPECT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().code, Code::unknown);
    EXPECT_THAT(answer.error().message, HasSubstr("HTTP status 500"));
  }(channel_.get()));
}

TEST_F(Grpc, DrainLetsTheCallInProgressEndAndTakesNoMore) {
  bool started = false;
  auto go = std::make_unique<Notifier>(io_);
  serve([&](GrpcServerCall call) -> Task<void> {
    return [](GrpcServerCall c, bool* begun, Notifier* wait) -> Task<void> {
      (void)co_await c.read();
      *begun = true;
      co_await wait->wait(20s);
      (void)co_await c.finish({}, "done");
    }(std::move(call), &started, go.get());
  });
  bool answered = false;
  bool drained = false;
  spawn(io_, [](GrpcChannel* channel, bool* ended) -> Task<void> {
    co_await expectUnary(channel, "", "done");
    *ended = true;
  }(channel_.get(), &answered));
  runUntil(started);
  spawn(io_, [](Door* door, bool* ended) -> Task<void> {
    co_await door->drain(20s);
    *ended = true;
  }(door_.get(), &drained));
  io_.poll();
  EXPECT_FALSE(drained);
  go->notifyAll();
  runUntil(drained);
  runUntil(answered);
  EXPECT_EQ(door_->connections(), 0u);
  tell([](GrpcChannel* channel) -> Task<void> {
    auto refused = co_await channel->unary("/a/b", {}, "x", 5s);
    EXPECT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Code::unavailable);
  }(channel_.get()));
}

TEST(GrpcFrames, TextsSurviveThePercentCoding) {
  for (const std::string text : {"", "plain", "100%", "%41", "ünïcode\n\t\x7f", "“quoted”"}) {
    EXPECT_EQ(percentDecode(percentEncode(text)), text);
  }
  EXPECT_EQ(percentEncode("a%b\n"), "a%25b%0A");
  EXPECT_EQ(percentDecode("50%"), "50%");
  EXPECT_EQ(percentDecode("%zz"), "%zz");
}

TEST(GrpcFrames, TimeoutsAreReadInAllTheirUnits) {
  EXPECT_EQ(parseTimeout("20S"), Nanos(20s));
  EXPECT_EQ(parseTimeout("1500m"), Nanos(1500ms));
  EXPECT_EQ(parseTimeout("99999999u"), Nanos(99999999us));
  EXPECT_EQ(parseTimeout("1H"), Nanos(1h));
  EXPECT_EQ(parseTimeout("123456789S"), std::nullopt);
  EXPECT_EQ(parseTimeout("-1S"), std::nullopt);
  EXPECT_EQ(parseTimeout("S"), std::nullopt);
  EXPECT_EQ(parseTimeout(formatTimeout(20s)), Nanos(20s));
  EXPECT_GE(*parseTimeout(formatTimeout(24h * 300)), Nanos(24h * 300));
}

TEST(GrpcFrames, MessagesAreFoundWhereverThePiecesAreCut) {
  const std::string wire = framed("first") + framed("") + framed(std::string(3000, 'z'));
  for (const std::size_t cut : {1u, 2u, 5u, 7u, 1000u}) {
    FrameReader reader;
    std::vector<std::string> got;
    for (std::size_t at = 0; at < wire.size(); at += cut) {
      reader.add(wire.substr(at, cut));
      for (;;) {
        auto message = reader.next();
        ASSERT_TRUE(message.ok());
        if (!message->has_value()) break;
        got.push_back(**message);
      }
    }
    EXPECT_EQ(got, (std::vector<std::string>{"first", "", std::string(3000, 'z')})) << "cut every " << cut;
    EXPECT_FALSE(reader.midMessage());
  }
}

TEST(GrpcFrames, CompressedAndOversizedMessagesAreRefused) {
  FrameReader compressed;
  compressed.add(std::string("\1\0\0\0\1x", 6));
  EXPECT_EQ(compressed.next().error().code, Code::invalidArgument);
  FrameReader large;
  large.add(std::string("\0\x7f\0\0\0", 5));
  EXPECT_EQ(large.next().error().code, Code::exhausted);
}

}  // namespace
}  // namespace gridiron::net
