// PID 1 of every container: starts the main process, says so (or why not) on the control socket, hands signals on,
// reaps whatever is orphaned, and ends with the main process's status. When the far end of the control socket closes,
// the worker is gone and the container ends too.
//
//   gridiron-init MODE PROGRAM [ARGUMENT…]     environment and working directory are the main process's
//
// MODE, of sandbox/note.h: "run"; "hold" waits to be told whether to start the main process or that a zygote's child
// is it; "nursery" outlives its main process, which is a zygote whose children live in containers below this one.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/note.h"

// Libraries take "my pid has changed" for "I was forked". The children of a zygote are process 2 of their containers,
// so a zygote must not be.
enum { skippedPids = 16 };

static void tell(int kind, int error, int status, pid_t pid, int flags) {
  struct GridironNote note;
  memset(&note, 0, sizeof note);
  note.kind = kind;
  note.step = gridironStepExec;
  note.error = error;
  note.status = status;
  note.pid = pid;
  (void)send(gridironControlFd, &note, sizeof note, MSG_NOSIGNAL | flags);
}

static void runMain(char** argv, int report) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  setsid();
  tell(gridironNoteMain, 0, 0, 0, 0);
  execvp(argv[0], argv);
  int error = errno;
  (void)!write(report, &error, sizeof error);
  _exit(127);
}

// Starts the main process and returns its pid when it has been replaced by the program; ends the container otherwise.
static pid_t start(char** argv) {
  int report[2];
  pid_t pid = -1;
  int error = 0;
  if (pipe2(report, O_CLOEXEC) == 0) pid = fork();
  if (pid == 0) runMain(argv, report[1]);
  if (pid < 0) {
    error = errno;
  } else {
    close(report[1]);
    ssize_t n;
    do n = read(report[0], &error, sizeof error);
    while (n < 0 && errno == EINTR);
    if (n == 0) error = 0;
    close(report[0]);
  }
  if (error != 0) {
    tell(gridironNoteFailed, error, 0, 0, 0);
    _exit(127);
  }
  tell(gridironNoteStarted, 0, 0, 0, 0);
  return pid;
}

static pid_t startZygote(char** argv) {
  for (int i = 0; i < skippedPids; ++i) {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, NULL, 0);
  }
  pid_t pid = start(argv);
  close(0);  // the zygote's alone: its end is seen by the far side
  return pid;
}

// Reaps all that can be reaped; ends the container when the main process is among them, unless it is a nursery. Gives
// the main process that there still is.
static pid_t reap(pid_t mainProcess, int nursery) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return mainProcess;
    if (nursery) tell(gridironNoteEnded, 0, status, pid, MSG_DONTWAIT);
    if (pid != mainProcess) continue;
    mainProcess = 0;
    if (nursery) continue;
    tell(gridironNoteEnded, 0, status, pid, 0);
    _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
  }
}

// What the worker says to an init that is held. Gives the main process's pid, 0 while there is none, and a pidfd of one
// that is no child of this process.
static pid_t obey(char** argv, int* adopted) {
  struct GridironNote note;
  if (recv(gridironControlFd, &note, sizeof note, MSG_DONTWAIT) != sizeof note) return 0;
  if (note.kind == gridironNoteAdopt) {
    *adopted = (int)syscall(SYS_pidfd_open, note.pid, 0);
    if (*adopted < 0) _exit(0);  // it has ended already
    return note.pid;
  }
  if (note.kind == gridironNoteOwn) {
    if (kill(note.pid, 0) != 0) _exit(128 + SIGKILL);  // it has ended already
    return note.pid;
  }
  if (note.kind != gridironNoteRun) return 0;
  kill(-1, SIGKILL);  // a zygote's child that comes too late
  return start(argv);
}

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  const int nursery = strcmp(argv[1], GRIDIRON_INIT_NURSERY) == 0;
  int held = strcmp(argv[1], GRIDIRON_INIT_HOLD) == 0;
  char** program = argv + 2;
  fcntl(gridironControlFd, F_SETFD, FD_CLOEXEC);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  int signals = signalfd(-1, &all, SFD_CLOEXEC);
  if (signals < 0) {
    tell(gridironNoteFailed, errno, 0, 0, 0);
    return 127;
  }
  pid_t mainProcess = 0;
  int adopted = -1;
  if (held) tell(gridironNoteHeld, 0, 0, 0, 0);
  if (!held) mainProcess = nursery ? startZygote(program) : start(program);
  for (;;) {
    struct pollfd waits[3] = {
        {signals, POLLIN, 0}, {gridironControlFd, held ? POLLIN : 0, 0}, {adopted, POLLIN, 0}};
    if (poll(waits, 3, -1) < 0) continue;
    if (waits[2].revents) _exit(0);  // how it ended is for its parent, the nursery's init, to tell
    if (waits[1].revents & (POLLHUP | POLLERR)) {
      kill(-1, SIGKILL);
      _exit(128 + SIGKILL);
    }
    if (waits[1].revents & POLLIN) {
      mainProcess = obey(program, &adopted);
      held = mainProcess == 0;
    }
    struct signalfd_siginfo info;
    if (!(waits[0].revents & POLLIN) || read(signals, &info, sizeof info) != sizeof info) continue;
    if (info.ssi_signo == SIGCHLD)
      mainProcess = reap(mainProcess, nursery);
    else if (mainProcess > 0)
      kill(mainProcess, (int)info.ssi_signo);
  }
}
