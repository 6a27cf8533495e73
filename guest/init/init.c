// PID 1 of every container: starts the main process, says so (or why not) on the control socket, hands signals on,
// reaps whatever is orphaned, and ends with the main process's status. When the far end of the control socket closes,
// the worker is gone and the container ends too.
//
//   gridiron-init PROGRAM [ARGUMENT…]     environment and working directory are the main process's

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/note.h"

static void tell(int kind, int error, int status) {
  struct GridironNote note;
  memset(&note, 0, sizeof note);
  note.kind = kind;
  note.step = gridironStepExec;
  note.error = error;
  note.status = status;
  (void)send(gridironControlFd, &note, sizeof note, MSG_NOSIGNAL);
}

static void runMain(char** argv, int report) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  setsid();
  tell(gridironNoteMain, 0, 0);
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
    tell(gridironNoteFailed, error, 0);
    _exit(127);
  }
  tell(gridironNoteStarted, 0, 0);
  return pid;
}

// Reaps all that can be reaped; ends the container when the main process is among them.
static void reap(pid_t mainProcess) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    if (pid != mainProcess) continue;
    tell(gridironNoteEnded, 0, status);
    _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
  }
}

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  fcntl(gridironControlFd, F_SETFD, FD_CLOEXEC);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  int signals = signalfd(-1, &all, SFD_CLOEXEC);
  if (signals < 0) {
    tell(gridironNoteFailed, errno, 0);
    return 127;
  }
  pid_t mainProcess = start(argv + 1);
  for (;;) {
    struct pollfd waits[2] = {{signals, POLLIN, 0}, {gridironControlFd, 0, 0}};
    if (poll(waits, 2, -1) < 0) continue;
    if (waits[1].revents & (POLLHUP | POLLERR)) {
      kill(-1, SIGKILL);
      _exit(128 + SIGKILL);
    }
    struct signalfd_siginfo info;
    if (!(waits[0].revents & POLLIN) || read(signals, &info, sizeof info) != sizeof info) continue;
    if (info.ssi_signo == SIGCHLD)
      reap(mainProcess);
    else
      kill(mainProcess, (int)info.ssi_signo);
  }
}
