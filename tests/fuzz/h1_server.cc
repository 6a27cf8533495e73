// An HTTP/1 connection from its first byte to its end, with handlers of several kinds.
#include "tests/fuzz/connection.h"

FUZZ(h1_server) {
  using namespace gridiron;
  const unsigned ways = fuzz::choice(bytes);
  const std::size_t cut = 1 + fuzz::choice(bytes) % 64;
  fuzz::Connection connection(net::makeH1Server, ways);
  connection.say(bytes, cut);
  connection.hangUp();
  const std::string& heard = connection.heard();
  fuzz::require(std::string_view("HTTP/1.1 ").starts_with(heard.substr(0, 9)), "what is said first is a status line");
}
