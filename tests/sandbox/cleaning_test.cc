#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/subprocess.h"
#include "fixture.h"

namespace gridiron::sandbox {

using Cleaning = SandboxTest;

// The instance's own groups, parents of its containers'.
std::vector<std::string> groups(const std::string& instance) {
  std::vector<std::string> out;
  std::error_code failed;
  const std::filesystem::path top = "/sys/fs/cgroup";
  if (std::filesystem::exists(top / ("gridiron-" + instance))) out.push_back(top);
  for (const auto& entry : std::filesystem::directory_iterator(top, failed)) {
    if (std::filesystem::exists(entry.path() / ("gridiron-" + instance))) out.push_back(entry.path());
  }
  return out;
}

TEST_F(Cleaning, RemoveLeavesNothing) {
  Spec first = shell("true");
  first.network = Network::nat;
  run(first);  // bridge and rules stay for the next
  const auto before = traces(options_.instance, options_.stateDirectory);
  Spec spec = shell("sleep 100");
  spec.network = Network::nat;
  auto started = start(spec);
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_GT(traces(options_.instance, options_.stateDirectory).size(), before.size());
  (*started)->kill();
  EXPECT_TRUE((*started)->remove().ok());
  EXPECT_TRUE((*started)->remove().ok()) << "remove may be repeated";
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), before);
}

TEST_F(Cleaning, AnOrderlyEndTakesBridgeRulesAndCgroupsAway) {
  Spec spec = shell("true");
  spec.network = Network::nat;
  run(spec);
  EXPECT_TRUE(std::filesystem::exists("/sys/class/net/" + options_.bridge));
  EXPECT_FALSE(groups(options_.instance).empty());
  sandboxes_.reset();
  EXPECT_FALSE(std::filesystem::exists("/sys/class/net/" + options_.bridge));
  EXPECT_TRUE(groups(options_.instance).empty());
}

TEST_F(Cleaning, ADroppedSandboxIsKilledAndRemoved) {
  const auto before = traces(options_.instance, options_.stateDirectory);
  {
    auto started = start(shell("sleep 100"));
    ASSERT_TRUE(started.ok()) << started.error().message;
  }
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), before);
}

// A worker process that starts a container and is killed; gives the container's first process, stopped if asked so.
int startAndDie(Sandboxes& sandboxes, const Spec& spec, bool stopped) {
  int pipe[2];
  if (::pipe(pipe) != 0) return -1;
  const pid_t worker = ::fork();
  if (worker == 0) {
    auto started = sandboxes.start(spec, nullptr);
    const int pid = started.ok() ? (*started)->pid() : -1;
    if (stopped && pid > 0) ::kill(pid, SIGSTOP);
    if (::write(pipe[1], &pid, sizeof pid) < 0) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int pid = -1;
  if (::read(pipe[0], &pid, sizeof pid) != sizeof pid) pid = -1;
  ::close(pipe[0]);
  ::close(pipe[1]);
  ::waitpid(worker, nullptr, 0);
  return pid;
}

TEST_F(Cleaning, SweepRemovesWhatAKilledWorkerLeft) {
  const auto before = traces(options_.instance, options_.stateDirectory);
  Spec spec = shell("sleep 100");
  spec.network = Network::nat;
  spec.upper = directory_ + "/layers/up";
  std::filesystem::create_directories(spec.upper);
  ASSERT_GT(startAndDie(*sandboxes_, spec, true), 0);
  EXPECT_GT(traces(options_.instance, options_.stateDirectory).size(), before.size());
  const auto swept = sandboxes_->sweep();
  ASSERT_TRUE(swept.ok()) << swept.error().message;
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), before);
  EXPECT_FALSE(std::filesystem::exists("/sys/class/net/" + options_.bridge));
  EXPECT_FALSE(std::filesystem::exists(spec.upper + ".work-" + spec.name));
  Command list;
  list.argv = {"nft", "list", "tables"};
  EXPECT_EQ(runCommand(list)->output.find("test_" + std::to_string(::getpid())), std::string::npos);
  ASSERT_TRUE(sandboxes_->sweep().ok()) << "sweep may be repeated";
  EXPECT_EQ(run(spec = shell("echo again")).out, "again\n");
}

TEST_F(Cleaning, AContainerEndsWithItsWorker) {
  const int pid = startAndDie(*sandboxes_, shell("sleep 100"), false);
  ASSERT_GT(pid, 0);
  // Init sees its socket closed and ends; nothing here is its parent, so its end is seen in /proc.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (::kill(pid, 0) == 0 && std::chrono::steady_clock::now() < deadline) ::sched_yield();
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST_F(Cleaning, StartsAndRemovalsFromManyThreadsLeaveNothing) {
  Spec first = shell("true");
  first.network = Network::nat;
  run(first);
  const auto before = traces(options_.instance, options_.stateDirectory);
  std::vector<Spec> specs;
  for (int i = 0; i < 24; ++i) {
    specs.push_back(shell("exit " + std::to_string(i)));
    specs.back().network = i % 2 == 0 ? Network::nat : Network::host;
  }
  std::atomic<std::size_t> next{0};
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      for (std::size_t at; (at = next++) < specs.size();) {
        auto started = start(specs[at]);
        if (!started.ok()) ADD_FAILURE() << started.error().message;
        if (started.ok() && (*started)->wait().code == static_cast<int>(at) && (*started)->remove().ok()) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 24);
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), before);
}

}  // namespace gridiron::sandbox
