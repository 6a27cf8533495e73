#include "base/priority.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace gridiron {
namespace {

// As the kernel reads it; the C library of Debian 12 has no name for it.
struct Attributes {
  std::uint32_t size = sizeof(Attributes);
  std::uint32_t policy = SCHED_OTHER;
  std::uint64_t flags = 0x01;  // SCHED_FLAG_RESET_ON_FORK
  std::int32_t nice = -10;
  std::uint32_t priority = 0;
  std::uint64_t slice = 200'000;  // ns; kernels before 6.12 do not look at it
  std::uint64_t deadline = 0, period = 0;
};

}  // namespace

void preferThisThread() {
  Attributes attributes;
  (void)::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace gridiron
