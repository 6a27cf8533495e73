// A response reads the same however it is cut, its body is within its bytes, and nothing that could split another
// message is left in its fields.
#include "net/h1_response.h"

#include "tests/fuzz/fuzz.h"

namespace {

using gridiron::net::H1ResponseParser;

struct Read {
  int status = 0;
  std::string body, error;
  bool ended = false;
  std::size_t taken = 0;
  bool operator==(const Read&) const = default;
};

Read readOf(std::string_view bytes, std::size_t cut, std::string_view method, bool upgrade) {
  H1ResponseParser parser(4096);
  parser.expect(method, upgrade);
  Read out;
  std::size_t came = 0;
  for (;;) {
    came = std::min(bytes.size(), came + cut);
    for (;;) {
      const auto event = parser.next(bytes.substr(out.taken, came - out.taken), came == bytes.size());
      out.body += parser.bodyPiece();
      out.taken += parser.consumed();
      if (event == H1ResponseParser::Event::head) {
        out.status = parser.head().status;
        for (const auto& [name, value] : parser.head().headers.fields()) {
          const bool clean =
              name.find_first_of(": \r\n") == std::string::npos && value.find_first_of("\r\n") == std::string::npos;
          gridiron::fuzz::require(clean, "a field splits: " + name + ": " + value);
        }
      }
      if (event == H1ResponseParser::Event::end) out.ended = true;
      if (event == H1ResponseParser::Event::failed) out.error = parser.error();
      if (out.ended || !out.error.empty()) return out;
      if (event == H1ResponseParser::Event::needMore && parser.consumed() == 0) break;
    }
    if (came == bytes.size()) return out;
  }
}

}  // namespace

FUZZ(h1_response) {
  const unsigned choice = gridiron::fuzz::choice(bytes);
  const std::string_view method = choice & 1 ? "HEAD" : "GET";
  const Read whole = readOf(bytes, bytes.size() + 1, method, choice & 2);
  Read pieces = readOf(bytes, 1 + (choice >> 2) % 13, method, choice & 2);
  // What of a response that fails was a body before depends on how much had come.
  if (!whole.error.empty() && !pieces.error.empty()) pieces.body = whole.body, pieces.taken = whole.taken;
  gridiron::fuzz::require(whole.error.empty() == pieces.error.empty(), whole.error + " or " + pieces.error);
  pieces.error = whole.error;
  gridiron::fuzz::require(whole == pieces, "cut it reads otherwise");
  gridiron::fuzz::require(whole.taken <= bytes.size() && whole.body.size() <= whole.taken, "more than there is");
  gridiron::fuzz::require(whole.ended || !whole.error.empty() || bytes.empty(), "a closed connection ends nothing");
}
