#include <signal.h>

#include <chrono>

#include "base/fd.h"
#include "fixture.h"
#include "sandbox/cgroup.h"

namespace gridiron::sandbox {

using Limiting = SandboxTest;

TEST_F(Limiting, MemoryBeyondTheLimitEndsTheProgramAndIsRecognised) {
  Spec spec = python("x = bytearray(400 << 20)");
  spec.limits.memoryBytes = 64 << 20;
  const Ran ran = run(spec);
  EXPECT_TRUE(ran.exit.outOfMemory);
  EXPECT_EQ(ran.exit.signal, SIGKILL);
}

TEST_F(Limiting, MemoryWithinTheLimitIsFine) {
  Spec spec = python("x = bytearray(64 << 20); print(len(x))");
  spec.limits.memoryBytes = 256 << 20;
  const Ran ran = run(spec);
  EXPECT_EQ(ran.out, "67108864\n");
  EXPECT_FALSE(ran.exit.outOfMemory);
}

TEST_F(Limiting, ProcessesBeyondTheLimitAreRefused) {
  Spec spec = python(
      "import os,signal\nn=0\ntry:\n  while True:\n    if os.fork()==0: signal.pause()\n    n+=1\n"
      "except BlockingIOError: print('refused after', n)");
  spec.limits.pids = 20;
  EXPECT_EQ(run(spec).out, "refused after 19\n");
}

TEST_F(Limiting, AQuotaOfTheProcessorIsHeld) {
  Spec spec =
      python("import time\nstart=time.monotonic()\nwhile time.monotonic()-start<1: pass\nprint(time.process_time())");
  spec.limits.milliCpu = 200;
  const double used = std::stod(run(spec).out);
  EXPECT_LT(used, 0.5);
  EXPECT_GT(used, 0.02);
}

// The cgroup of the one container that runs, in the hierarchy that shares out the CPU.
std::string cpuGroup(const std::set<std::string>& traces) {
  for (const auto& group : traces) {
    if (readFile(group + "/cpu.shares").ok() || readFile(group + "/cpu.weight").ok()) return group;
  }
  return "";
}

std::string either(const std::string& v1, const std::string& v2) {
  const auto first = readFile(v1), second = readFile(v2);
  return first.ok() ? "v1 " + *first : second.ok() ? "v2 " + *second : "";
}

TEST_F(Limiting, AWeightIsThatOfTheContainersGroup) {
  Spec spec = python("import time; time.sleep(60)");
  spec.limits.cpuWeight = 4000;
  const auto sandbox = start(spec);
  ASSERT_TRUE(sandbox.ok()) << sandbox.error().message;
  const std::string group = cpuGroup(traces(options_.instance, options_.stateDirectory));
  const std::string found = either(group + "/cpu.shares", group + "/cpu.weight");
  EXPECT_TRUE(found == "v1 4096\n" || found == "v2 400\n") << found;
}

TEST_F(Limiting, WhoIsPromptRunsBeforeThosePatientAndLeavesThemAQuarter) {
  for (const bool prompt : {false, true}) {
    Spec spec = python("import time; time.sleep(60)");
    spec.name += prompt ? "-prompt" : "-patient";
    spec.limits.prompt = prompt;
    const auto sandbox = start(spec);
    ASSERT_TRUE(sandbox.ok()) << sandbox.error().message;
    const std::filesystem::path group = cpuGroup(traces(options_.instance, options_.stateDirectory));
    const std::string parent = group.parent_path();
    EXPECT_EQ(group.parent_path().filename(), prompt ? kPrompt : kPatient);
    const std::string share = either(parent + "/cpu.shares", parent + "/cpu.weight");
    if (prompt) {
      EXPECT_TRUE(share == "v1 10\n" || share == "v2 1\n") << share;
    } else {
      EXPECT_EQ(*readFile(parent + "/cpu.idle"), "1\n");
    }
  }
}

}  // namespace gridiron::sandbox
