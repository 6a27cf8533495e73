#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/clock.h"
#include "base/descriptors.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/loop.h"
#include "base/priority.h"
#include "base/subprocess.h"
#include "base/testing.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;

TEST(Digest, MatchesTheStandardsExamples) {
  EXPECT_EQ(sha256("abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-2 B.1
  const auto digest = md5("abc");                                                                      // RFC 1321 A.5
  EXPECT_EQ(hexEncode(std::string_view(reinterpret_cast<const char*>(digest.data()), 16)),
            "900150983cd24fb0d6963f7d28e17f72");
}

TEST(Digest, Base64GoesThereAndBack) {
  for (const std::string text : {"", "f", "fo", "foo", "foob", "\xff\xfe\xfd\xfc"}) {
    EXPECT_EQ(base64Decode(base64Encode(text)), text);
    EXPECT_EQ(base64Decode(base64UrlEncode(text)), text);
  }
  EXPECT_EQ(base64Encode("foob"), "Zm9vYg==");
  EXPECT_EQ(base64Decode("a"), std::nullopt);
  EXPECT_EQ(base64Decode("a*aa"), std::nullopt);
}

TEST(Digest, AHexDigestReadsBackAndGarbageDoesNot) {
  EXPECT_EQ(Sha256::fromHex(sha256("x").hex()), sha256("x"));
  EXPECT_EQ(Sha256::fromHex("12"), std::nullopt);
  EXPECT_EQ(Sha256::fromHex(std::string(64, 'g')), std::nullopt);
}

TEST(Id, HasTheShapeTheClientsCheck) {
  const std::string id = randomId("ap");
  EXPECT_EQ(id.size(), 3u + 22u);
  EXPECT_EQ(id.substr(0, 3), "ap-");
  EXPECT_NE(id, randomId("ap"));
  EXPECT_EQ(contentId("im", "a"), contentId("im", "a"));
  EXPECT_NE(contentId("im", "a"), contentId("im", "b"));
}

TEST(Subprocess, GivesOutputAndExitCode) {
  std::string live;
  const auto finished = runCommand({.argv = {"sh", "-c", "cat; echo err >&2; exit 3"},
                                    .environment = {},
                                    .withoutEnvironment = {},
                                    .directory = "",
                                    .input = "in\n",
                                    .timeout = 20s,
                                    .onOutput = [&](std::string_view piece) { live += piece; }});
  ASSERT_TRUE(finished.ok());
  EXPECT_EQ(finished->exitCode, 3);
  EXPECT_EQ(finished->output, "in\nerr\n");
  EXPECT_EQ(live, finished->output);
}

TEST(Subprocess, IsKilledAtItsTimeoutWithItsChildren) {
  const auto finished = runCommand({.argv = {"sh", "-c", "sleep 100 & sleep 100"},
                                    .environment = {},
                                    .withoutEnvironment = {},
                                    .directory = "",
                                    .input = "",
                                    .timeout = 50ms,
                                    .onOutput = nullptr});
  ASSERT_TRUE(finished.ok());
  EXPECT_TRUE(finished->timedOut);
  EXPECT_EQ(finished->exitCode, 128 + 9);
}

TEST(Subprocess, ThatDoesNotExistIsNamed) {
  const auto finished = runCommand({.argv = {"/no/such/program"},
                                    .environment = {},
                                    .withoutEnvironment = {},
                                    .directory = "",
                                    .input = "",
                                    .timeout = 1s,
                                    .onOutput = nullptr});
  ASSERT_FALSE(finished.ok());
  EXPECT_NE(finished.error().message.find("/no/such/program"), std::string::npos);
}

TEST(Files, AreReplacedAsAWhole) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/a/b/file";
  ASSERT_TRUE(makeDirectories(directory.path() + "/a/b").ok());
  ASSERT_TRUE(writeFileAtomic(path, "one", 0600, Durable::yes).ok());
  ASSERT_TRUE(writeFileAtomic(path, "two", 0600, Durable::no).ok());
  EXPECT_EQ(*readFile(path), "two");
  EXPECT_EQ(readFile(path + ".none").error().code, Code::notFound);
}

TEST(Notifier, WakesThoseWhoWaitAndTimesOutTheOthers) {
  asio::io_context io;
  Notifier notifier(io);
  std::string story;
  spawn(io, [](Notifier& n, std::string& out) -> Task<void> {
    out += co_await n.wait(10s) ? "woken " : "timeout ";
    out += co_await n.wait(1ms) ? "woken" : "timeout";
  }(notifier, story));
  io.poll();
  notifier.notifyAll();
  io.run();
  EXPECT_EQ(story, "woken timeout");
}

TEST(Notifier, DestroyedWakesItsWaiters) {
  asio::io_context io;
  auto notifier = std::make_unique<Notifier>(io);
  bool woken = false;
  spawn(io, [](Notifier& n, bool& out) -> Task<void> { out = co_await n.wait(10s); }(*notifier, woken));
  io.poll();
  notifier.reset();
  io.run();
  EXPECT_TRUE(woken);
}

TEST(Priority, IsOfTheThreadAndNotOfWhatItStarts) {
  std::thread([] {
    preferThisThread();
    const auto nice = [] { return ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid())); };
    const int own = nice();
    int started = 99;
    std::thread([&] { started = nice(); }).join();
    EXPECT_TRUE(own == -10 || own == 0) << "0 where the process may not ask for more";
    EXPECT_EQ(started, 0);
  }).join();
}

TEST(Descriptors, ComeBesideAByteAndAreTheReceiversOwn) {
  int ends[2], pipe[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  Fd here(ends[0]), there(ends[1]), reader(pipe[0]), writer(pipe[1]);
  EXPECT_EQ(receiveDescriptor(there.get()).error().code, Code::unavailable);
  const int sent[] = {writer.get()};
  ASSERT_TRUE(sendDescriptors(here.get(), 'x', sent).ok());
  writer.reset();
  const Result<Fd> come = receiveDescriptor(there.get());
  ASSERT_TRUE(come.ok());
  EXPECT_EQ(::write(come->get(), "y", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
}

TEST(Descriptors, AMessageWithoutOneAndAPeerThatIsGoneAreErrors) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Fd here(ends[0]), there(ends[1]);
  ASSERT_EQ(::write(here.get(), "x", 1), 1);
  EXPECT_EQ(receiveDescriptor(there.get()).error().code, Code::unavailable);
  there.reset();
  const int own[] = {here.get()};
  EXPECT_EQ(sendDescriptors(here.get(), 'x', own).error().code, Code::unavailable);
}

TEST(Clock, TheFakeOneMovesOnlyWhenTold) {
  FakeClock clock;
  const Time start = clock.now();
  clock.advance(30s);
  EXPECT_EQ(clock.now() - start, 30s);
}

}  // namespace
}  // namespace gridiron
