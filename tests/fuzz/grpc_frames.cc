// gRPC's frames, and the texts of its headers and trailers.
#include "net/grpc_frames.h"

#include "tests/fuzz/fuzz.h"

namespace {

using namespace gridiron::net;
using gridiron::fuzz::require;

struct Read {
  std::vector<std::string> messages;
  bool failed = false, midMessage = false;
};

Read readAll(std::string_view bytes, std::size_t cut) {
  FrameReader reader;
  Read read;
  for (std::size_t at = 0; at < bytes.size() && !read.failed; at += cut) {
    reader.add(std::string(bytes.substr(at, cut)));
    for (;;) {
      auto message = reader.next();
      read.failed = !message.ok();
      if (!message.ok() || !message->has_value()) break;
      read.messages.push_back(std::move(**message));
    }
  }
  read.midMessage = reader.midMessage();
  return read;
}

}  // namespace

FUZZ(grpc_frames) {
  const std::size_t cut = 1 + gridiron::fuzz::choice(bytes) % 13;
  const Read whole = readAll(bytes, bytes.size() + 1), pieces = readAll(bytes, cut);
  require(whole.failed == pieces.failed, "fails or not however it is cut");
  require(whole.messages == pieces.messages, "the same messages however they are cut");
  require(whole.failed || whole.midMessage == pieces.midMessage, "in the middle of one or not however it is cut");
  const std::string again = percentEncode(bytes);
  require(percentDecode(again) == bytes, "what is encoded is decoded to the same");
  (void)percentDecode(bytes);
  if (const auto timeout = parseTimeout(bytes)) require(timeout->count() >= 0, "a time-out is not negative");
  const auto decoded = fromBase64(base64(bytes));
  require(decoded && *decoded == bytes, "base64 there and back");
  if (const auto raw = fromBase64(bytes)) (void)retryAfterOf(*raw);
  if (const auto after = retryAfterOf(bytes)) require(after->count() >= 0, "nobody comes back before now");
  Headers trailers;
  trailers.add("grpc-status", std::string(bytes.substr(0, bytes.size() / 3)));
  trailers.add("grpc-message", std::string(bytes));
  trailers.add("grpc-status-details-bin", std::string(bytes));
  (void)statusOf(trailers);
}
