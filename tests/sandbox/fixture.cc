#include "fixture.h"

#include <dirent.h>
#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>

#include "sandbox/cgroup.h"
#include "sandbox/network.h"

namespace gridiron::sandbox {
namespace fs = std::filesystem;

std::string readAll(Fd fd) {
  std::string out;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;) out.append(buffer, static_cast<std::size_t>(n));
  return out;
}

std::string readLine(const Fd& fd) {
  std::string out;
  for (char c; ::read(fd.get(), &c, 1) == 1 && c != '\n';) out += c;
  return out;
}

std::set<std::string> traces(const std::string& instance, const std::string& stateDirectory) {
  std::set<std::string> out;
  std::error_code failed;
  for (const auto& hierarchy : fs::directory_iterator("/sys/fs/cgroup", failed)) {
    const fs::path top = hierarchy.path() / ("gridiron-" + instance);
    for (const fs::path& parent : {top, top / kPrompt, top / kPatient}) {  // stay, as the top does
      for (const auto& group : fs::directory_iterator(parent, failed)) {
        if (!group.is_directory(failed) || group.path() == top / kPrompt || group.path() == top / kPatient) continue;
        out.insert(group.path());
      }
    }
  }
  for (const auto& link : fs::directory_iterator("/sys/class/net", failed)) {
    const std::string name = link.path().filename().string();
    if (name.starts_with(NetworkNames::of(instance).linkPrefix)) out.insert(link.path());
  }
  for (const auto& box : fs::directory_iterator(stateDirectory + "/boxes", failed)) out.insert(box.path());
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(stateDirectory) != std::string::npos) out.insert(line);
  }
  return out;
}

void SandboxTest::SetUp() {
  const HostFacts facts = probeHost();
  if (!facts.root || facts.cgroups == HostFacts::Cgroups::none || !facts.overlay || !facts.nftables) {
    std::string why = "skipped: this host cannot run containers:";
    for (const std::string& problem : facts.problems) why += "\n  " + problem;
    std::cout << why << std::endl;
    GTEST_SKIP() << why;
  }
  if (!fs::is_symlink("/bin") || !fs::exists("/usr/bin/python3")) {
    std::cout << "skipped: needs a host with /bin in /usr and python3" << std::endl;
    GTEST_SKIP() << "needs a host with /bin in /usr and python3";
  }
  const std::string lower = directory_ + "/lower";
  for (const char* made : {"/usr", "/tmp", "/root", "/etc"}) fs::create_directories(lower + made);
  for (const char* link : {"bin", "lib", "lib64", "sbin"})
    fs::create_symlink(std::string("usr/") + link, lower + "/" + link);
  const int pid = ::getpid();
  options_.stateDirectory = directory_ + "/state";
  options_.initPath = GRIDIRON_INIT;
  options_.instance = "test-" + std::to_string(pid);
  options_.bridge = "gt" + std::to_string(pid);
  options_.subnet = "10." + std::to_string(64 + pid % 64) + ".0.0/16";  // grids on this host are above 10.128
  auto opened = open();
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  sandboxes_ = std::move(*opened);
}

void SandboxTest::TearDown() {
  if (!sandboxes_) return;
  const auto swept = sandboxes_->sweep();
  EXPECT_TRUE(swept.ok()) << swept.error().message;
}

Spec SandboxTest::shell(const std::string& script) {
  Spec spec;
  spec.name = "box-" + std::to_string(++started_);
  spec.lowers = {directory_ + "/lower"};
  spec.binds = {{"/usr", "/usr", true}};
  spec.argv = {"sh", "-c", script};
  spec.environment = {{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}};
  spec.network = Network::none;
  return spec;
}

Spec SandboxTest::python(const std::string& script) {
  Spec spec = shell("");
  spec.argv = {"python3", "-I", "-u", "-c", script};
  return spec;
}

Ran SandboxTest::run(const Spec& spec) {
  Ran out;
  auto started = start(spec);
  EXPECT_TRUE(started.ok()) << started.error().message;
  if (!started.ok()) return out;
  out.out = readAll((*started)->takeStdout());
  out.err = readAll((*started)->takeStderr());
  out.exit = (*started)->wait();
  const auto removed = (*started)->remove();
  EXPECT_TRUE(removed.ok()) << removed.error().message;
  return out;
}

}  // namespace gridiron::sandbox
