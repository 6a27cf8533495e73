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

Result<void> limitV1(const CgroupLayout& layout, const std::string& below, const Limits& limits) {
  const auto file = [&](const char* controller, const char* name) {
    return layout.mountOf(controller) + below + "/" + name;
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
  const std::string below = "/" + group + "/" + name;
  for (const std::string& mount : hierarchies(layout)) {
    if (::mkdir((mount + "/" + group).c_str(), 0755) != 0 && errno != EEXIST) {
      return errnoError("mkdir " + mount + "/" + group);
    }
    if (pure) RETURN_IF_ERROR(delegate(mount + "/" + group));
    const std::string directory = mount + below;
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
  out.below_ = below;
  RETURN_IF_ERROR(out.limit(limits));
  const std::string cpu = layout.mountOf("cpu");
  if (pure) out.weight_ = layout.unified + below + "/cpu.weight";
  if (!cpu.empty()) out.weight_ = cpu + below + "/cpu.shares";
  out.memoryEvents_ =
      pure ? layout.unified + below + "/memory.events" : layout.mountOf("memory") + below + "/memory.oom_control";
  return out;
}

Result<void> Cgroup::limit(const Limits& limits) {
  const bool pure = layout_.kind == HostFacts::Cgroups::v2;
  return pure ? limitV2(layout_.unified + below_, limits) : limitV1(layout_, below_, limits);
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
    const std::string top = mount + "/" + group;
    for (const std::string& directory : childrenOf(top)) RETURN_IF_ERROR(killAllIn(directory));
  }
  for (const std::string& mount : mounts) {
    const std::string top = mount + "/" + group;
    for (const std::string& directory : childrenOf(top)) RETURN_IF_ERROR(removeDirectory(directory));
    RETURN_IF_ERROR(removeDirectory(top));
  }
  return {};
}

}  // namespace gridiron::sandbox
