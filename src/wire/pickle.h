#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace gridiron::wire {

// Writes Python values as a pickle (protocol 3, which every Python 3 reads), as a stack machine: each call pushes a
// value or folds the top ones. Nothing is shared or memoised, so equal values are written again. Any thread, one object
// each.
//
//   PickleWriter w;                      // {"n": 1}
//   w.dict(); w.text("n"); w.integer(1); w.setItem();
//   std::string bytes = std::move(w).finish();
class PickleWriter {
 public:
  PickleWriter();

  void none();
  void boolean(bool value);
  void integer(std::int64_t value);
  // A str. Bytes that are not UTF-8 become U+FFFD, as Python's unquote does.
  void text(std::string_view utf8);
  void bytes(std::string_view data);  // at most 4 GiB

  void dict();     // {}
  void setItem();  // dict key value -> dict
  void list();     // []
  void append();   // list value -> list
  void tuple1();   // a -> (a,)
  void tuple2();   // a b -> (a, b)

  // The pickle of the one value left on the stack.
  std::string finish() &&;

 private:
  void length(std::size_t n);
  std::string out_;
};

// `text` with each maximal run of bytes that is not UTF-8 replaced by U+FFFD (surrogates and overlong forms included).
std::string toValidUtf8(std::string_view text);

}  // namespace gridiron::wire
