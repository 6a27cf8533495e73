// Takes the place of base/id.cc in the simulator, by being linked before it: the same functions, from a seed, so that
// a schedule can be run again to the last id.
#include "base/id.h"

#include "base/digest.h"
#include "sim/random.h"

namespace gridiron {
namespace {

constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
thread_local sim::Random ids{0};

}  // namespace

std::string randomAlnum(std::size_t n) {
  std::string out(n, 'a');
  for (char& c : out) c = kAlphabet[static_cast<std::size_t>(ids.below(62))];
  return out;
}

std::string randomId(std::string_view prefix) { return std::string(prefix) + "-" + randomAlnum(8); }

std::string contentId(std::string_view prefix, std::string_view content) {
  return std::string(prefix) + "-" + hexEncode(sha256(content).hex()).substr(0, 22);
}

namespace sim {
void seedIds(std::uint64_t seed) { ids = Random(seed ^ 0x1d5eedULL); }
}  // namespace sim

}  // namespace gridiron
