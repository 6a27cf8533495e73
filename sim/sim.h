#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace gridiron::sim {

// Known bugs that can be put back, to see that the checkers find them.
enum class Bug {
  none,
  settleWithoutFence,
  ackBeforeCommit,
  leaseWithoutExpiry,
  retryWithoutLimit,
  askWithoutTicket,
  webRetriedAfterBytes,
  streamChunkDoubled,
  containersForgotten,
};
std::optional<Bug> bugNamed(const std::string& name);

struct Options {
  int steps = 150;  // while faults happen; then as many as it takes for everything to end
  Bug bug = Bug::none;
};

struct Failure {
  std::string what;
  int step = 0;
  std::string trace;  // what happened last, a line each
};

// The grid in one process under `seed`: some calls, some faults, then peace until everything has ended. Nothing, or
// the first promise that was broken. The same seed and options give the same, on any thread. `steps` is counted up.
std::optional<Failure> runSeed(std::uint64_t seed, const Options& options, bool tracing, std::uint64_t& steps);

}  // namespace gridiron::sim
