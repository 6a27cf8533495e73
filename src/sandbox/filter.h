#pragma once

#include <linux/filter.h>

#include <vector>

#include "base/result.h"

namespace gridiron::sandbox {

// The system call filter of every container as a BPF program: what changes the host, its clock, modules, mounts or
// namespaces, reads kernel memory or keys, or widens the kernel's attack surface (bpf, io_uring, userfaultfd) fails
// with EPERM; clone3 with ENOSYS, so that the C library falls back to clone, whose flags can be seen. Made once,
// shared. A zygote may also call setns: it is given the namespaces of its children's containers, and none else.
enum class FilterFor { container, zygote };
Result<std::vector<sock_filter>> makeFilter(FilterFor whom = FilterFor::container);

}  // namespace gridiron::sandbox
