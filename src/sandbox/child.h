#pragma once

#include <linux/filter.h>

#include <cstddef>
#include <cstdint>

#include "sandbox/note.h"

namespace gridiron::sandbox {

// A mount to put at a path of the container once its root stands. `mount` is a detached mount's descriptor.
struct Attachment {
  int mount = -1;
  const char* target = nullptr;
  bool directory = false;
};

// A small file that lies in the container's memory and is mounted at a path.
struct SmallFile {
  const char* name = nullptr;  // in the stage
  const char* target = nullptr;
  const char* text = nullptr;
  std::size_t size = 0;
};

// All that the forked child needs, made before the fork: it may not allocate. Descriptors are the parent's.
struct ChildPlan {
  int control = -1;        // its end of the socket pair: notes out, one byte in when it may go on
  int parentControl = -1;  // the parent's end, closed here, so that the parent's death is seen
  int output = -1, errors = -1;
  int input = -1;    // -1: there is nothing to read
  int init = -1;     // guest/init, on a read-only mount
  int nursery = -1;  // a pidfd of the nursery's init, when the container is to be below it
  const int* taskFiles = nullptr;
  int taskFileCount = 0;
  bool userNamespace = false;
  bool ownNetwork = true;
  bool readOnlyRoot = false;
  const char* stage = nullptr;  // a directory of the host to hang the mounts on; what is in it is hidden, not touched
  const char* const* baseDirectories = nullptr;  // of the lowest layer, parents first, each "b/…"; then a null
  const char* const* baseFiles = nullptr;
  const SmallFile* files = nullptr;
  int fileCount = 0;
  const int* lowers = nullptr;  // detached mounts, topmost first
  int lowerCount = 0;
  int upper = -1;                        // detached mount with the upper and work directories in it
  const char* overlayOptions = nullptr;  // paths relative to the stage: l0, l1, …, b and u
  int sys = -1;                          // the host's /sys as a detached mount when the network is the host's
  const Attachment* attachments = nullptr;
  int attachmentCount = 0;
  const char* shmOptions = nullptr;
  const char* hostname = nullptr;
  const char* workdir = nullptr;
  const char* const* argv = nullptr;  // of init
  const char* const* environment = nullptr;
  const sock_fprog* filter = nullptr;
  std::uint64_t capabilities = 0;
};

// The life of the child from clone to exec of init: another program, in effect. Every failure is sent as a note and
// ends it. Allocates nothing, takes no lock, logs nothing.
[[noreturn]] void runChild(const ChildPlan& plan);

// The life of a process between, cloned without namespaces: in a process group of its own, enters the nursery's user
// and pid namespaces, by way of a second one clones the container's first process there, with `flags`, and ends. All
// three are children of the caller; the last lives on in runChild. The note of the second tells of the third.
[[noreturn]] void runBetween(const ChildPlan& plan, std::uint64_t flags);

// "overlay", "pivot", …: for errors of the parent.
const char* stepName(int step);

}  // namespace gridiron::sandbox
