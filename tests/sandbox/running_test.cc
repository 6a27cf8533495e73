#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <functional>
#include <iostream>

#include <filesystem>
#include <fstream>

#include "fixture.h"

namespace gridiron::sandbox {
namespace fs = std::filesystem;

using Running = SandboxTest;

TEST_F(Running, AProgramsOutputAndExitCodeComeBack) {
  const Ran ran = run(shell("echo hello; echo oh >&2; exit 7"));
  EXPECT_EQ(ran.out, "hello\n");
  EXPECT_EQ(ran.err, "oh\n");
  EXPECT_EQ(ran.exit.code, 7);
  EXPECT_EQ(ran.exit.signal, 0);
  EXPECT_FALSE(ran.exit.outOfMemory);
}

TEST_F(Running, TheProgramSeesItsOwnWorld) {
  Spec spec = shell("hostname; pwd; echo $COLOUR; ls /proc | grep -c '^[0-9]'; id -u; cat /etc/hostname");
  spec.hostname = "grape";
  spec.workdir = "/root";
  spec.environment.emplace_back("COLOUR", "blue");
  EXPECT_EQ(run(spec).out.substr(0, 17), "grape\n/root\nblue\n");
}

TEST_F(Running, AProgramKilledByASignalSaysSo) {
  const Ran ran = run(shell("kill -USR1 $$"));
  EXPECT_EQ(ran.exit.signal, SIGUSR1);
  EXPECT_EQ(ran.exit.code, 128 + SIGUSR1);
}

TEST_F(Running, AnInterruptReachesPythonAsKeyboardInterrupt) {
  auto started = start(python(
      "import time\ntry:\n  print('ready')\n  time.sleep(60)\nexcept KeyboardInterrupt:\n  print('interrupted')"));
  ASSERT_TRUE(started.ok()) << started.error().message;
  Fd out = (*started)->takeStdout();
  ASSERT_EQ(readLine(out), "ready");
  ASSERT_TRUE((*started)->signal(SIGINT).ok());
  EXPECT_EQ(readAll(std::move(out)), "interrupted\n");
  EXPECT_EQ((*started)->wait().code, 0);
}

TEST_F(Running, APidOneThatIsSignalledHandsItOn) {
  const Ran ran =
      run(python("import os,signal,time\nsignal.signal(signal.SIGTERM, lambda *a: (print('term'), exit(3)))\n"
                 "os.kill(1, signal.SIGTERM)\ntime.sleep(60)"));
  EXPECT_EQ(ran.out, "term\n");
  EXPECT_EQ(ran.exit.code, 3);
}

TEST_F(Running, OrphansAreReapedByPidOne) {
  const Ran ran =
      run(python("import os,time\n"
                 "r,w=os.pipe()\n"
                 "if os.fork()==0:\n"
                 "  pid=os.fork()\n"
                 "  if pid: os.write(w,str(pid).encode()); os._exit(0)\n"
                 "  os._exit(0)\n"
                 "os.wait(); orphan=int(os.read(r,20))\n"
                 "while os.path.exists('/proc/%d'%orphan): os.sched_yield()\n"
                 "print('reaped')"));
  EXPECT_EQ(ran.out, "reaped\n");
}

TEST_F(Running, AMissingProgramNamesTheStepAndTheErrno) {
  Spec spec = shell("");
  spec.argv = {"no-such-program"};
  const auto started = start(spec);
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.error().message.find("exec: exec no-such-program: ENOENT"), std::string::npos)
      << started.error().message;
}

TEST_F(Running, AMissingLayerIsNamed) {
  Spec spec = shell("true");
  spec.lowers.push_back(directory_ + "/gone");
  const auto started = start(spec);
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.error().message.find("/gone as a mount: ENOENT"), std::string::npos) << started.error().message;
}

TEST_F(Running, KillEndsAllOfIt) {
  auto started = start(shell("sleep 100 & sleep 100"));
  ASSERT_TRUE(started.ok()) << started.error().message;
  pollfd ended{(*started)->exitFd(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 0), 0);
  (*started)->kill();
  ASSERT_EQ(::poll(&ended, 1, 10'000), 1);
  EXPECT_EQ((*started)->wait().signal, SIGKILL);
}

TEST_F(Running, AnUpperHoldsTheChangesAndNothingOfOurs) {
  fs::create_directories(directory_ + "/layers/up");
  fs::create_directories(directory_ + "/data");
  Spec spec = shell("echo x > /etc/made; rm /root/old; mkdir /opt; echo y > /opt/y; ls -d /bound /bound/deep");
  std::ofstream(directory_ + "/lower/root/old") << "old";
  spec.upper = directory_ + "/layers/up";
  spec.binds.push_back({directory_ + "/data", "/bound/deep", false});
  const Ran ran = run(spec);
  EXPECT_EQ(ran.exit.code, 0) << ran.err;
  std::set<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(spec.upper)) {
    files.insert(entry.path().string().substr(spec.upper.size()));
  }
  EXPECT_EQ(files, (std::set<std::string>{"/etc", "/etc/made", "/opt", "/opt/y", "/root", "/root/old"}));
  struct stat owner {};
  ASSERT_EQ(::stat((spec.upper + "/opt/y").c_str(), &owner), 0);
  EXPECT_EQ(owner.st_uid, 0U) << "owners on disk are the container's, not shifted ones";
  struct stat gone {};
  ASSERT_EQ(::lstat((spec.upper + "/root/old").c_str(), &gone), 0);
  EXPECT_TRUE(S_ISCHR(gone.st_mode)) << "a deletion is a whiteout";
  EXPECT_EQ(fs::directory_iterator(directory_ + "/layers")->path(), spec.upper) << "no work directory stays beside it";
}

TEST_F(Running, AnUpperBecomesALayerOfTheNext) {
  Spec first = shell("rm -r /root; mkdir /root; echo new > /root/new");
  std::ofstream(directory_ + "/lower/root/old") << "old";
  first.upper = directory_ + "/layer";
  fs::create_directories(first.upper);
  ASSERT_EQ(run(first).exit.code, 0);
  Spec second = shell("ls /root; echo z > /root/z");
  second.lowers.insert(second.lowers.begin(), first.upper);
  EXPECT_EQ(run(second).out, "new\n") << "the opaque directory hides what lies below";
}

TEST_F(Running, ADanglingResolvConfIsMadeAndTakenBack) {
  fs::create_symlink("../run/resolve/stub.conf", directory_ + "/lower/etc/resolv.conf");
  Spec spec = shell("test -r /etc/resolv.conf && echo readable");
  spec.upper = directory_ + "/up";
  fs::create_directories(spec.upper);
  const Ran ran = run(spec);
  EXPECT_EQ(ran.exit.code, 0) << ran.err;
  EXPECT_FALSE(fs::exists(spec.upper + "/run/resolve"));
}

TEST_F(Running, ABindIsReadOnlyUnlessAsked) {
  fs::create_directories(directory_ + "/data");
  Spec spec = shell("echo 1 > /rw/file; echo 2 > /ro/file");
  spec.binds.push_back({directory_ + "/data", "/rw", false});
  spec.binds.push_back({directory_ + "/data", "/ro", true});
  const Ran ran = run(spec);
  EXPECT_NE(ran.err.find("Read-only file system"), std::string::npos) << ran.err;
  std::string text;
  std::ifstream(directory_ + "/data/file") >> text;
  EXPECT_EQ(text, "1");
  struct stat owner {};
  ASSERT_EQ(::stat((directory_ + "/data/file").c_str(), &owner), 0);
  EXPECT_EQ(owner.st_uid, 0U);
}

TEST_F(Running, FiftyStartsInARowWorkAndAreMeasured) {
  for (int i = 0; i < 50; ++i) {
    Spec spec = shell("");
    spec.argv = {"true"};
    spec.network = Network::nat;
    auto started = start(spec);
    ASSERT_TRUE(started.ok()) << started.error().message;
    EXPECT_EQ((*started)->wait().code, 0);
    std::set<std::string> names;
    for (const Phase& phase : (*started)->phases()) names.insert(phase.name);
    EXPECT_TRUE(names.contains("namespaces") && names.contains("rootfs") && names.contains("network") &&
                names.contains("exec"));
    ASSERT_TRUE((*started)->remove().ok());
  }
}

// A child process in a plain chroot of the host's own directories; gives what it ended with.
int inChroot(const std::string& top, const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(100);
    const std::string init = fs::path(GRIDIRON_INIT).parent_path();
    for (const std::string& name : {std::string("/usr"), std::string("/proc"), std::string("/sys"), std::string("/dev"),
                                    std::string("/var"), std::string("/etc"), init}) {
      std::filesystem::create_directories(top + name);
      if (::mount(name.c_str(), (top + name).c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) ::_exit(101);
    }
    if (::chroot(top.c_str()) != 0 || ::chdir("/") != 0) ::_exit(102);
    ::_exit(act());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(Running, APlainChrootIsMadeARootThatContainersCanStartFrom) {
  const std::string top = directory_ + "/chroot";
  std::filesystem::create_directories(top);
  for (const char* link : {"bin", "lib", "lib64", "sbin"})
    std::filesystem::create_symlink(std::string("usr/") + link, top + "/" + link);
  const int ended = inChroot(top, [&] {
    if (probeHost().rootIsMount) return 1;
    if (const auto made = makeRootAMount(); !made.ok()) {
      std::cerr << made.error().message << std::endl;
      return 2;
    }
    const HostFacts facts = probeHost();
    if (!facts.rootIsMount || !facts.userNamespaces) return 3;
    auto sandboxes = open();
    if (!sandboxes.ok()) return 4;
    sandboxes_ = std::move(*sandboxes);
    const Ran ran = run(shell("echo from a chroot"));
    sandboxes_.reset();
    return ran.out == "from a chroot\n" ? 0 : 5;
  });
  EXPECT_EQ(ended, 0);
}

}  // namespace gridiron::sandbox
