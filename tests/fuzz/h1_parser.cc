// Our HTTP/1 parser and Beast's agree on every request that ours takes, however it is cut.
#include "net/h1_differential.h"
#include "tests/fuzz/fuzz.h"

FUZZ(h1_parser) {
  if (bytes.size() < 2) return;
  const std::size_t cut = 1 + gridiron::fuzz::choice(bytes) % 17;
  const std::string difference = gridiron::net::compareReadings(bytes, cut);
  gridiron::fuzz::require(difference.empty(), difference);
}
