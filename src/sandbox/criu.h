#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace gridiron::sandbox {

// CRIU run inside the namespaces of a container: what it writes and reads by path is the container's, but for its own
// program (`root`, a directory tree with usr/sbin/criu and its libraries) and the folder of images. Blocks; any thread.
// See docs/decisions/snapshots.md.
struct CriuRun {
  std::string root;
  std::string images;
  int init = -1;  // a pidfd of the container's first process
  Nanos patience{};
  std::vector<int> cgroups{};    // entry files of the cgroups that what is restored shall be in
  std::vector<int> inherited{};  // are 100, 101, … in it
};

// The process `pid` (as the container counts) and its descendants to files in the empty folder `images`; they run on.
// With the machine's privileges: only they can read a seccomp filter.
Result<void> criuDump(const CriuRun& run, int pid);
// What criuDump() wrote, with no more privileges than the container's root has. `streams` are the names that the
// inherited descriptors had then ("pipe:[42]"). The processes are children of the container's first when it returns.
Result<void> criuRestore(const CriuRun& run, const std::vector<std::string>& streams);

// Images say that their processes lived in a user namespace other than CRIU's own; changed so that they can be restored
// by one in theirs. `ids` and `inventory` are texts of such files; gives the new text of `ids`.
Result<std::string> withRootsUserNamespace(const std::string& ids, const std::string& inventory);

}  // namespace gridiron::sandbox
