// An HTTP/2 connection behind its preface, with handlers of several kinds.
#include "tests/fuzz/connection.h"

FUZZ(h2_server) {
  using namespace gridiron;
  const unsigned ways = fuzz::choice(bytes);
  const std::size_t cut = 1 + 7 * (fuzz::choice(bytes) % 64);
  fuzz::Connection connection(net::makeH2Server, ways);
  connection.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
  connection.say(bytes, cut);
  connection.hangUp();
}
