#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace gridiron::net {

// permessage-deflate (RFC 7692), the server's side, without I/O.

// What was agreed on.
struct DeflateTerms {
  int serverBits = 15, clientBits = 15;  // of each side's window, 9 to 15
  bool serverForgets = false;            // no context is taken over from one message of ours to the next
  bool clientForgets = false;
};

// The first offer in Sec-WebSocket-Extensions (all its fields, joined by commas) that can be taken. Windows are made
// small, so that ten thousand connections cost no more than a few hundred MiB.
std::optional<DeflateTerms> acceptDeflate(std::string_view offers);
// The answer to it.
std::string deflateAnswer(const DeflateTerms& terms);

// Compresses one side's messages, as far as it is worth it.
class Deflater {
 public:
  explicit Deflater(const DeflateTerms& terms);
  ~Deflater();
  // The payload of a frame with RSV1 set; nothing when the message is to go as it is.
  std::optional<std::string> deflate(std::string_view message);

 private:
  struct Stream;
  const DeflateTerms terms_;
  std::unique_ptr<Stream> stream_;  // from the first message on
};

// Restores the other side's.
class Inflater {
 public:
  explicit Inflater(const DeflateTerms& terms);
  ~Inflater();
  enum class End { whole, tooLarge, broken };
  // Puts the message of a whole payload behind `out`, `most` bytes of it at most. After anything but `whole` there is
  // no going on.
  End inflate(std::string_view payload, std::size_t most, std::string& out);

 private:
  struct Stream;
  const DeflateTerms terms_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace gridiron::net
