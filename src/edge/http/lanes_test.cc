#include "edge/http/lanes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "edge/http/test_lane.h"

namespace gridiron::edge::test {
namespace {

// An app that answers when it is told to.
class LateApp : public LaneApp {
 public:
  std::map<std::string, int> running;  // by container
  void answerAll() {
    const std::string head("200", 3);
    for (const auto& caller : callers_) {
      const std::string frames = laneFrame('A', std::string("\3\0\0\0", 4) + head + "done") + laneFrame('Z');
      boost::system::error_code failed;
      asio::write(*caller.socket, asio::buffer(frames), failed);
      EXPECT_FALSE(failed);
    }
    callers_.clear();
    running.clear();
  }
  std::size_t waiting() const { return callers_.size(); }

 private:
  std::string answer(const LaneFrame& frame, Caller& caller) override {
    if (frame.kind != 'R') return "";
    ++running[caller.container.value];
    callers_.push_back(caller);
    return "";
  }
  std::vector<Caller> callers_;
};

class LanesTest : public ::testing::Test {
 protected:
  // A function with `containers` of `slots` places each, all of them there.
  void deploy(int containers, int slots) {
    Function& function = grid_.add("late", app_.program());
    function.web.kind = WebKind::function;
    function.web.label = "late";
    function.scaling.minContainers = function.scaling.maxContainers = containers;
    function.maxConcurrentInputs = slots;
    grid_.deploy("late");
    id_ = function.id;
    const auto open = [&] {
      return std::ssize(grid_.started) == containers &&
             std::all_of(grid_.started.begin(), grid_.started.end(),
                         [&](const InstanceId& one) { return grid_.lanes->opens(one); });
    };
    grid_.runUntil([&] { return std::ssize(grid_.started) == containers; }, "the containers start");
    grid_.runUntil(
        [&] {
          return std::all_of(grid_.started.begin(), grid_.started.end(), [&](const InstanceId& one) {
            const auto instance = grid_.fleet.find(one);
            return instance && instance->state == InstanceState::ready;
          });
        },
        "they are ready");
    EXPECT_TRUE(open());
  }
  void ask(int many) {
    const std::size_t before = app_.waiting();
    for (int i = 0; i < many; ++i) replies_.push_back(grid_.get("you--late.localhost", "/"));
    grid_.runUntil([&] { return app_.waiting() == before + static_cast<std::size_t>(many); }, "the requests arrive");
  }
  std::vector<int> counts() const {
    std::vector<int> out;
    for (const auto& [container, count] : app_.running) out.push_back(count);
    return out;
  }

  LateApp app_;
  Grid grid_{std::chrono::seconds(2), openMemoryStore(), true};
  FunctionId id_;
  std::vector<std::shared_ptr<Grid::Reply>> replies_;
};

TEST_F(LanesTest, TheContainerThatRunsLeastGetsTheNextRequest) {
  deploy(10, 4);
  ask(10);
  EXPECT_EQ(counts(), std::vector<int>(10, 1));
  ask(20);
  EXPECT_EQ(counts(), std::vector<int>(10, 3));
  app_.answerAll();
  for (const auto& reply : replies_) EXPECT_EQ(grid_.answerOf(reply)->body(), "done");
  replies_.clear();
  ask(10);
  EXPECT_EQ(counts(), std::vector<int>(10, 1)) << "those that have returned are as free as before";
  app_.answerAll();
}

TEST_F(LanesTest, WhatFindsNoPlaceWaitsForTheFirstThatIsLeft) {
  deploy(2, 1);
  ask(2);
  const auto third = grid_.get("you--late.localhost", "/");
  grid_.io.run_for(std::chrono::milliseconds(50));
  EXPECT_EQ(app_.waiting(), 2u);
  app_.answerAll();
  grid_.runUntil([&] { return app_.waiting() == 1; }, "the third arrives");
  app_.answerAll();
  EXPECT_EQ(grid_.answerOf(third)->status(), 200);
}

}  // namespace
}  // namespace gridiron::edge::test
