#include <signal.h>

#include <chrono>

#include "base/fd.h"
#include "fixture.h"

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

TEST_F(Limiting, AWeightIsThatOfTheContainersGroup) {
  Spec spec = python("import time; time.sleep(60)");
  spec.limits.cpuWeight = 4000;
  const auto sandbox = start(spec);
  ASSERT_TRUE(sandbox.ok()) << sandbox.error().message;
  std::string found;
  for (const auto& group : traces(options_.instance, options_.stateDirectory)) {
    const auto shares = readFile(group + "/cpu.shares"), weight = readFile(group + "/cpu.weight");
    if (shares.ok()) found = *shares;
    if (weight.ok()) found = *weight;
  }
  EXPECT_TRUE(found == "4096\n" || found == "400\n") << found;
}

}  // namespace gridiron::sandbox
