#pragma once

namespace gridiron {

// Reports a broken invariant on stderr and aborts. Use GRID_CHECK.
[[noreturn]] void checkFailed(const char* expression, const char* file, int line);

}  // namespace gridiron

// A bug, not an error: stays on in release builds.
#define GRID_CHECK(expression) \
  (static_cast<bool>(expression) ? void(0) : ::gridiron::checkFailed(#expression, __FILE__, __LINE__))
