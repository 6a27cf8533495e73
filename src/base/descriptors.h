#pragma once

#include <span>

#include "base/fd.h"
#include "base/result.h"

namespace gridiron {

// Descriptors that processes hand to each other over unix sockets (unix(7), SCM_RIGHTS). Neither waits. Any thread.

constexpr std::size_t kMostDescriptors = 16;  // in one message

// Sends `byte` and, beside it, copies of `fds`: one to kMostDescriptors of them. unavailable: the other end is gone, or
// takes nothing now.
Result<void> sendDescriptors(int to, char byte, std::span<const int> fds);
// The descriptor that came beside the next byte. unavailable: nothing has come, or no descriptor with it.
Result<Fd> receiveDescriptor(int from);

}  // namespace gridiron
