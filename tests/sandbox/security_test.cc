#include "fixture.h"

namespace gridiron::sandbox {

using Security = SandboxTest;

TEST_F(Security, PrivilegesAreThoseOfAnOrdinaryContainer) {
  const Ran ran = run(shell("grep -E 'NoNewPrivs|Seccomp:|CapEff|CapBnd' /proc/self/status"));
  EXPECT_NE(ran.out.find("NoNewPrivs:\t1"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("Seccomp:\t2"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("CapEff:\t00000000a00405fb"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("CapBnd:\t00000000a00405fb"), std::string::npos) << ran.out;
}

TEST_F(Security, RootInsideIsNotRootOutside) {
  if (!probeHost().userNamespaces) GTEST_SKIP() << "skipped: no user namespaces on this host";
  EXPECT_EQ(run(shell("cat /proc/self/uid_map | tr -s ' '; id -u")).out, " 0 100000 65536\n0\n");
}

TEST_F(Security, TheHostsSettingsAreOutOfReach) {
  const Ran ran =
      run(shell("echo 1 > /proc/sys/kernel/panic; echo b > /proc/sysrq-trigger; mount -t tmpfs x /tmp; "
                "unshare -m true; mknod /tmp/disk b 254 0; cat /proc/kcore | wc -c; ls /sys/firmware | wc -l; "
                "echo x > /sys/kernel/mm/ksm/run; chroot / true && echo chroot works"));
  EXPECT_NE(ran.out.find("0\n0\nchroot works\n"), std::string::npos) << ran.out << ran.err;
  for (const char* refused :
       {"/proc/sys/kernel/panic", "/proc/sysrq-trigger", "mount: ", "unshare: ", "mknod: ", "ksm/run"}) {
    EXPECT_NE(ran.err.find(refused), std::string::npos) << refused << " was not refused:\n" << ran.err;
  }
}

TEST_F(Security, NeitherTheHostsFilesNorItsProcessesAreSeen) {
  const Ran ran =
      run(shell("ls -d /work /var/tmp /proc/1/root/home 2>/dev/null; ls -d /proc/[0-9]* | wc -l; "
                "ls /proc/self/fd | tr '\\n' ' '"));
  EXPECT_EQ(ran.out.find("/var/tmp"), std::string::npos);
  EXPECT_NE(ran.out.find("0 1 2 3 "), std::string::npos) << "no descriptor of ours leaks (3 is ls's own): " << ran.out;
  EXPECT_EQ(ran.out.find("0 1 2 3 4"), std::string::npos) << ran.out;
}

TEST_F(Security, TheUsualDevicesWork) {
  const Ran ran =
      run(shell("echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; "
                "echo x > /dev/full 2>/dev/null || echo full; touch /dev/shm/a && echo shm; "
                "python3 -I -c 'import pty; pty.openpty(); print(\"pty\")'; test -e /dev/vda || echo no disk"));
  EXPECT_EQ(ran.out, "4\n4\nfull\nshm\npty\nno disk\n") << ran.err;
}

TEST_F(Security, ALinkInAnImageDoesNotLeadABindOntoTheHost) {
  ASSERT_EQ(::symlink("/etc", (directory_ + "/lower/trap").c_str()), 0);
  Spec spec = shell("cat /etc/inside/note");
  spec.binds.push_back({directory_ + "/data", "/trap/inside", true});
  ASSERT_EQ(::system(("mkdir " + directory_ + "/data && echo safe > " + directory_ + "/data/note").c_str()), 0);
  EXPECT_EQ(run(spec).out, "safe\n");
  EXPECT_NE(::access("/etc/inside", F_OK), 0);
}

}  // namespace gridiron::sandbox
