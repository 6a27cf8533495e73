// build/sim N [--seed S] [--steps K] [--threads T] [--bug NAME] [--trace] [--seconds S]: N schedules from seed S on.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "sim/sim.h"

using namespace gridiron::sim;

namespace {

struct Wish {
  std::uint64_t schedules = 1000, seed = 1;
  unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  double seconds = 0;  // 0: no limit
  Options options;
  std::string bug;
};

thread_local std::uint64_t currentSeed = 0;

std::string rerun(const Wish& wish, std::uint64_t seed) {
  return fmt::format("./run-sim 1 --seed {} --steps {}{}", seed, wish.options.steps,
                     wish.bug.empty() ? "" : " --bug " + wish.bug);
}

void onAbort(int) {  // a GRID_CHECK: its own line has been printed
  fmt::print(stderr, "run again: ./run-sim 1 --seed {}\n", currentSeed);
}

bool parse(int argc, char** argv, Wish& wish) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto next = [&] { return i + 1 < argc ? std::string(argv[++i]) : std::string(); };
    if (word == "--seed") {
      wish.seed = std::strtoull(next().c_str(), nullptr, 10);
    } else if (word == "--steps") {
      wish.options.steps = std::atoi(next().c_str());
    } else if (word == "--threads") {
      wish.threads = static_cast<unsigned>(std::max(1, std::atoi(next().c_str())));
    } else if (word == "--seconds") {
      wish.seconds = std::atof(next().c_str());
    } else if (word == "--bug") {
      wish.bug = next();
      const auto bug = bugNamed(wish.bug);
      if (!bug) return false;
      wish.options.bug = *bug;
    } else if (!word.empty() && word.find_first_not_of("0123456789") == std::string::npos) {
      wish.schedules = std::strtoull(word.c_str(), nullptr, 10);
    } else {
      return false;
    }
  }
  return true;
}

void report(const Wish& wish, std::uint64_t seed) {
  std::uint64_t steps = 0;
  const auto again = runSeed(seed, wish.options, true, steps);
  if (!again) {
    fmt::print("seed {}: failed, and not when it was run again\n", seed);
    return;
  }
  fmt::print("{}seed {} @ step {}: {}\nrun again: {}\n", again->trace, seed, again->step, again->what,
             rerun(wish, seed));
}

}  // namespace

int main(int argc, char** argv) {
  Wish wish;
  if (!parse(argc, argv, wish)) {
    fmt::print(stderr,
               "run-sim N [--seed S] [--steps K] [--threads T] [--seconds S] [--bug NAME]\n"
               "bugs: settle-without-fence ack-before-commit lease-without-expiry retry-without-limit\n"
               "      ask-without-ticket web-retried-after-bytes stream-chunk-doubled\n");
    return 2;
  }
  std::signal(SIGABRT, onAbort);
  const auto begun = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
  std::atomic<std::uint64_t> next{0}, ran{0}, steps{0};
  std::mutex lock;
  std::uint64_t failed = UINT64_MAX;  // the smallest seed that failed
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < wish.threads; ++t) {
    threads.emplace_back([&] {
      for (;;) {
        const auto i = next++;
        if (i >= wish.schedules || (wish.seconds > 0 && seconds() > wish.seconds)) return;
        {
          const std::lock_guard held(lock);
          if (wish.seed + i > failed) return;
        }
        currentSeed = wish.seed + i;
        std::uint64_t mine = 0;
        const auto failure = runSeed(currentSeed, wish.options, false, mine);
        ++ran;
        steps += mine;
        if (!failure) continue;
        const std::lock_guard held(lock);
        failed = std::min(failed, currentSeed);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const double took = seconds();
  if (failed != UINT64_MAX) report(wish, failed);
  fmt::print("{} schedules, {} steps, {:.1f} s on {} threads ({:.0f} schedules/s): {}\n", ran.load(), steps.load(),
             took, wish.threads, static_cast<double>(ran.load()) / took, failed == UINT64_MAX ? "passed" : "FAILED");
  return failed == UINT64_MAX ? 0 : 1;
}
