#pragma once

#include <cstdint>

#include "base/clock.h"

namespace gridiron::sim {

// A stream of numbers that is a function of its seed (splitmix64).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 0x1234567) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  int below(int n) { return static_cast<int>(next() % static_cast<std::uint64_t>(n)); }
  bool percent(int p) { return below(100) < p; }
  // In [from, to], to the microsecond.
  Nanos between(Nanos from, Nanos to) {
    const auto micros = static_cast<int>((to - from).count() / 1000) + 1;
    return from + std::chrono::microseconds(below(micros));
  }

 private:
  std::uint64_t state_;
};

// Ids that are made on this thread from now on are a function of `seed` and their number (ids.cc takes base/id's
// place).
void seedIds(std::uint64_t seed);

}  // namespace gridiron::sim
