#include "edge/http/lane_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <set>

#include "edge/http/lane_frames.h"
#include "edge/http/test_lane.h"

namespace gridiron::edge::test {
namespace {

using ::testing::HasSubstr;

std::string numbered(std::size_t size) {
  std::string out;
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(size >> shift & 0xff));
  return out;
}

// A and S: a response's head and (the first of) its body.
std::string answered(char kind, const std::string& body) {
  const std::string head("200\0content-type\0text/plain", 27);
  return laneFrame(kind, numbered(head.size()) + head + body);
}

// An app that the test plays: what comes is kept, what it says is said by hand.
class PlayedApp final : public LaneApp {
 public:
  struct Request {
    std::shared_ptr<LocalSocket> socket;
    std::string head, body;   // head: its fields, parted by NUL
    std::vector<char> heard;  // of the frames behind it
    bool lost = false;        // the grid has closed the connection

    void send(const std::string& frames) {
      boost::system::error_code ignored;
      asio::write(*socket, asio::buffer(frames), ignored);
    }
    bool has(char kind) const { return std::find(heard.begin(), heard.end(), kind) != heard.end(); }
  };
  std::vector<std::shared_ptr<Request>> requests;
  std::set<std::shared_ptr<LocalSocket>> connections;

 private:
  std::string answer(const LaneFrame& frame, Caller& caller) override {
    connections.insert(caller.socket);
    if (frame.kind == 'R') {
      std::uint32_t size = 0;
      std::memcpy(&size, frame.payload.data(), sizeof size);
      requests.push_back(std::make_shared<Request>(
          Request{caller.socket, frame.payload.substr(4, size), frame.payload.substr(4 + size), {}, false}));
    } else if (const auto request = lastOf(caller)) {
      if (frame.kind == 'B' || frame.kind == 'F') request->body += frame.payload;
      request->heard.push_back(frame.kind);
    }
    return "";
  }
  void lost(const Caller& caller) override {
    if (const auto request = lastOf(caller)) request->lost = true;
  }
  std::shared_ptr<Request> lastOf(const Caller& caller) const {
    const auto found = std::find_if(requests.rbegin(), requests.rend(),
                                    [&](const auto& request) { return request->socket == caller.socket; });
    return found == requests.rend() ? nullptr : *found;
  }
};

class LaneCallTest : public ::testing::Test {
 protected:
  Function& web(const std::string& label, int slots = 1) {
    Function& function = grid.web(label, app.program());
    function.maxConcurrentInputs = slots;
    function.scaling.maxContainers = 1;
    grid.deploy(label);
    return function;
  }
  std::shared_ptr<Grid::Reply> post(const std::string& label, const std::string& body = "hello") {
    return grid.post("you--" + label + ".localhost", "/a?b=1", body);
  }
  std::shared_ptr<PlayedApp::Request> request(std::size_t at) {
    grid.runUntil([&] { return app.requests.size() > at; }, "the app has the request");
    return app.requests.at(at);
  }

  Grid grid{std::chrono::seconds(2), openMemoryStore(), true};
  PlayedApp app;  // has sockets of the grid's loop
};

// A container that has put a link where its socket should be, and what its client's own loop gets.
Task<void> withALink(std::vector<std::string>* asked, Grid* grid, std::shared_ptr<Container> container) {
  const std::string place = grid->folder() + "/" + container->id().value + "/lane";
  std::filesystem::create_directories(place);
  std::filesystem::create_symlink("/etc/passwd", place + "/door");
  grid->lanes->workerFolder(WorkerId{"wk-test"}, grid->folder());
  (void)co_await container->ask<Empty>("ContainerHello", Empty());
  auto inputs =
      co_await container->ask<api::FunctionGetInputsResponse>("FunctionGetInputs", api::FunctionGetInputsRequest());
  for (const auto& item : inputs.inputs()) asked->push_back(item.input_id());
}

TEST_F(LaneCallTest, ARequestGoesToTheAppAndItsAnswerToThePeer) {
  web("echo");
  const auto reply = post("echo");
  const auto first = request(0);
  EXPECT_THAT(first->head, HasSubstr(std::string("\0POST\0http\0/a\0b=1\0", 18)));
  EXPECT_EQ(first->body, "hello");
  first->send(answered('A', "world") + laneFrame('Z'));
  grid.answerOf(reply);
  EXPECT_EQ(reply->status(), 200) << reply->text;
  EXPECT_EQ(reply->body(), "world");
  EXPECT_THAT(reply->text, HasSubstr("sandbox;dur=2.0"));
}

TEST_F(LaneCallTest, AConnectionCarriesTheNextRequestOnlyWhenTheAppHasReturned) {
  web("echo", 2);
  auto reply = post("echo");
  const auto first = request(0);
  first->send(answered('A', "one"));
  grid.runUntil([&] { return reply->text.find("one") != std::string::npos; }, "the answer is out");
  const auto second = post("echo");
  request(1)->send(answered('A', "two") + laneFrame('Z'));
  EXPECT_EQ(grid.answerOf(second)->body(), "two");
  EXPECT_EQ(app.connections.size(), 2u) << "the first request's coroutine still runs";
  first->send(laneFrame('Z'));
  const auto third = post("echo");
  request(2)->send(answered('A', "three") + laneFrame('Z'));
  EXPECT_EQ(grid.answerOf(third)->body(), "three");
  EXPECT_EQ(app.connections.size(), 2u);
}

TEST_F(LaneCallTest, NoMoreThanAContainerMayRunAreInIt) {
  web("echo");
  const auto one = post("echo"), two = post("echo");
  const auto first = request(0);
  grid.io.run_for(std::chrono::milliseconds(50));
  EXPECT_EQ(app.requests.size(), 1u);
  first->send(answered('A', "one") + laneFrame('Z'));
  request(1)->send(answered('A', "two") + laneFrame('Z'));
  grid.answerOf(one);
  grid.answerOf(two);
  EXPECT_EQ(one->status(), 200);
  EXPECT_EQ(two->status(), 200);
}

TEST_F(LaneCallTest, AnAnswerInPiecesAndABodyInPieces) {
  web("echo");
  const std::string large(1'000'000, 'x');
  const auto reply = post("echo", large);
  const auto first = request(0);
  grid.runUntil([&] { return first->body.size() == large.size(); }, "the body is there");
  EXPECT_TRUE(first->has('F'));
  first->send(answered('S', "a") + laneFrame('P', "b") + laneFrame('E', "c") + laneFrame('Z'));
  grid.answerOf(reply);
  EXPECT_THAT(reply->text, HasSubstr("a"));
  EXPECT_THAT(reply->text, HasSubstr("b"));
  EXPECT_THAT(reply->text, HasSubstr("c"));
}

TEST_F(LaneCallTest, AnAppThatReturnsWithoutAnAnswerIsA502AndOneThatRaisesA500) {
  web("echo");
  auto reply = post("echo");
  request(0)->send(laneFrame('Z'));
  EXPECT_EQ(grid.answerOf(reply)->status(), 502);
  reply = post("echo");
  request(1)->send(laneFrame('Z', "ValueError('no')"));
  EXPECT_EQ(grid.answerOf(reply)->status(), 500);
  EXPECT_THAT(reply->body(), HasSubstr("ValueError('no')"));
}

TEST_F(LaneCallTest, WhatIsNoAnswerIsA502AndTheNextRequestIsServed) {
  web("echo");
  for (const std::string& nonsense : {laneFrame('A', "xx"), laneFrame('A', numbered(1000) + "200"),
                                      laneFrame('S', numbered(3) + "9x9" + "body"), laneFrame('A')}) {
    const std::size_t at = app.requests.size();
    const auto reply = post("echo");
    request(at)->send(nonsense + laneFrame('Z'));
    EXPECT_EQ(grid.answerOf(reply)->status(), 502) << reply->text;
  }
}

TEST_F(LaneCallTest, AFrameThatIsTooLargeEndsTheConnectionAndTheRequest) {
  web("echo");
  const auto reply = post("echo");
  const auto first = request(0);
  first->send(
      "\xff\xff\xff\xff"
      "P");
  grid.answerOf(reply);
  EXPECT_GE(reply->status(), 500) << reply->text;
  grid.runUntil([&] { return first->lost; }, "it is closed");
}

TEST_F(LaneCallTest, ACallerThatHangsUpIsToldAndThenCancelled) {
  web("echo");
  const auto reply = post("echo");
  const auto first = request(0);
  reply->hangUp();
  grid.runUntil([&] { return first->has('D'); }, "the app is told");
  EXPECT_FALSE(first->has('C'));
  grid.runUntil([&] { return first->has('C'); }, "and cancelled");
  first->send(laneFrame('Z', "cancelled"));
  const auto next = post("echo");
  request(1)->send(answered('A', "next") + laneFrame('Z'));
  EXPECT_EQ(grid.answerOf(next)->body(), "next") << "the place is free again";
}

TEST_F(LaneCallTest, ATimeOutIsA504AndTheAppIsTold) {
  web("echo").timeout = std::chrono::milliseconds(100);
  grid.deploy("echo");
  const auto reply = post("echo");
  const auto first = request(0);
  EXPECT_EQ(grid.answerOf(reply)->status(), 504);
  EXPECT_TRUE(first->has('C'));
  first->send(laneFrame('Z', "timeout"));
  const auto next = post("echo");
  request(1)->send(answered('A', "next") + laneFrame('Z'));
  EXPECT_EQ(grid.answerOf(next)->body(), "next");
}

TEST_F(LaneCallTest, AnAppThatWantsNoMoreGetsNoMore) {
  web("echo", 4).scaling.maxContainers = 2;
  grid.deploy("echo");
  const auto reply = post("echo");
  request(0)->send(answered('A', "last") + laneFrame('G') + laneFrame('Z'));
  EXPECT_EQ(grid.answerOf(reply)->body(), "last");
  grid.runUntil([&] { return app.requests.front()->lost; }, "its connection is closed");
  EXPECT_EQ(app.requests.size(), 1u);
}

TEST_F(LaneCallTest, AContainerThatDiesCutsAnAnswerThatHasBegunAndIsA502Else) {
  web("echo");
  const auto reply = post("echo");
  request(0)->send(answered('S', "half"));
  grid.runUntil([&] { return reply->text.find("half") != std::string::npos; }, "half of it is out");
  grid.exited(grid.started.back(), 1);
  request(0)->socket->close();
  grid.answerOf(reply);
  EXPECT_THAT(reply->text, testing::Not(HasSubstr("0\r\n\r\n"))) << "no end of the body";
}

TEST_F(LaneCallTest, AFileInThePlaceOfTheSocketIsNotConnectedToAndRequestsAreAskedFor) {
  std::vector<std::string> asked;
  grid.web("echo", [&](Grid& g, std::shared_ptr<Container> c) { return withALink(&asked, &g, std::move(c)); });
  const auto reply = post("echo");
  grid.runUntil([&] { return !asked.empty(); }, "the client's loop got it");
  reply->hangUp();
}

}  // namespace
}  // namespace gridiron::edge::test
