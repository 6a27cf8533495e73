#include "sandbox/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <sstream>

namespace gridiron::sandbox {
namespace {

constexpr const char* kControllers[] = {"memory", "cpu", "pids"};

Result<void> put(const std::string& file, const std::string& value) {
  Fd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return errnoError("open " + file);
  if (::write(fd.get(), value.data(), value.size()) < 0) return errnoError("write " + value + " to " + file);
  return {};
}

bool hasWord(const std::string& text, const std::string& word, char separator) {
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, separator);) {
    while (!item.empty() && item.back() == '\n') item.pop_back();
    if (item == word) return true;
  }
  return false;
}

// The number behind `key` in a file of "key number" lines; 0 when it is not there.
std::int64_t counterIn(const std::string& file, const std::string& key) {
  const auto text = readFile(file);
  if (!text.ok()) return 0;
  std::istringstream in(*text);
  std::string name;
  for (std::int64_t value; in >> name >> value;) {
    if (name == key) return value;
  }
  return 0;
}

// Lets children of `directory` have the controllers that we limit by (v2).
Result<void> delegate(const std::string& directory) {
  const auto enabled = readFile(directory + "/cgroup.subtree_control");
  if (!enabled.ok()) return enabled.error();
  for (const char* controller : kControllers) {
    if (hasWord(*enabled, controller, ' ')) continue;
    RETURN_IF_ERROR(put(directory + "/cgroup.subtree_control", std::string("+") + controller));
  }
  return {};
}

// Where the hierarchy at `mount` has the cgroups of prompt or of patient containers.
std::string parentIn(const CgroupLayout& layout, const std::string& mount, const std::string& group, bool prompt) {
  const bool sharesCpu = layout.kind == HostFacts::Cgroups::v2 || mount == layout.mountOf("cpu");
  const std::string top = mount + "/" + group;
  return sharesCpu ? top + "/" + (prompt ? kPrompt : kPatient) : top;
}

// 0755; false: it is there already.
Result<bool> makeGroup(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0755) == 0) return true;
  if (errno == EEXIST) return false;
  return errnoError("mkdir " + directory);
}

// Makes kPrompt or kPatient. The kernel runs who is not `idle` at once, and gives a group that is three shares where an
// ordinary one has 1024 (or a weight of 100); a kernel before 5.15 knows only shares.
Result<void> makeTurn(const std::string& directory, bool prompt) {
  ASSIGN_OR_RETURN(const bool made, makeGroup(directory));
  if (!made) return {};
  const auto has = [&](const char* file) { return ::access((directory + file).c_str(), W_OK) == 0; };
  const bool idle = has("/cpu.idle");
  if (!prompt) return idle ? put(directory + "/cpu.idle", "1") : Result<void>{};
  if (has("/cpu.weight")) return put(directory + "/cpu.weight", idle ? "1" : "300");
  return put(directory + "/cpu.shares", idle ? "10" : "3072");
}

// Makes what is above a container's cgroup.
Result<void> makeParent(const std::string& top, const std::string& parent, bool pure, bool prompt) {
  RETURN_IF_ERROR(makeGroup(top));
  if (pure) RETURN_IF_ERROR(delegate(top));
  if (parent == top) return {};
  RETURN_IF_ERROR(makeTurn(parent, prompt));
  return pure ? delegate(parent) : Result<void>{};
}

Result<void> limitV1(const CgroupLayout& layout, const std::string& group, const std::string& name,
                     const Limits& limits) {
  const auto file = [&](const char* controller, const char* what) {
    return parentIn(layout, layout.mountOf(controller), group, limits.prompt) + "/" + name + "/" + what;
  };
  if (limits.memoryBytes > 0) {
    const std::string bytes = std::to_string(limits.memoryBytes);
    RETURN_IF_ERROR(put(file("memory", "memory.limit_in_bytes"), bytes));
    // Without swap accounting the file is missing, and there is nothing to limit.
    const std::string withSwap = file("memory", "memory.memsw.limit_in_bytes");
    if (::access(withSwap.c_str(), W_OK) == 0) RETURN_IF_ERROR(put(withSwap, bytes));
  }
  if (limits.milliCpu > 0) {
    RETURN_IF_ERROR(
        put(file("cpu", "cpu.cfs_quota_us"), std::to_string(std::max<std::int64_t>(1000, limits.milliCpu * 100))));
  }
  if (limits.cpuWeight > 0) {  // 1024 is what a cgroup has that says nothing
    const auto shares = std::clamp<std::int64_t>(limits.cpuWeight * 1024 / 1000, 2, 262'144);
    RETURN_IF_ERROR(put(file("cpu", "cpu.shares"), std::to_string(shares)));
  }
  if (limits.pids > 0) RETURN_IF_ERROR(put(file("pids", "pids.max"), std::to_string(limits.pids + 1)));
  return {};
}

Result<void> limitV2(const std::string& directory, const Limits& limits) {
  if (limits.memoryBytes > 0) {
    RETURN_IF_ERROR(put(directory + "/memory.max", std::to_string(limits.memoryBytes)));
    const std::string swap = directory + "/memory.swap.max";
    if (::access(swap.c_str(), W_OK) == 0) RETURN_IF_ERROR(put(swap, "0"));
  }
  if (limits.milliCpu > 0) {
    const auto quota = std::max<std::int64_t>(1000, limits.milliCpu * 100);
    RETURN_IF_ERROR(put(directory + "/cpu.max", std::to_string(quota) + " 100000"));
  }
  if (limits.cpuWeight > 0) {
    const auto weight = std::clamp<std::int64_t>(limits.cpuWeight / 10, 1, 10'000);
    RETURN_IF_ERROR(put(directory + "/cpu.weight", std::to_string(weight)));
  }
  if (limits.pids > 0) RETURN_IF_ERROR(put(directory + "/pids.max", std::to_string(limits.pids + 1)));
  return {};
}

std::vector<std::string> childrenOf(const std::string& directory) {
  std::vector<std::string> out;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    if (entry.is_directory(ignored)) out.push_back(entry.path().string());
  }
  return out;
}

// The cgroups below `top`, each after those below it.
std::vector<std::string> below(const std::string& top) {
  std::vector<std::string> out;
  for (const std::string& child : childrenOf(top)) {
    if (child == top + "/" + kPrompt || child == top + "/" + kPatient) {
      for (std::string& container : childrenOf(child)) out.push_back(std::move(container));
    }
    out.push_back(child);
  }
  return out;
}

// Kills all of a cgroup's processes and waits until each has ended. New ones may be forked meanwhile: looks again. They
// are held before they are killed: one that is ending is not listed, and the first of a pid namespace ends after all
// others of it.
Result<void> killAllIn(const std::string& directory) {
  for (int round = 0; round < 100; ++round) {
    const auto text = readFile(directory + "/cgroup.procs");
    if (!text.ok()) return text.error().code == Code::notFound ? Result<void>{} : text.error();
    std::vector<std::pair<int, Fd>> held;
    std::istringstream in(*text);
    for (int pid; in >> pid;) held.emplace_back(pid, Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
    if (held.empty()) return {};
    (void)put(directory + "/cgroup.kill", "1").ok();  // v2 only; the loop below does the rest
    for (const auto& [pid, process] : held) {
      if (process.valid()) ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
    }
    for (const auto& [pid, process] : held) {
      pollfd ended{process.get(), POLLIN, 0};
      if (process.valid() && ::poll(&ended, 1, 10'000) == 0)
        return makeError(Code::unavailable, "process {} in {} does not end", pid, directory);
    }
  }
  return makeError(Code::unavailable, "processes in {} do not end", directory);
}

// A cgroup whose last process has just been reaped may be busy for a moment longer.
Result<void> removeDirectory(const std::string& directory) {
  for (int round = 0;; ++round) {
    if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return {};
    if (errno != EBUSY || round == 200) return errnoError("rmdir " + directory);
    ::poll(nullptr, 0, 1);
  }
}

std::vector<std::string> hierarchies(const CgroupLayout& layout) {
  std::vector<std::string> out;
  for (const auto& [controller, mount] : layout.controllers) {
    if (std::find(out.begin(), out.end(), mount) == out.end()) out.push_back(mount);
  }
  if (!layout.unified.empty()) out.push_back(layout.unified);
  return out;
}

}  // namespace

CgroupLayout CgroupLayout::parse(const std::string& mounts, const std::string& unifiedControllers) {
  CgroupLayout out;
  std::istringstream lines(mounts);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string device, point, type, options;
    fields >> device >> point >> type >> options;
    if (type == "cgroup2" && out.unified.empty()) out.unified = point;
    if (type != "cgroup") continue;
    for (const char* controller : kControllers) {
      if (hasWord(options, controller, ',') && out.mountOf(controller).empty()) {
        out.controllers.emplace_back(controller, point);
      }
    }
  }
  if (!out.unified.empty() && hasWord(unifiedControllers, "memory", ' ')) {
    out.kind = HostFacts::Cgroups::v2;
    out.controllers.clear();
  } else if (!out.mountOf("memory").empty()) {
    out.kind = out.unified.empty() ? HostFacts::Cgroups::v1 : HostFacts::Cgroups::hybrid;
  }
  return out;
}

CgroupLayout CgroupLayout::look() {
  const auto mounts = readFile("/proc/self/mounts");
  if (!mounts.ok()) return {};
  const CgroupLayout first = parse(*mounts, "");
  if (first.unified.empty()) return first;
  const auto controllers = readFile(first.unified + "/cgroup.controllers");
  return parse(*mounts, controllers.ok() ? *controllers : "");
}

std::string CgroupLayout::mountOf(const std::string& controller) const {
  for (const auto& [name, mount] : controllers) {
    if (name == controller) return mount;
  }
  return "";
}

Result<Cgroup> Cgroup::make(const CgroupLayout& layout, const std::string& group, const std::string& name,
                            const Limits& limits) {
  if (layout.kind == HostFacts::Cgroups::none) {
    return Error{Code::failedPrecondition, "no cgroup hierarchy with the memory controller is mounted"};
  }
  Cgroup out;
  const bool pure = layout.kind == HostFacts::Cgroups::v2;
  if (pure) RETURN_IF_ERROR(delegate(layout.unified));
  for (const std::string& mount : hierarchies(layout)) {
    const std::string parent = parentIn(layout, mount, group, limits.prompt);
    RETURN_IF_ERROR(makeParent(mount + "/" + group, parent, pure, limits.prompt));
    const std::string directory = parent + "/" + name;
    if (::mkdir(directory.c_str(), 0755) != 0) return errnoError("mkdir " + directory);
    out.directories_.push_back(directory);
    if (mount == layout.unified) {
      out.unified_ = Fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!out.unified_.valid()) return errnoError("open " + directory);
      continue;
    }
    out.tasks_.emplace_back(::open((directory + "/tasks").c_str(), O_WRONLY | O_CLOEXEC));
    if (!out.tasks_.back().valid()) return errnoError("open " + directory + "/tasks");
  }
  out.layout_ = layout;
  out.group_ = group;
  out.name_ = name;
  out.prompt_ = limits.prompt;
  out.nameFiles();
  RETURN_IF_ERROR(out.limit(limits));
  return out;
}

std::string Cgroup::directoryIn(const std::string& mount) const {
  return parentIn(layout_, mount, group_, prompt_) + "/" + name_;
}

void Cgroup::nameFiles() {
  const bool pure = layout_.kind == HostFacts::Cgroups::v2;
  const std::string cpu = pure ? layout_.unified : layout_.mountOf("cpu");
  weight_ = cpu.empty() ? "" : directoryIn(cpu) + (pure ? "/cpu.weight" : "/cpu.shares");
  memoryEvents_ = pure ? directoryIn(layout_.unified) + "/memory.events"
                       : directoryIn(layout_.mountOf("memory")) + "/memory.oom_control";
}

Result<void> Cgroup::limit(const Limits& limits) {
  if (limits.prompt != prompt_) RETURN_IF_ERROR(takeTurn(limits.prompt));
  if (layout_.kind == HostFacts::Cgroups::v2) return limitV2(directoryIn(layout_.unified), limits);
  return limitV1(layout_, group_, name_, limits);
}

Result<void> Cgroup::takeTurn(bool prompt) {
  const bool pure = layout_.kind == HostFacts::Cgroups::v2;
  const std::string mount = pure ? layout_.unified : layout_.mountOf("cpu");
  if (mount.empty()) return {};
  const std::string from = directoryIn(mount);
  prompt_ = prompt;
  const std::string to = directoryIn(mount);
  RETURN_IF_ERROR(makeParent(mount + "/" + group_, parentIn(layout_, mount, group_, prompt), pure, prompt));
  RETURN_IF_ERROR(makeGroup(to));
  directories_.push_back(to);
  ASSIGN_OR_RETURN(const std::string processes, readFile(from + "/cgroup.procs"));
  std::istringstream in(processes);
  for (std::string pid; in >> pid;) RETURN_IF_ERROR(put(to + "/cgroup.procs", pid));
  nameFiles();
  RETURN_IF_ERROR(removeDirectory(from));
  std::erase(directories_, from);
  return {};
}

Cgroup::~Cgroup() { (void)remove().ok(); }

std::vector<int> Cgroup::taskFds() const {
  std::vector<int> out;
  for (const Fd& fd : tasks_) out.push_back(fd.get());
  return out;
}

Result<std::vector<Fd>> Cgroup::entries() const {
  std::vector<Fd> out;
  for (const Fd& fd : tasks_) out.emplace_back(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (tasks_.empty()) out.emplace_back(::openat(unified_.get(), "cgroup.procs", O_WRONLY | O_CLOEXEC));
  for (const Fd& fd : out) {
    if (!fd.valid()) return errnoError("open the entries of a cgroup");
  }
  return out;
}

Result<void> Cgroup::yield(bool yields) {
  if (weight_.empty()) return {};
  if (weight_.ends_with(".shares")) return put(weight_, yields ? "102" : "1024");
  return put(weight_, yields ? "10" : "100");
}

bool Cgroup::oomKilled() const { return !memoryEvents_.empty() && counterIn(memoryEvents_, "oom_kill") > 0; }

Result<void> Cgroup::remove() {
  unified_.reset();
  tasks_.clear();
  while (!directories_.empty()) {
    RETURN_IF_ERROR(removeDirectory(directories_.back()));
    directories_.pop_back();
  }
  return {};
}

Result<void> sweepCgroups(const CgroupLayout& layout, const std::string& group) {
  std::vector<std::string> mounts = hierarchies(layout);
  std::reverse(mounts.begin(), mounts.end());  // v2 first: it kills at once
  for (const std::string& mount : mounts) {
    for (const std::string& directory : below(mount + "/" + group)) RETURN_IF_ERROR(killAllIn(directory));
  }
  for (const std::string& mount : mounts) {
    const std::string top = mount + "/" + group;
    for (const std::string& directory : below(top)) RETURN_IF_ERROR(removeDirectory(directory));
    RETURN_IF_ERROR(removeDirectory(top));
  }
  return {};
}

}  // namespace gridiron::sandbox
