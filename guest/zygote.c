// What guest/zygote.py cannot do in Python: fork into a container with one copy of the zygote's memory.
//
// A process enters a pid namespace only by its children, so there is one between the zygote and its child. This one has
// the zygote's memory, not a copy of it, while the zygote waits (CLONE_VM, CLONE_VFORK); descriptors, credentials and
// working directory are its own. Its child, which libc's own fork makes, goes on where the zygote called.
//
// Bound to no C library, so that it can be loaded beside any: what it needs of libc comes as `Libc`.

#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>

#if defined(__x86_64__)
enum { rseqSignature = 0x53053053 };
#elif defined(__aarch64__)
enum { rseqSignature = 0xd428bc00 };
#else
#error "what the C library signs restartable sequences with is not known for this architecture"
#endif

// In the order of LIBC_NAMES of zygote.py.
struct Libc {
  int (*clone)(int (*)(void*), void*, int, void*, ...);
  int (*setns)(int, int);
  ssize_t (*write)(int, const void*, size_t);
  pid_t (*fork)(void);
  void (*exit)(int);
  int* (*errnoLocation)(void);
  long (*syscall)(long, ...);
  const ptrdiff_t* rseqOffset;  // null, as the size may be: a libc without
  const unsigned* rseqSize;
};

struct Order {
  const struct Libc* libc;
  int init;  // a pidfd, whose namespaces `spaces` are entered
  int spaces;
  const int* groups;  // cgroup files to write "0" to
  int count;
  int error;
  void* back[5];
};

static char stack[256 * 1024] __attribute__((aligned(64)));  // handlers of libraries run on it

static int enter(const struct Order* order) {
  const struct Libc* libc = order->libc;
  for (int i = 0; i < order->count; ++i) {
    if (libc->write(order->groups[i], "0", 1) != 1) return -1;
  }
  return libc->setns(order->init, order->spaces);
}

// The kernel forgets it for a process that has another's memory, and so for its children, where libc takes it for kept.
static void keepRestartableSequences(const struct Libc* libc) {
  if (libc->rseqOffset == NULL || libc->rseqSize == NULL || *libc->rseqSize == 0) return;
  (void)libc->syscall(SYS_rseq, (char*)__builtin_thread_pointer() + *libc->rseqOffset, 32, 0, rseqSignature);
}

static int between(void* given) {
  struct Order* order = given;
  keepRestartableSequences(order->libc);
  if (enter(order) == 0) {
    pid_t pid = order->libc->fork();
    if (pid == 0) __builtin_longjmp(order->back, 1);
    if (pid > 0) order->libc->exit(0);
  }
  order->error = *order->libc->errnoLocation();
  order->libc->exit(1);
  return 1;
}

// 1 in the zygote, 0 in the child, or -errno.
int forkInto(const struct Libc* libc, int init, int spaces, const int* groups, int count) {
  static struct Order order;
  order = (struct Order){libc, init, spaces, groups, count, 0, {0}};
  if (__builtin_setjmp(order.back) != 0) return 0;
  if (libc->clone(between, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &order) < 0)
    return -*libc->errnoLocation();
  return order.error != 0 ? -order.error : 1;
}
