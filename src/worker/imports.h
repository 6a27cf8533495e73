#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "sandbox/sandbox.h"

namespace gridiron::worker {

// What a fork tells of its imports (guest/zygote.py, Recorder), a line each: names, for zygotes to learn; what they
// took; when the hooks of a class began. Whatever else stands there is passed over, and no more than kMost is kept.
class Imports {
 public:
  static constexpr std::size_t kMost = 256 * 1024;
  static constexpr std::size_t kMostParts = 12;

  // False: no more is kept, nor need be read.
  bool add(std::string_view bytes);
  // The client has said hello: what took its time so far belongs to another phase than the import.
  void hello() { from_ = text_.size(); }

  std::string_view text() const { return text_; }  // for Zygotes::ready
  // "import numpy", "own import app", the dearest first and with the rest of the smaller ones left out, and "enter" if
  // hooks began: until `now`, of the monotonic clock.
  std::vector<sandbox::Phase> parts(Nanos now) const;

 private:
  std::string text_;
  std::size_t from_ = 0;
};

}  // namespace gridiron::worker
