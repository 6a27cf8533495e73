#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "sandbox/sandbox.h"

namespace gridiron::sandbox {

// Where this host keeps its cgroups, found by looking at the mounts.
struct CgroupLayout {
  HostFacts::Cgroups kind = HostFacts::Cgroups::none;
  std::vector<std::pair<std::string, std::string>> controllers;  // v1: ("memory", "/sys/fs/cgroup/memory"), …
  std::string unified;                                           // mount of v2, "" when there is none

  // From the text of /proc/self/mounts and of the v2 mount's cgroup.controllers.
  static CgroupLayout parse(const std::string& mounts, const std::string& unifiedControllers);
  static CgroupLayout look();
  // Mount point of a v1 controller, "" when it has none.
  std::string mountOf(const std::string& controller) const;
};

// The cgroup of one container: a directory in each hierarchy that is used. Undone by its destructor. Where the CPU is
// shared out there is a group between: kPrompt or kPatient. A prompt container that wakes runs before any patient one
// that is on a CPU then; while both compute all the time, the patient together get a quarter.
class Cgroup {
 public:
  Cgroup() = default;
  Cgroup(Cgroup&&) = default;
  Cgroup& operator=(Cgroup&&) = default;
  ~Cgroup();

  // Makes `group`/`name` in all hierarchies and sets the limits. A limit that this host cannot enforce is an error.
  static Result<Cgroup> make(const CgroupLayout& layout, const std::string& group, const std::string& name,
                             const Limits& limits);

  // Sets the limits anew; those that are 0 stay as they are. Who becomes prompt or patient by it is moved to the other
  // group between with its processes, which takes some milliseconds and is for those that start none meanwhile.
  Result<void> limit(const Limits& limits);
  // For CLONE_INTO_CGROUP; -1 where there is no v2.
  int unifiedFd() const { return unified_.get(); }
  // A child writes "0" to each to move itself in (v1); opened by root, usable from a user namespace.
  std::vector<int> taskFds() const;
  // As taskFds, for a process that was not cloned into it: the unified hierarchy too where it is the only one.
  Result<std::vector<Fd>> entries() const;
  // Whether what is in it leaves nine tenths of the processor to another container that wants it. Not so at first.
  Result<void> yield(bool yields);
  // The kernel has killed something in it for memory.
  bool oomKilled() const;
  // Removes the directories; everything in them must have ended. Repeatable.
  Result<void> remove();

 private:
  std::string directoryIn(const std::string& mount) const;
  void nameFiles();
  Result<void> takeTurn(bool prompt);

  CgroupLayout layout_;
  std::string group_, name_;
  bool prompt_ = false;
  std::vector<std::string> directories_;
  std::string memoryEvents_;  // file with the `oom_kill` counter
  std::string weight_;        // file of its share of the processor, "" where there is none
  Fd unified_;
  std::vector<Fd> tasks_;
};

inline constexpr const char* kPrompt = "prompt";
inline constexpr const char* kPatient = "patient";

// Kills every process in the cgroups below `group`, waits for their end and removes them. Repeatable.
Result<void> sweepCgroups(const CgroupLayout& layout, const std::string& group);

}  // namespace gridiron::sandbox
