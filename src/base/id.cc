#include "base/id.h"

#include <sys/random.h>

#include <array>

#include "base/check.h"
#include "base/digest.h"

namespace gridiron {
namespace {

constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
constexpr std::size_t kIdLength = 22;

}  // namespace

std::string randomAlnum(std::size_t n) {
  std::string out;
  out.reserve(n);
  while (out.size() < n) {
    std::array<unsigned char, 64> bytes;
    GRID_CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    for (unsigned char byte : bytes) {
      const unsigned index = byte & 63U;  // 62 of 64 values are letters; the others are drawn again
      if (index < kAlphabet.size() && out.size() < n) out.push_back(kAlphabet[index]);
    }
  }
  return out;
}

std::string randomId(std::string_view prefix) { return std::string(prefix) + "-" + randomAlnum(kIdLength); }

std::string contentId(std::string_view prefix, std::string_view content) {
  const Sha256 digest = sha256(content);
  std::string out = std::string(prefix) + "-";
  for (std::size_t i = 0; i < kIdLength; ++i) out.push_back(kAlphabet[digest.bytes[i] % kAlphabet.size()]);
  return out;
}

}  // namespace gridiron
