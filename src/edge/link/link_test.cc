#include "edge/link/link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/testing.h"
#include "net/door.h"

namespace gridiron::edge {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Call = std::shared_ptr<net::GrpcClientCall>;

struct NoOrders final : StartOrders {
  Result<StartOrder> compose(const Instance& instance, const Function& function) override {
    StartOrder order;
    order.instance = instance.id;
    order.function = function.id;
    order.image = ImageId{"im-1"};
    return order;
  }
};

// A worker as control sees it.
struct Agent {
  Agent(asio::io_context& loop, const std::string& url) : io(loop), channel(loop, url) {}

  static Task<void> open(Agent* self, std::string path, net::Headers credentials) {
    Result<Call> opened = co_await self->channel.open(path, std::move(credentials), std::nullopt);
    EXPECT_TRUE(opened.ok());
    if (!opened.ok()) co_return;
    self->call = *opened;
    for (;;) {
      Result<std::optional<std::string>> bytes = co_await self->call->read();
      if (!bytes.ok() || !bytes->has_value()) break;
      self->got.push_back(std::move(**bytes));
    }
    self->ended = true;
  }
  static Task<void> write(Call call, std::string bytes) {
    Result<void> sent = co_await call->write(std::move(bytes));
    (void)sent;
  }
  void send(const link::FromWorker& message) { spawn(io, write(call, message.SerializeAsString())); }
  link::ToWorker command(std::size_t i) const {
    link::ToWorker command;
    EXPECT_TRUE(i < got.size() && command.ParseFromString(got[i]));
    return command;
  }

  asio::io_context& io;
  net::GrpcChannel channel;
  Call call;
  std::vector<std::string> got;
  bool ended = false;
};

class LinkTest : public ::testing::Test {
 protected:
  LinkTest()
      : store(openMemoryStore()),
        calls(*store, functions, clock),
        meter(*store, clock),
        fleet(*store, calls, functions, orders, meter, clock) {
    WorkerLinks::Hooks hooks;
    hooks.lines = [this](const link::LogLines& lines) { printed.push_back(lines.lines(0).data()); };
    hooks.built = [this](const link::BuildEvent& event) { built.push_back(event.image_id() + ":" + event.error()); };
    hooks.file = [this](const link::FetchFileRequest& request) -> Result<std::string> {
      if (request.sha256_hex() != "here") return makeError(Code::notFound, "no file {}", request.sha256_hex());
      return file;
    };
    WorkerLinks::Options options;
    options.secret = kSecret;
    options.silence = silence;
    links.emplace(io, fleet, clock, options, std::move(hooks));
    door.emplace(io, net::DoorOptions{}, [this](auto exchange) { return links->handle(std::move(exchange)); });
    url = "http://" + *door->listen("127.0.0.1:0");
  }

  static net::Headers credentials(const std::string& worker, const std::string& secret = kSecret) {
    net::Headers headers;
    headers.add("x-gridiron-worker", worker);
    headers.add("x-gridiron-worker-secret", secret);
    return headers;
  }
  template <class Done>
  bool until(Done done) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      io.restart();
      io.run_one_for(100ms);
    }
    return true;
  }
  std::unique_ptr<Agent> connect(const std::string& path, net::Headers headers) {
    auto agent = std::make_unique<Agent>(io, url);
    spawn(io, Agent::open(agent.get(), path, std::move(headers)));
    EXPECT_TRUE(until([&] { return agent->call != nullptr; }));
    return agent;
  }
  std::unique_ptr<Agent> join(const std::string& worker) {
    auto agent = connect("/gridiron.link.Link/Session", credentials(worker));
    link::FromWorker message;
    message.mutable_hello()->set_worker_id(worker);
    message.mutable_hello()->set_host("box");
    message.mutable_hello()->set_milli_cpu(4000);
    message.mutable_hello()->set_memory_mb(8000);
    agent->send(message);
    EXPECT_TRUE(until([&] { return !agent->got.empty(); }));
    EXPECT_TRUE(agent->command(0).has_welcome());
    return agent;
  }
  static link::BuildImage order(const std::string& image) {
    link::BuildImage order;
    order.set_image_id(image);
    return order;
  }

  static constexpr const char* kSecret = "the-workers-secret";
  static constexpr Nanos silence = 10s;
  asio::io_context io;
  FakeClock clock;
  std::unique_ptr<Store> store;
  FunctionTable functions;
  NoOrders orders;
  Calls calls;
  Meter meter;
  Fleet fleet;
  std::vector<std::string> printed, built;
  std::string file;
  std::optional<WorkerLinks> links;
  std::optional<net::Door> door;
  std::string url;
};

TEST_F(LinkTest, AWorkerJoinsAndTheFleetHasItsResources) {
  const auto agent = join("wk-1");
  ASSERT_EQ(fleet.workers().size(), 1u);
  EXPECT_EQ(fleet.workers()[0].id, WorkerId{"wk-1"});
  EXPECT_EQ(fleet.workers()[0].milliCpu, 4000);
  EXPECT_EQ(links->connected(), 1u);
}

TEST_F(LinkTest, WhoHasNotTheSecretStaysOutside) {
  const auto agent = connect("/gridiron.link.Link/Session", credentials("wk-1", "a-guess"));
  EXPECT_TRUE(until([&] { return agent->ended; }));
  EXPECT_EQ(agent->call->status().code, Code::unauthenticated);
  EXPECT_EQ(links->connected(), 0u);
}

TEST_F(LinkTest, ASessionMustBeginWithTheHelloOfTheSameWorker) {
  const auto agent = connect("/gridiron.link.Link/Session", credentials("wk-1"));
  link::FromWorker message;
  message.mutable_hello()->set_worker_id("wk-2");
  agent->send(message);
  EXPECT_TRUE(until([&] { return agent->ended; }));
  EXPECT_EQ(agent->call->status().code, Code::invalidArgument);
}

TEST_F(LinkTest, OnlyAWorkersWordMakesARequestAContainers) {
  net::Headers forged;
  forged.add("x-gridiron-task", "ta-1");
  EXPECT_EQ(links->instanceOf(forged), std::nullopt);
  net::Headers vouched = credentials("wk-1");
  EXPECT_EQ(links->instanceOf(vouched), std::nullopt);
  vouched.add("x-gridiron-task", "ta-1");
  EXPECT_EQ(links->instanceOf(vouched), InstanceId{"ta-1"});
}

TEST_F(LinkTest, LinesAndBeatsArriveAndBeatsAreAnswered) {
  const auto agent = join("wk-1");
  link::FromWorker message;
  message.mutable_logs()->set_task_id("ta-1");
  message.mutable_logs()->add_lines()->set_data("hello\n");
  agent->send(message);
  message.mutable_beat();
  agent->send(message);
  EXPECT_TRUE(until([&] { return agent->got.size() == 2; }));
  EXPECT_TRUE(agent->command(1).has_beat());
  EXPECT_THAT(printed, ElementsAre("hello\n"));
}

TEST_F(LinkTest, ABuildWaitsForAWorkerAndIsGivenToTheNextWhenThatIsLost) {
  links->build(order("im-1"));
  links->build(order("im-1"));
  auto first = join("wk-1");
  EXPECT_TRUE(until([&] { return first->got.size() == 2; }));
  EXPECT_EQ(first->command(1).build().image_id(), "im-1");
  first->call->cancel();
  EXPECT_TRUE(until([&] { return links->connected() == 0 && first->ended; }));
  const auto second = join("wk-2");
  EXPECT_TRUE(until([&] { return second->got.size() == 2; }));
  link::FromWorker message;
  message.mutable_build()->set_image_id("im-1");
  message.mutable_build()->set_finished(true);
  second->send(message);
  EXPECT_TRUE(until([&] { return !built.empty(); }));
  EXPECT_THAT(built, ElementsAre("im-1:"));
}

TEST_F(LinkTest, ACancelledBuildThatNobodyHasEndsAtOnce) {
  links->build(order("im-1"));
  links->cancelBuild(ImageId{"im-1"});
  EXPECT_THAT(built, ElementsAre("im-1:the build was cancelled"));
}

TEST_F(LinkTest, AWorkerThatComesAgainTakesTheOldOnesPlace) {
  const auto first = join("wk-1");
  const auto second = join("wk-1");
  EXPECT_TRUE(until([&] { return first->ended; }));
  EXPECT_EQ(links->connected(), 1u);
  EXPECT_EQ(fleet.workers().size(), 1u);
}

TEST_F(LinkTest, AFileComesWholeOrNotAtAll) {
  const TemporaryDirectory folder;
  file = folder.path() + "/file";
  const std::string bytes(2'500'000, 'f');
  ASSERT_TRUE(writeFileAtomic(file, bytes, 0600, Durable::no).ok());
  for (const char* asked : {"here", "elsewhere"}) {
    const auto agent = connect("/gridiron.link.Link/FetchFile", credentials("wk-1"));
    link::FetchFileRequest request;
    request.set_sha256_hex(asked);
    spawn(io, Agent::write(agent->call, request.SerializeAsString()));
    EXPECT_TRUE(until([&] { return agent->ended; }));
    std::string got;
    for (const std::string& piece : agent->got) {
      link::FileChunk chunk;
      EXPECT_TRUE(chunk.ParseFromString(piece));
      EXPECT_LE(chunk.data().size(), 1u << 20);
      got += chunk.data();
    }
    const bool here = std::string_view(asked) == "here";
    EXPECT_EQ(got == bytes, here);
    EXPECT_EQ(agent->call->status().code, here ? Code::ok : Code::notFound);
  }
}

TEST(WorkerSecret, IsMadeOnceAndForItsOwnerOnly) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() + "/secret";
  const Result<std::string> made = loadWorkerSecret(path);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(*loadWorkerSecret(path), *made);
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

}  // namespace
}  // namespace gridiron::edge
