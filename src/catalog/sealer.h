#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gridiron {

// Encrypts and signs under the grid's one key. Any thread.
class Sealer {
 public:
  // Reads the key from `path`, or makes one there (mode 0600). A key file that others may read is refused.
  static Result<Sealer> open(const std::string& path);
  // A key of its own that is nowhere kept: for tests and for grids in memory.
  static Sealer ephemeral();

  // `context` (an id) must be given again to unseal: a sealed value cannot pass for another's.
  std::string seal(std::string_view plain, std::string_view context) const;
  // dataLoss when it was sealed under another key or context, or was changed.
  Result<std::string> unseal(std::string_view sealed, std::string_view context) const;

  // HMAC-SHA256 (32 raw bytes) under a key made for `purpose`.
  std::string sign(std::string_view purpose, std::string_view data) const;

  Sealer(const Sealer&) = default;
  ~Sealer();

 private:
  using Key = std::array<unsigned char, 32>;
  explicit Sealer(const Key& key) : key_(key) {}
  Key key_{};
};

// A JSON Web Token (HS256) of these claims (a JSON object as text).
std::string makeJwt(const Sealer& sealer, std::string_view claims);
// Its claims, when it is ours and unchanged. Looks at no time.
Result<std::string> readJwt(const Sealer& sealer, std::string_view token);

}  // namespace gridiron
