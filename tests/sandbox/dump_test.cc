#include <gmock/gmock.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fixture.h"
#include "image/base.h"

namespace gridiron::sandbox {
namespace fs = std::filesystem;

using namespace std::chrono_literals;
using testing::HasSubstr;

// The one that GRIDIRON_CRIU names, or that grids fetch into the cache of this machine.
Result<std::string> criuForTests() {
  if (const char* root = std::getenv("GRIDIRON_CRIU")) return std::string(root);
  const char* cache = std::getenv("GRIDIRON_CACHE");
  const std::string folder = cache ? cache : "/var/cache/gridiron";
  ASSIGN_OR_RETURN(const auto host, image::hostSettings(image::readHostTexts(), testing::TempDir() + "/host"));
  RETURN_IF_ERROR(image::bootstrapCriu(folder, host, [](std::string_view) {}));
  return image::criuTree(folder);
}

// Containers that go on where another one stood. Wants a criu that suits the kernel.
class Dumps : public SandboxTest {
 protected:
  void SetUp() override {
    static const Result<std::string> root = criuForTests();
    if (!root.ok()) GTEST_SKIP() << "there is no criu: " << root.error().message;
    options_.criuRoot = *root;
    SandboxTest::SetUp();
    fs::create_directories(directory_ + "/images");
    fs::create_directories(directory_ + "/state");
  }
  // Waits for /state/go like the client does, and tells what it has kept.
  Spec waiting() {
    Spec spec = python(R"(
import os, threading, time
kept = bytearray(os.urandom(1 << 20)) * 16
threading.Thread(target=lambda: time.sleep(60), daemon=True).start()
print("waits", sum(kept[::4096]), flush=True)
while not os.path.exists("/state/go"):
    time.sleep(0.01)
print(open("/state/go").read(), sum(kept[::4096]), os.getpid(), flush=True)
raise SystemExit(7)
)");
    spec.binds.push_back({directory_ + "/state", "/state", true});
    return spec;
  }
  Spec restored() {
    Spec spec = waiting();
    spec.images = images();
    spec.patience = 5s;
    return spec;
  }
  std::string images() const { return directory_ + "/images"; }
  void go(const std::string& word) { std::ofstream(directory_ + "/state/go") << word; }
};

TEST_F(Dumps, TheOriginalGoesOnAndSoDoTwoCopies) {
  auto original = start(waiting());
  ASSERT_TRUE(original.ok()) << original.error().message;
  const Fd output = (*original)->takeStdout();
  const std::string first = readLine(output);
  const std::string sum = first.substr(first.find(' ') + 1);
  const auto dumped = (*original)->dump(images(), 20s);
  ASSERT_TRUE(dumped.ok()) << dumped.error().message;
  go("gone");
  EXPECT_EQ(readLine(output), "gone " + sum + " 2");
  EXPECT_EQ((*original)->wait().code, 7);
  fs::remove(directory_ + "/state/go");
  auto copy = start(restored()), another = start(restored());
  ASSERT_TRUE(copy.ok()) << copy.error().message;
  ASSERT_TRUE(another.ok()) << another.error().message;
  go("on");
  for (Sandbox* each : {copy->get(), another->get()}) {
    EXPECT_EQ(each->phases().back().name, "restore");
    EXPECT_EQ(readAll(each->takeStdout()), "on " + sum + " 2\n");
    EXPECT_EQ(each->wait().code, 7);
  }
}

TEST_F(Dumps, ACopyHasNoMorePrivilegesThanTheOriginal) {
  Spec spec = python(R"(
import os, sys, time
print("waits", flush=True)
while not os.path.exists("/state/go"):
    time.sleep(0.01)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(*(status[key].strip() for key in ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters")))
sys.stdout.flush()
time.sleep(60)
)");
  spec.binds.push_back({directory_ + "/state", "/state", true});
  auto original = start(spec);
  ASSERT_TRUE(original.ok()) << original.error().message;
  const Fd output = (*original)->takeStdout();
  EXPECT_EQ(readLine(output), "waits");
  const auto dumped = (*original)->dump(images(), 20s);
  ASSERT_TRUE(dumped.ok()) << dumped.error().message;
  go("gone");
  const std::string rights = readLine(output);
  EXPECT_THAT(rights, HasSubstr("1 2 1"));
  spec.name += "-copy";
  spec.images = images();
  auto copy = start(spec);
  ASSERT_TRUE(copy.ok()) << copy.error().message;
  EXPECT_EQ(readLine((*copy)->takeStdout()), rights);
}

// CRIU may wait for ever for what is not there.
TEST_F(Dumps, ImagesThatAreCutShortAreAFailedStart) {
  auto original = start(waiting());
  ASSERT_TRUE(original.ok()) << original.error().message;
  readLine((*original)->takeStdout());
  const auto dumped = (*original)->dump(images(), 20s);
  ASSERT_TRUE(dumped.ok()) << dumped.error().message;
  fs::resize_file(images() + "/pages-1.img", 4096);
  const auto copy = start(restored());
  ASSERT_FALSE(copy.ok());
  EXPECT_THAT(copy.error().message, HasSubstr("restore: criu"));
}

TEST_F(Dumps, ARestoreThatTakesTooLongIsAFailedStart) {
  auto original = start(waiting());
  ASSERT_TRUE(original.ok()) << original.error().message;
  readLine((*original)->takeStdout());
  const auto dumped = (*original)->dump(images(), 20s);
  ASSERT_TRUE(dumped.ok()) << dumped.error().message;
  Spec spec = restored();
  spec.patience = 1ms;
  const auto copy = start(spec);
  ASSERT_FALSE(copy.ok());
  EXPECT_THAT(copy.error().message, HasSubstr("took more than 1 ms"));
}

TEST_F(Dumps, WhatCannotBeKeptIsSaidAndTheOriginalGoesOn) {
  auto original = start(waiting());
  ASSERT_TRUE(original.ok()) << original.error().message;
  const Fd output = (*original)->takeStdout();
  readLine(output);
  const auto dumped = (*original)->dump(images(), 1ms);
  ASSERT_FALSE(dumped.ok());
  go("gone");
  EXPECT_THAT(readLine(output), HasSubstr("gone"));
}

}  // namespace gridiron::sandbox
