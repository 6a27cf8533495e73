#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"

namespace gridiron::net {

// Why bytes are not a request: the status to answer and a sentence for whoever sent them.
struct H1Error {
  int status = 400;
  std::string text;
};

// Reads one HTTP/1.x request after the other out of a growing buffer. No I/O. Strict where reading it two ways is
// possible (RFC 9112): lines end in CRLF, no folded lines, one Content-Length of digits only, chunked as the only
// transfer coding and never together with Content-Length, one Host. Any thread.
class H1Parser {
 public:
  enum class Event {
    needMore,  // of the buffer, unless consumed() is not 0: then simply the next call
    head,      // head() is filled
    body,      // bodyPiece() is the body's
    end,       // of the request; the next call reads another
    failed,    // error() says why; nothing follows
  };
  explicit H1Parser(std::size_t maxHeaderBytes) : maxHead_(maxHeaderBytes) {}

  // Looks at `buffer` (what is left after the last event's consumed()) and takes consumed() bytes off its front.
  Event next(std::string_view buffer);
  std::size_t consumed() const { return consumed_; }

  RequestHead& head() { return head_; }
  std::string_view bodyPiece() const { return piece_; }  // points into the buffer given to next()
  const H1Error& error() const { return error_; }

  // Of the last head.
  bool keepAlive() const { return keepAlive_; }
  bool expectsContinue() const { return expectsContinue_; }
  bool hasBody() const { return chunked_ || length_ > 0; }
  bool chunked() const { return chunked_; }
  std::uint64_t contentLength() const { return length_; }
  bool wantsTrailers() const { return wantsTrailers_; }
  bool betweenRequests() const { return state_ == State::head; }

 private:
  enum class State { head, length, chunkSize, chunkData, chunkEnd, trailers, done, failed };

  Event fail(int status, std::string text);
  Event readHead(std::string_view buffer);
  Event headIncomplete(std::string_view text, std::size_t from);
  Event readChunkSize(std::string_view buffer);
  Event readTrailers(std::string_view buffer);
  std::optional<H1Error> readRequestLine(std::string_view line);
  std::optional<H1Error> readTarget(std::string_view target);
  std::optional<H1Error> readField(std::string_view line);
  std::optional<H1Error> readFraming();
  std::optional<H1Error> noteField(std::string_view name, std::string_view value);
  std::optional<H1Error> noteConnection(std::string_view value);

  const std::size_t maxHead_;
  State state_ = State::head;
  std::size_t consumed_ = 0;
  std::size_t scanned_ = 0;  // of an incomplete head: no need to look again
  std::string_view piece_;
  H1Error error_;

  RequestHead head_;
  bool sawLength_ = false;
  bool sawCoding_ = false;
  int hosts_ = 0;
  bool keepAlive_ = true;
  bool closeAsked_ = false;
  bool expectsContinue_ = false;
  bool wantsTrailers_ = false;
  bool chunked_ = false;
  std::uint64_t length_ = 0;
  std::uint64_t left_ = 0;  // of the body or of the chunk
  bool absolute_ = false;   // the target named the host
};

}  // namespace gridiron::net
