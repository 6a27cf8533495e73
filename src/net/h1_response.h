#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"

namespace gridiron::net {

struct ResponseHead {
  int status = 0;
  HttpVersion version = HttpVersion::http11;
  Headers headers;
};

// Reads one HTTP/1.x response after the other out of a growing buffer. No I/O. What could be read in two ways is
// refused (RFC 9112): Content-Length beside Transfer-Encoding, several lengths that differ, codings other than chunked,
// folded lines. Lines may end in a bare LF, which some servers write. Interim responses (1xx) are left out. Any thread.
class H1ResponseParser {
 public:
  enum class Event {
    needMore,  // of the buffer, unless consumed() is not 0: then simply the next call
    head,      // head() is filled
    body,      // bodyPiece() is the body's
    end,       // of the response; expect() comes before the next
    failed,    // error() says why; nothing follows
  };
  explicit H1ResponseParser(std::size_t maxHeaderBytes) : maxHead_(maxHeaderBytes) {}

  // The next response is to such a request: HEAD's has no body, and only who asked for it gets 101 (`upgrade`), after
  // which all bytes are the body's.
  void expect(std::string_view method, bool upgrade);
  // Looks at `buffer` (what is left after the last event's consumed()) and takes consumed() bytes off its front.
  // `closed`: nothing will follow it, which is how a body without a length ends.
  Event next(std::string_view buffer, bool closed);
  std::size_t consumed() const { return consumed_; }

  ResponseHead& head() { return head_; }
  std::string_view bodyPiece() const { return piece_; }  // points into the buffer given to next()
  const std::string& error() const { return error_; }
  Headers& trailers() { return trailers_; }

  // Of the last response: may another follow it?
  bool keepAlive() const { return keepAlive_; }
  bool hasBody() const { return state_ != State::done; }  // after its head
  bool between() const { return state_ == State::idle; }

 private:
  enum class State { idle, head, length, chunkSize, chunkData, chunkEnd, trailers, untilClose, done, failed };

  Event fail(std::string text);
  Event readHead(std::string_view buffer, bool closed);
  Event readChunkSize(std::string_view buffer);
  Event readTrailers(std::string_view buffer);
  bool readLines(std::string_view text, Headers& into, bool withStatus);
  bool readStatus(std::string_view line);
  bool noteField(std::string_view name, std::string_view value);
  bool decideFraming();

  const std::size_t maxHead_;
  State state_ = State::idle;
  std::size_t consumed_ = 0;
  std::size_t scanned_ = 0;  // of an incomplete head: no need to look again
  std::string_view piece_;
  std::string error_;
  ResponseHead head_;
  Headers trailers_;
  bool toHead_ = false, toUpgrade_ = false;
  bool keepAlive_ = false, closeAsked_ = false, chunked_ = false;
  std::optional<std::uint64_t> length_;
  std::uint64_t left_ = 0;  // of the body or of the chunk
  int interim_ = 0;
};

}  // namespace gridiron::net
