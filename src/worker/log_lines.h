#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace gridiron::worker {

// Cuts a stream of output into lines of valid UTF-8. A line keeps its "\n"; bytes that are no UTF-8 become U+FFFD.
class LineSplitter {
 public:
  // How many bytes at the end of a text must not be parted from what follows them.
  using Held = std::function<std::size_t(std::string_view)>;

  // Lines longer than `longest` come out in pieces. Pieces and partial lines end before what `held` names.
  explicit LineSplitter(std::size_t longest = 64 * 1024, Held held = {}) : longest_(longest), held_(std::move(held)) {}

  // The lines that `bytes` completes.
  std::vector<std::string> add(std::string_view bytes);
  // What waits for its newline: given out all the same, but for what is held, and for a character of which only the
  // first bytes are here.
  std::string takePartial();
  // The rest, at the end of the stream.
  std::string finish();
  bool hasPartial() const { return !pending_.empty(); }

 private:
  std::size_t longest_;
  Held held_;
  std::string pending_;
};

// Replaces values that must not be seen.
class Masker {
 public:
  // Values shorter than eight bytes are let through: masking them would hide too much and protect nothing. Each line of
  // a value of several lines is masked by itself as well.
  explicit Masker(const std::vector<std::string>& values);
  void mask(std::string& text) const;
  // Bytes at the end of `text` that may be the beginning of a value: shown before the rest is here, neither part would
  // be known for what it is.
  std::size_t unfinished(std::string_view text) const;

 private:
  std::vector<std::string> values_;  // longest first
};

// `text` with everything that is not UTF-8 replaced by U+FFFD.
std::string validUtf8(std::string_view text);

}  // namespace gridiron::worker
