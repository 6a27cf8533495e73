#include "worker/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <sstream>

#include "base/testing.h"
#include "worker/testing.h"

namespace gridiron::worker {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

std::string contentsOf(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream all;
  all << file.rdbuf();
  return all.str();
}

Task<void> endCall(std::shared_ptr<net::GrpcServerCall> call) {
  Result<void> sent = co_await call->finish({});
  EXPECT_TRUE(sent.ok());
}

Task<void> stopAgent(Worker* agent, bool* done) {
  co_await agent->stop(1ms);
  *done = true;
}

class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest() : control(io) {
    Options options = testing::optionsOf(control.url, scratch.path());
    options.laneProgram = "/fast_lane.py";
    worker.emplace(io, options, puppets, images);
    spawn(io, worker->run());
    EXPECT_TRUE(until([&] { return !control.told.empty(); }));
  }
  ~WorkerTest() override {
    worker.reset();
    runUntil(io, [&, turns = 0]() mutable { return ++turns > 3; });
  }

  template <class Done>
  bool until(Done done) {
    return testing::runUntil(io, std::move(done));
  }
  template <class Done>
  static bool runUntil(asio::io_context& loop, Done done) {
    return testing::runUntil(loop, std::move(done));
  }

  static link::StartInstance order(const std::string& task = "ta-1") {
    link::StartInstance order;
    order.set_task_id(task);
    order.set_image_id("im-1");
    order.set_client_version("1.3.5");
    order.set_container_arguments("arguments");
    return order;
  }

  testing::Puppet* started(const link::StartInstance& order) {
    control.start(order);
    EXPECT_TRUE(until([&] { return control.event(order.task_id(), link::InstanceEvent::RUNNING).has_value(); }));
    return puppets.find(order.task_id());
  }
  link::InstanceEvent exitOf(const std::string& task) {
    EXPECT_TRUE(until([&] { return control.event(task, link::InstanceEvent::EXITED).has_value(); }));
    return control.event(task, link::InstanceEvent::EXITED).value_or(link::InstanceEvent());
  }

  TemporaryDirectory scratch;
  asio::io_context io;
  testing::Control control;
  testing::Puppets puppets;
  testing::HandyImages images;
  std::optional<Worker> worker;
};

TEST_F(WorkerTest, SaysWhoItIsAndWhatItHas) {
  const link::WorkerHello& hello = control.told.at(0).hello();
  EXPECT_EQ(hello.worker_id(), "wk-1");
  EXPECT_GT(hello.milli_cpu(), 0);
  EXPECT_GT(hello.memory_mb(), 0);
  EXPECT_THAT(hello.image_ids(), ElementsAre("im-1"));
  EXPECT_EQ(control.session->metadata().find("x-gridiron-worker-secret"), "the-workers-secret");
}

TEST_F(WorkerTest, StartsAContainerAsTheClientExpectsIt) {
  const testing::Puppet* puppet = started(order());
  const sandbox::Spec& spec = puppet->spec;
  EXPECT_THAT(spec.argv, ElementsAre("/usr/local/bin/python", "-m", "modal._container_entrypoint"));
  EXPECT_THAT(spec.lowers, ElementsAre("/layers/top", "/layers/base"));
  EXPECT_EQ(spec.workdir, "/root");
  ASSERT_EQ(spec.binds.size(), 3u);
  EXPECT_EQ(spec.binds[0].source + " " + spec.binds[0].target, "/pkgs/1.3.5 /pkg");
  EXPECT_EQ(spec.binds[1].target, "/__modal/deps");
  EXPECT_EQ(spec.binds[2].target, "/__modal/container_arguments.bin");
  EXPECT_EQ(contentsOf(spec.binds[2].source), "arguments");
  EXPECT_EQ(std::filesystem::status(spec.binds[2].source).permissions(), std::filesystem::perms(0600));
  EXPECT_THAT(spec.environment,
              ::testing::IsSupersetOf({Pair("MODAL_SERVER_URL", "http://127.0.0.1:8401"), Pair("MODAL_TASK_ID", "ta-1"),
                                       Pair("LANG", "C.UTF-8"), Pair("PYTHONPATH", "/root:/pkg:/opt")}));
}

TEST_F(WorkerTest, AContainerWithALaneFindsAFolderForItsDoor) {
  link::StartInstance with = order();
  with.set_lane(true);
  const sandbox::Spec& spec = started(with)->spec;
  EXPECT_EQ(spec.argv.at(1), "-c");
  EXPECT_THAT(spec.environment, ::testing::Contains(Pair("GRIDIRON_LANE", "/__modal/lane/door")));
  const auto& folder = spec.binds.back();
  EXPECT_EQ(folder.target, "/__modal/lane");
  EXPECT_FALSE(folder.readOnly);
  EXPECT_EQ(folder.source, control.told.at(0).hello().lanes() + "/ta-1/lane");
}

TEST_F(WorkerTest, TellsHowLongEachStepOfAStartTook) {
  started(order());
  const link::InstanceEvent running = control.event("ta-1", link::InstanceEvent::RUNNING).value();
  std::vector<std::string> names;
  for (const link::Phase& phase : running.phases()) names.push_back(phase.name());
  EXPECT_THAT(names, ElementsAre("mounts", "image", "client", "arguments", "namespaces", "exec"));
}

TEST_F(WorkerTest, AnImageThatIsNotHereIsAnErrorAndNotACrash) {
  link::StartInstance unknown = order();
  unknown.set_image_id("im-2");
  control.start(unknown);
  EXPECT_EQ(exitOf("ta-1").error(), "image: image im-2 is not on this worker");
  EXPECT_TRUE(until([&] { return worker->containers() == 0; }));
}

TEST_F(WorkerTest, AFailedStartLeavesNothingBehind) {
  puppets.failure = "network: veth: EPERM";
  control.start(order());
  EXPECT_THAT(exitOf("ta-1").error(), HasSubstr("network: veth: EPERM"));
  EXPECT_TRUE(until([&] { return worker->containers() == 0; }));
  EXPECT_FALSE(std::filesystem::exists(scratch.path() + "/data/containers/ta-1"));
}

TEST_F(WorkerTest, MountsBecomeTheTopmostLayerAndAreFetchedOnce) {
  const std::string app = "print('hi')\n", script = "#!/bin/sh\n";
  control.files = {{sha256(app).hex(), app}, {sha256(script).hex(), script}};
  link::StartInstance first = order();
  link::Mount& mount = *first.add_mounts();
  mount.set_mount_id("mo-1");
  link::MountedFile& file = *mount.add_files();
  file.set_path("/root/app.py");
  file.set_sha256_hex(sha256(app).hex());
  link::MountedFile& tool = *mount.add_files();
  tool.set_path("/tmp/tool.sh");
  tool.set_sha256_hex(sha256(script).hex());
  tool.set_mode(0755);

  const std::string layer = started(first)->spec.lowers.at(0);
  EXPECT_EQ(contentsOf(layer + "/root/app.py"), app);
  EXPECT_EQ(std::filesystem::status(layer + "/tmp/tool.sh").permissions(), std::filesystem::perms(0755));
  EXPECT_EQ(std::filesystem::status(layer + "/tmp").permissions(), std::filesystem::perms(01777));

  first.set_task_id("ta-2");
  first.mutable_mounts(0)->set_mount_id("mo-2");  // the same files under another name
  EXPECT_EQ(started(first)->spec.lowers.at(0), layer);
  EXPECT_EQ(control.fetched.size(), 2u);
}

TEST_F(WorkerTest, AMountThatWouldLeaveItsDirectoryIsRefused) {
  const std::string bytes = "x";
  control.files = {{sha256(bytes).hex(), bytes}};
  link::StartInstance evil = order();
  link::MountedFile& file = *evil.add_mounts()->add_files();
  file.set_path("/root/../../../../tmp/gridiron-escaped");
  file.set_sha256_hex(sha256(bytes).hex());
  control.start(evil);
  EXPECT_THAT(exitOf("ta-1").error(), HasSubstr("'..' in its path"));
}

TEST_F(WorkerTest, BytesThatAreNotWhatTheyShouldBeAreRefused) {
  const std::string hash = sha256("expected").hex();
  control.files = {{hash, "something else"}};
  link::StartInstance wanted = order();
  link::MountedFile& file = *wanted.add_mounts()->add_files();
  file.set_path("/root/app.py");
  file.set_sha256_hex(hash);
  control.start(wanted);
  EXPECT_THAT(exitOf("ta-1").error(), HasSubstr("are not its content"));
}

TEST_F(WorkerTest, OutputComesInLinesWithSecretsHidden) {
  link::StartInstance withSecret = order();
  link::Variable& secret = *withSecret.add_secrets();
  secret.set_name("TOKEN");
  secret.set_value("correct-horse");
  testing::Puppet* puppet = started(withSecret);
  EXPECT_THAT(puppet->spec.environment, ::testing::Contains(Pair("TOKEN", "correct-horse")));
  puppet->print("token is correct-horse\nprompt> ");
  EXPECT_TRUE(until([&] { return control.output("ta-1") == "token is ***\nprompt> "; }));
  puppet->complain("oh no\n");
  EXPECT_TRUE(until([&] { return control.output("ta-1").ends_with("oh no\n"); }));
  EXPECT_EQ(control.told.back().logs().lines(0).file_descriptor(), 2);
}

TEST_F(WorkerTest, WhatWasPrintedIsWithControlBeforeTheOutputItBelongsTo) {
  testing::Puppet* puppet = started(order());
  net::GrpcChannel inside(io, fmt::format("http://127.0.0.1:{}", puppet->port));
  for (int i = 0; i < 20; ++i) {
    puppet->print(fmt::format("input {} without newline;", i));
    bool answered = false;
    spawn(io, testing::callOnce(&inside, "/modal.client.ModalClient/FunctionPutOutputs", &answered));
    ASSERT_TRUE(until([&] { return answered; }));
    ASSERT_EQ(control.outputAtPutOutputs.size(), std::size_t(i) + 1);
    EXPECT_TRUE(control.outputAtPutOutputs.back().ends_with(fmt::format("input {} without newline;", i)));
  }
  EXPECT_EQ(control.metadata.back().find("x-gridiron-task"), "ta-1");
}

TEST_F(WorkerTest, AContainersDoorGoesWithIt) {
  testing::Puppet* puppet = started(order());
  net::GrpcChannel inside(io, fmt::format("http://127.0.0.1:{}", puppet->port));
  puppet->end({0, 0, false});
  exitOf("ta-1");
  EXPECT_TRUE(until([&] { return worker->containers() == 0; }));
  bool answered = false;
  spawn(io, testing::callOnce(&inside, "/modal.client.ModalClient/AppCreate", &answered));
  EXPECT_TRUE(until([&] { return answered; }));
  EXPECT_TRUE(control.metadata.empty());
}

TEST_F(WorkerTest, ReportsTheEndAfterTheLastWords) {
  testing::Puppet* puppet = started(order());
  puppet->print("last words");
  puppet->end({3, 0, true});
  const link::InstanceEvent exit = exitOf("ta-1");
  EXPECT_EQ(exit.exit_code(), 3);
  EXPECT_TRUE(exit.out_of_memory());
  EXPECT_EQ(control.output("ta-1"), "last words");
  EXPECT_TRUE(control.told.back().has_instance());
  EXPECT_TRUE(until([&] { return worker->containers() == 0; }));
}

TEST_F(WorkerTest, StopIsTermThenKillAfterTheGrace) {
  testing::Puppet* puppet = started(order());
  link::ToWorker stop;
  stop.mutable_stop()->set_task_id("ta-1");
  stop.mutable_stop()->set_grace_ms(1);
  control.command(stop);
  EXPECT_EQ(exitOf("ta-1").exit_signal(), SIGKILL);
  (void)puppet;
}

TEST_F(WorkerTest, ASignalGoesToTheContainer) {
  testing::Puppet* puppet = started(order());
  link::ToWorker signal;
  signal.mutable_signal()->set_task_id("ta-1");
  signal.mutable_signal()->set_signal(SIGINT);
  control.command(signal);
  EXPECT_TRUE(until([&] { return puppet->signals == std::vector<int>{SIGINT}; }));
}

TEST_F(WorkerTest, ComesBackAfterALostSessionAndSaysWhatRuns) {
  started(order());
  control.told.clear();
  spawn(io, endCall(control.session));
  EXPECT_TRUE(until([&] { return control.sessions == 2 && !control.told.empty(); }));
  EXPECT_THAT(control.told.at(0).hello().task_ids(), ElementsAre("ta-1"));
}

TEST_F(WorkerTest, BuildsAnImageAndTellsWhatItSaid) {
  link::ToWorker command;
  link::BuildImage& build = *command.mutable_build();
  build.set_image_id("im-9");
  build.add_dockerfile_commands("RUN true");
  link::Variable& secret = *build.add_secrets();
  secret.set_name("KEY");
  secret.set_value("very-secret-key");
  control.command(command);
  EXPECT_TRUE(until([&] { return control.told.back().has_build(); }));
  EXPECT_EQ(control.told.back().build().facts().python_version(), "Python 3.11.2");
  EXPECT_EQ(control.told.back().build().error(), "");
  EXPECT_EQ(control.output("im-9"), "Step 1: RUN true\nlast words ***");
}

TEST_F(WorkerTest, ABuildCanBeCancelled) {
  link::ToWorker command;
  command.mutable_build()->set_image_id("im-9");
  command.mutable_build()->add_dockerfile_commands("wait");
  control.command(command);
  link::ToWorker cancel;
  cancel.mutable_cancel_build()->set_image_id("im-9");
  control.command(cancel);
  EXPECT_TRUE(until([&] { return control.told.back().has_build(); }));
  EXPECT_THAT(control.told.back().build().error(), HasSubstr("cancelled"));
}

TEST_F(WorkerTest, WhatARunFunctionChangedBecomesAnImage) {
  link::StartInstance builder = order();
  builder.set_commit_as_image_id("im-7");
  testing::Puppet* puppet = started(builder);
  EXPECT_EQ(puppet->spec.upper, scratch.path() + "/data/containers/ta-1/changes");
  puppet->end({0, 0, false});
  exitOf("ta-1");
  const link::FromWorker& told = control.told.at(control.told.size() - 2);
  EXPECT_EQ(told.build().image_id(), "im-7");
  EXPECT_EQ(told.build().error(), "");
}

TEST_F(WorkerTest, StoppingTheWorkerEndsItsContainers) {
  started(order());
  bool stopped = false;
  spawn(io, stopAgent(&*worker, &stopped));
  EXPECT_TRUE(until([&] { return stopped; }));
  EXPECT_TRUE(control.event("ta-1", link::InstanceEvent::EXITED).has_value());
  EXPECT_EQ(worker->containers(), 0u);
}

}  // namespace
}  // namespace gridiron::worker
