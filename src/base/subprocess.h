#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace gridiron {

// A program to run to its end on the host (never a container's code: that is sandbox/'s).
struct Command {
  std::vector<std::string> argv;                                 // argv[0] is looked up in PATH
  std::vector<std::pair<std::string, std::string>> environment;  // added to (or over) the host's
  std::vector<std::string> withoutEnvironment;                   // names of the host's that must not reach it
  std::string directory;                                         // "" = as we are
  std::string input;                                             // its stdin
  Nanos timeout = std::chrono::minutes(10);
  std::function<void(std::string_view)> onOutput;  // live pieces of stdout and stderr, in their order
};

struct Finished {
  int exitCode = 0;    // 128 + signal when it was killed by one
  std::string output;  // stdout and stderr as they came; at most the last 1 MiB
  bool timedOut = false;
};

// Runs it and waits (blocks: not on a loop's thread). An Error means that it could not be started; how it ended is in
// Finished. On timeout its whole process group is killed.
Result<Finished> runCommand(const Command& command);

}  // namespace gridiron
