#include "worker/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

namespace gridiron::worker {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Writes down what it is asked to do.
struct Notebook final : Hands {
  std::vector<std::string> done;
  std::vector<link::FromWorker> sent;

  void start(const std::shared_ptr<const link::StartInstance>& order) override {
    done.push_back("start " + order->task_id());
  }
  void signal(const std::string& task, int signo) override {
    done.push_back("signal " + task + " " + std::to_string(signo));
  }
  void kill(const std::string& task) override { done.push_back("kill " + task); }
  void commit(const link::StartInstance& order) override { done.push_back("commit " + order.commit_as_image_id()); }
  void remove(const std::string& task) override { done.push_back("remove " + task); }
  void build(link::BuildImage order) override { done.push_back("build " + order.image_id()); }
  void cancelBuild(const std::string& image) override { done.push_back("cancel " + image); }
  std::vector<std::string> finishedImages() const override { return {"im-1"}; }
  void dial() override { done.push_back("dial"); }
  void write(link::FromWorker message) override { sent.push_back(std::move(message)); }
  void writesDone() override { done.push_back("writes done"); }
  void hangUp() override { done.push_back("hang up"); }

  std::vector<std::string> taken() { return std::exchange(done, {}); }
};

class AgentLinkTest : public ::testing::Test {
 protected:
  void connect() { agent.connected(); }
  static link::WorkerHello self() {
    link::WorkerHello hello;
    hello.set_worker_id("wk-1");
    return hello;
  }
  void start(const std::string& task, const std::string& commitAs = {}) {
    link::ToWorker command;
    command.mutable_start()->set_task_id(task);
    command.mutable_start()->set_commit_as_image_id(commitAs);
    agent.command(std::move(command));
  }
  void stop(const std::string& task, int graceMs) {
    link::ToWorker command;
    command.mutable_stop()->set_task_id(task);
    command.mutable_stop()->set_grace_ms(graceMs);
    agent.command(std::move(command));
  }
  void signal(const std::string& task, int signo) {
    link::ToWorker command;
    command.mutable_signal()->set_task_id(task);
    command.mutable_signal()->set_signal(signo);
    agent.command(std::move(command));
  }
  // The states of ta-1 that control was told, with the errors.
  std::vector<std::string> told() {
    std::vector<std::string> all;
    for (const link::FromWorker& message : hands.sent) {
      if (message.has_build()) all.push_back("BUILT " + message.build().image_id() + " " + message.build().error());
      if (!message.has_instance()) continue;
      all.push_back(link::InstanceEvent::State_Name(message.instance().state()) + " " + message.instance().error());
    }
    return all;
  }

  FakeClock clock;
  Notebook hands;
  Agent agent{self(), hands, clock, [] { return 0.5; }};
};

// With a session that takes whatever is written.
class AgentTest : public AgentLinkTest {
 protected:
  AgentTest() {
    agent.link().begin();
    connect();
    hands.taken();
  }
  std::vector<std::string> told() {
    for (std::size_t before = hands.sent.size() + 1; before != hands.sent.size();) {
      before = hands.sent.size();
      agent.link().written();
    }
    return AgentLinkTest::told();
  }
};

TEST_F(AgentTest, AContainersLifeIsToldFromItsStartToItsEnd) {
  start("ta-1");
  agent.started("ta-1", {{"image", 3ms}});
  agent.exited("ta-1", {7, 0, true});
  agent.removed("ta-1");
  EXPECT_THAT(hands.done, ElementsAre("start ta-1", "remove ta-1"));
  EXPECT_THAT(told(), ElementsAre("STARTING ", "RUNNING ", "EXITED "));
  EXPECT_EQ(hands.sent.at(1).instance().phases(0).nanos(), 3'000'000);
  EXPECT_EQ(hands.sent.at(2).instance().exit_code(), 7);
  EXPECT_TRUE(hands.sent.at(2).instance().out_of_memory());
  EXPECT_EQ(agent.containers(), 0u);
}

TEST_F(AgentTest, AnOrderThatComesTwiceStartsOneContainer) {
  start("ta-1");
  start("ta-1");
  EXPECT_THAT(hands.done, ElementsAre("start ta-1"));
  EXPECT_THAT(told(), ElementsAre("STARTING "));
}

TEST_F(AgentTest, AHelloNamesEveryContainerThatIsNotRemovedYet) {
  start("ta-1");
  start("ta-2");
  agent.notStarted("ta-2", makeError(Code::internal, "no room"));
  EXPECT_THAT(agent.hello().task_ids(), ElementsAre("ta-1", "ta-2"));
  agent.removed("ta-2");
  EXPECT_THAT(agent.hello().task_ids(), ElementsAre("ta-1"));
  EXPECT_THAT(agent.hello().image_ids(), ElementsAre("im-1"));
  EXPECT_EQ(agent.hello().worker_id(), "wk-1");
}

TEST_F(AgentTest, AStopIsOneTermAndAKillWhenTheGraceIsOver) {
  start("ta-1");
  agent.started("ta-1", {});
  hands.taken();
  stop("ta-1", 5000);
  stop("ta-1", 2000);  // sooner than it was told before
  EXPECT_THAT(hands.taken(), ElementsAre("signal ta-1 15"));
  EXPECT_EQ(agent.nextDeadline(), clock.now() + 2s);
  clock.advance(2s);
  agent.tick();
  EXPECT_THAT(hands.taken(), ElementsAre("kill ta-1"));
  EXPECT_EQ(agent.nextDeadline(), clock.now() + 1s);  // the beat
}

TEST_F(AgentTest, AStopWithoutGraceKillsAtOnce) {
  start("ta-1");
  agent.started("ta-1", {});
  hands.taken();
  stop("ta-1", 0);
  EXPECT_THAT(hands.taken(), ElementsAre("kill ta-1"));
}

TEST_F(AgentTest, WhatIsStoppedBeforeItRunsNeverWill) {
  start("ta-1");
  stop("ta-1", 30'000);
  EXPECT_THAT(hands.taken(), ElementsAre("start ta-1", "kill ta-1"));
  agent.notStarted("ta-1", makeError(Code::cancelled, "stopped before it was started"));
  EXPECT_THAT(told(), ElementsAre("STARTING ", "EXITED stopped before it was started"));
  EXPECT_THAT(hands.taken(), ElementsAre("remove ta-1"));
}

TEST_F(AgentTest, WhatIsKilledWhileItIsMadeIsToldAsKilled) {
  start("ta-1");
  start("ta-2");
  agent.notStarted("ta-1", makeError(Code::aborted, "it ended while it was starting"));
  EXPECT_THAT(told(), Contains("EXITED it ended while it was starting"));
  EXPECT_EQ(hands.sent.back().instance().exit_signal(), SIGKILL);
  agent.notStarted("ta-2", makeError(Code::internal, "no room"));
  EXPECT_THAT(told(), Contains("EXITED no room"));
  EXPECT_EQ(hands.sent.back().instance().exit_signal(), 0);
}

TEST_F(AgentTest, SignalsReachOnlyWhatRuns) {
  start("ta-1");
  signal("ta-1", SIGINT);
  signal("ta-2", SIGINT);
  EXPECT_THAT(hands.taken(), ElementsAre("start ta-1"));
  agent.started("ta-1", {});
  signal("ta-1", SIGINT);
  agent.exited("ta-1", {});
  signal("ta-1", SIGINT);
  stop("ta-1", 0);
  EXPECT_THAT(hands.taken(), ElementsAre("signal ta-1 2", "remove ta-1"));
}

TEST_F(AgentTest, WhatARunChangedIsAnImageBeforeTheEndIsTold) {
  start("ta-1", "im-7");
  agent.started("ta-1", {});
  agent.exited("ta-1", {});
  EXPECT_THAT(hands.taken(), ElementsAre("start ta-1", "commit im-7"));
  agent.committed("ta-1", link::ImageFacts());
  EXPECT_THAT(told(), ElementsAre("STARTING ", "RUNNING ", "BUILT im-7 ", "EXITED "));
  EXPECT_THAT(hands.taken(), ElementsAre("remove ta-1"));
}

TEST_F(AgentTest, ARunThatFailedBecomesNoImage) {
  start("ta-1", "im-7");
  agent.started("ta-1", {});
  agent.exited("ta-1", {3, 0, false});
  EXPECT_THAT(hands.taken(), ElementsAre("start ta-1", "remove ta-1"));
  EXPECT_THAT(told(),
              ElementsAre("STARTING ", "RUNNING ", "BUILT im-7 the function ended with exit code 3", "EXITED "));
}

TEST_F(AgentTest, AWorkerThatStopsStopsWhatRunsAndStartsNothing) {
  start("ta-1");
  agent.started("ta-1", {});
  agent.stop(1s);
  start("ta-2");
  EXPECT_THAT(hands.taken(), ElementsAre("start ta-1", "signal ta-1 15"));
  EXPECT_EQ(told().size(), 3u);
  EXPECT_EQ(hands.sent.back().instance().task_id(), "ta-2");
  EXPECT_EQ(hands.sent.back().instance().error(), "the worker is shutting down");
  agent.exited("ta-1", {});
  agent.removed("ta-1");
  EXPECT_EQ(agent.containers(), 0u);
}

TEST_F(AgentLinkTest, WhatIsToldWithoutASessionIsToldInTheNextOne) {
  start("ta-1");
  agent.started("ta-1", {});
  EXPECT_THAT(told(), IsEmpty());
  agent.link().begin();
  EXPECT_THAT(hands.taken(), ElementsAre("start ta-1", "dial"));
  connect();
  EXPECT_THAT(told(), ElementsAre("STARTING "));  // one at a time
  agent.link().written();
  EXPECT_THAT(told(), ElementsAre("STARTING ", "RUNNING "));
}

TEST_F(AgentLinkTest, ALostSessionIsDialledAgainAfterLongerAndLongerPauses) {
  agent.link().begin();
  for (const Nanos pause : {20ms, 40ms, 80ms}) {
    hands.taken();
    agent.link().disconnected();
    EXPECT_EQ(agent.nextDeadline(), clock.now() + pause / 2);
    clock.advance(pause / 2);
    agent.tick();
    EXPECT_THAT(hands.taken(), ElementsAre("dial"));
  }
  for (int i = 0; i < 20; ++i) {
    agent.link().disconnected();
    clock.advance(3s);
    agent.tick();
  }
  agent.link().disconnected();
  EXPECT_EQ(agent.nextDeadline(), clock.now() + 1500ms);
  clock.advance(3s);
  agent.tick();
  connect();
  agent.command(link::ToWorker());  // control speaks: the next pause is a short one
  agent.link().disconnected();
  EXPECT_EQ(agent.nextDeadline(), clock.now() + 10ms);
}

TEST_F(AgentLinkTest, AnEndThatMayHaveBeenLostIsToldAgain) {
  agent.link().begin();
  connect();
  start("ta-1");
  agent.link().written();
  agent.started("ta-1", {});
  agent.link().written();
  agent.exited("ta-1", {3, 0, false});
  agent.link().disconnected();  // with the end on its way
  clock.advance(1s);
  agent.tick();
  EXPECT_THAT(agent.hello().task_ids(), ElementsAre("ta-1"));
  hands.sent.clear();
  connect();
  EXPECT_THAT(told(), ElementsAre("EXITED "));
  EXPECT_EQ(hands.sent.back().instance().exit_code(), 3);
}

TEST_F(AgentLinkTest, BeatsAndGivesASilentControlUp) {
  agent.link().begin();
  connect();
  hands.taken();
  for (int i = 0; i < 3; ++i) {
    clock.advance(3s);
    agent.tick();
    EXPECT_TRUE(hands.sent.back().has_beat());
    agent.link().written();
  }
  EXPECT_THAT(hands.taken(), IsEmpty());
  clock.advance(3s);
  agent.tick();
  EXPECT_THAT(hands.taken(), ElementsAre("hang up"));
}

TEST_F(AgentLinkTest, AWriteIsFlushedWhenItIsWrittenOrTheSessionIsLost) {
  agent.link().begin();
  connect();
  start("ta-1");
  const auto mark = agent.link().mark();
  EXPECT_FALSE(agent.link().isFlushed(mark));
  agent.link().written();
  EXPECT_TRUE(agent.link().isFlushed(mark));
  start("ta-2");
  EXPECT_FALSE(agent.link().isFlushed(agent.link().mark()));
  agent.link().disconnected();
  EXPECT_TRUE(agent.link().isFlushed(agent.link().mark()));
}

TEST_F(AgentLinkTest, LinesThatNobodyTakesAreDroppedAndThatIsSaid) {
  const auto lines = [this](std::size_t bytes) {
    link::FromWorker message;
    message.mutable_logs()->add_lines()->set_data(std::string(bytes, 'x'));
    agent.link().send(std::move(message));
  };
  for (int i = 0; i < 4; ++i) lines(4u << 20);
  lines(1);
  lines(1);
  agent.link().begin();
  connect();
  EXPECT_FALSE(agent.link().hasRoom());
  for (int i = 0; i < 4; ++i) agent.link().written();
  EXPECT_TRUE(agent.link().hasRoom());
  EXPECT_EQ(hands.sent.size(), 4u);
  lines(1);
  const link::LogLines& last = hands.sent.back().logs();
  EXPECT_EQ(last.lines(1).data(), "[2 lines of output were lost while control could not be reached]\n");
}

TEST_F(AgentLinkTest, LeavesWhenAllIsTold) {
  agent.link().begin();
  connect();
  hands.taken();
  start("ta-1");
  agent.link().leave();
  start("ta-2");  // told to nobody any more
  EXPECT_THAT(hands.taken(), ElementsAre("start ta-1", "start ta-2"));
  agent.link().written();
  EXPECT_THAT(hands.taken(), ElementsAre("writes done"));
  agent.link().disconnected();
  EXPECT_TRUE(agent.link().isStopped());
  EXPECT_EQ(agent.nextDeadline(), std::nullopt);
}

TEST_F(AgentTest, BuildsAreForTheHands) {
  link::ToWorker command;
  command.mutable_build()->set_image_id("im-9");
  agent.command(command);
  command.mutable_cancel_build()->set_image_id("im-9");
  agent.command(command);
  EXPECT_THAT(hands.done, ElementsAre("build im-9", "cancel im-9"));
}

}  // namespace
}  // namespace gridiron::worker
