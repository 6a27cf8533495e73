#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fd.h"

extern char** environ;

namespace gridiron {
namespace {

constexpr std::size_t kKeptOutput = 1024 * 1024;

std::vector<std::string> environmentOf(const Command& command) {
  std::vector<std::string> out;
  const auto replaced = [&](std::string_view name) {
    const auto isName = [&](const auto& entry) { return entry.first == name; };
    return std::any_of(command.environment.begin(), command.environment.end(), isName) ||
           std::find(command.withoutEnvironment.begin(), command.withoutEnvironment.end(), name) !=
               command.withoutEnvironment.end();
  };
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!replaced(text.substr(0, text.find('=')))) out.emplace_back(text);
  }
  for (const auto& [name, value] : command.environment) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

struct Pipe {
  Fd read, write;
};

Result<Pipe> makePipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errnoError("pipe2");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<pid_t> startProgram(const Command& command, int stdinFd, int outputFd) {
  std::vector<std::string> argvStrings = command.argv;
  std::vector<std::string> environmentStrings = environmentOf(command);
  std::vector<char*> argv = pointers(argvStrings);
  std::vector<char*> environment = pointers(environmentStrings);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, stdinFd, 0);
  posix_spawn_file_actions_adddup2(&actions, outputFd, 1);
  posix_spawn_file_actions_adddup2(&actions, outputFd, 2);
  if (!command.directory.empty()) posix_spawn_file_actions_addchdir_np(&actions, command.directory.c_str());
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) return errnoError("run " + command.argv[0], failed);
  return pid;
}

// Copies input into the program and its output out, until the output ends or the deadline passes.
void pump(const Command& command, Fd input, Fd& output, std::chrono::steady_clock::time_point deadline,
          Finished& finished) {
  std::string_view left = command.input;
  if (left.empty()) input.reset();
  std::string buffer(64 * 1024, '\0');
  for (;;) {
    const auto wait =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (wait.count() <= 0) {
      finished.timedOut = true;
      return;
    }
    pollfd fds[2] = {{output.get(), POLLIN, 0}, {input.get(), POLLOUT, 0}};
    if (::poll(fds, input.valid() ? 2 : 1, static_cast<int>(std::min<std::int64_t>(wait.count() + 1, 60'000))) < 0)
      continue;
    if (input.valid() && (fds[1].revents & (POLLOUT | POLLERR)) != 0) {
      const ssize_t n = ::write(input.get(), left.data(), std::min<std::size_t>(left.size(), 4096));
      if (n < 0 && errno != EINTR && errno != EAGAIN) left = {};
      if (n > 0) left.remove_prefix(static_cast<std::size_t>(n));
      if (left.empty()) input.reset();
    }
    if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
    const ssize_t n = ::read(output.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return;
    const std::string_view piece(buffer.data(), static_cast<std::size_t>(n));
    if (command.onOutput) command.onOutput(piece);
    finished.output.append(piece);
    if (finished.output.size() > kKeptOutput) finished.output.erase(0, finished.output.size() - kKeptOutput);
  }
}

}  // namespace

Result<Finished> runCommand(const Command& command) {
  GRID_CHECK(!command.argv.empty());
  ASSIGN_OR_RETURN(Pipe input, makePipe());
  ASSIGN_OR_RETURN(Pipe output, makePipe());
  ASSIGN_OR_RETURN(const pid_t pid, startProgram(command, input.read.get(), output.write.get()));
  input.read.reset();
  output.write.reset();
  ::fcntl(input.write.get(), F_SETFL, O_NONBLOCK);

  // A program that exits before it has read its stdin must not kill us.
  sigset_t pipeSignal, before;
  sigemptyset(&pipeSignal);
  sigaddset(&pipeSignal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipeSignal, &before);
  Finished finished;
  pump(command, std::move(input.write), output.read, std::chrono::steady_clock::now() + command.timeout, finished);
  const timespec now{0, 0};
  while (sigtimedwait(&pipeSignal, nullptr, &now) == SIGPIPE) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);

  if (finished.timedOut) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  finished.exitCode = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return finished;
}

}  // namespace gridiron
