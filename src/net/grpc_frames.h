#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "net/grpc.h"

namespace gridiron::net {

// The parts of gRPC over HTTP/2 that are only bytes. Any thread.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

// Five bytes before every message: not compressed, length.
std::string framed(std::string_view message);

// Collects frames out of pieces of any size.
class FrameReader {
 public:
  void add(std::string chunk);
  // The next complete message, if there is one. Errors: exhausted, invalidArgument; after one, nothing more comes.
  Result<std::optional<std::string>> next();
  // Bytes of a message that is not complete.
  bool midMessage() const { return !buffer_.empty() || length_.has_value(); }

 private:
  std::string buffer_;
  std::size_t at_ = 0;  // read of buffer_
  std::optional<std::size_t> length_;
  std::string message_;  // the message being collected, once its length is known
};

std::string percentEncode(std::string_view text);
std::string percentDecode(std::string_view text);  // leaves broken escapes as they are

std::optional<Nanos> parseTimeout(std::string_view text);  // "20S", "1500m", at most 8 digits
std::string formatTimeout(Nanos timeout);

std::string base64(std::string_view bytes);                       // padded
std::optional<std::string> fromBase64(std::string_view text);     // with or without padding
std::string retryDetails(const GrpcStatus& status);               // google.rpc.Status with one RPCRetryPolicy
std::optional<Nanos> retryAfterOf(std::string_view statusBytes);  // the policy in a google.rpc.Status, if any

Headers statusTrailers(const GrpcStatus& status);
GrpcStatus statusOf(const Headers& trailers);  // unknown when grpc-status is missing or no number

}  // namespace gridiron::net
