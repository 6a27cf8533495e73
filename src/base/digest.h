#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace gridiron {

struct Sha256 {
  std::array<std::uint8_t, 32> bytes{};
  std::string hex() const;
  static std::optional<Sha256> fromHex(std::string_view hex);
  auto operator<=>(const Sha256&) const = default;
};

// Hash of the whole of `data`. Any thread.
Sha256 sha256(std::string_view data);
std::array<std::uint8_t, 16> md5(std::string_view data);

// Incremental SHA-256 (and MD5, which S3-style ETags need). One thread.
class Hasher {
 public:
  enum class Kind { sha256, md5 };
  explicit Hasher(Kind kind = Kind::sha256);
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  void update(std::string_view data);
  // Raw digest bytes (32 or 16). The hasher may not be used afterwards.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string hexEncode(std::string_view bytes);
std::string base64Encode(std::string_view bytes);
std::string base64UrlEncode(std::string_view bytes);  // no padding
// Empty when `text` is not base64 (either alphabet, padding optional).
std::optional<std::string> base64Decode(std::string_view text);

// Compares without telling by its duration where two equal-length strings differ.
bool equalConstantTime(std::string_view a, std::string_view b);

}  // namespace gridiron
