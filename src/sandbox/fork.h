#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "sandbox/sandbox.h"

namespace gridiron::sandbox {

// What a worker and guest/zygote.py say to each other. The zygote itself is told nothing of a container: what its child
// is to become lies in a memory file that only the child reads.

// The child's orders, rightsOrders() and programOrders() in one: each field a 32-bit length and its bytes:
// capabilities, filter, working directory, then a count and that many arguments, a count and that many pairs of the
// environment. A pure function.
std::string forkOrders(const Spec& spec, std::uint64_t capabilities, const std::vector<sock_filter>& filter);
std::string rightsOrders(std::uint64_t capabilities, const std::vector<sock_filter>& filter);
std::string programOrders(const Spec& spec);

// Writes `text` behind what was written to `file`.
Result<void> append(const Fd& file, const std::string& text);
// `text` as an anonymous file, to be read from its start, and to be added to.
Result<Fd> memoryFile(const std::string& text);

// Asks the zygote behind `door` for a child. `fds`: the orders, the child's end of its socket to the worker, a pidfd of
// the container's init, standard output, standard error, with Imports::told a pipe for the names of what it imports,
// then the cgroup files to write "0" to. A parked child finds programOrders behind the other orders when it is told to
// go; it is told about imports too. Never blocks.
enum class Child : char { plain = 'f', tellsImports = 'i', parked = 'p' };
Result<void> askForFork(int door, Child child, std::span<const int> fds);

}  // namespace gridiron::sandbox
