#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edge/http/web_call.h"
#include "wire/asgi.h"

namespace gridiron::edge {

// One response on its way out.
class WebResponse {
 public:
  explicit WebResponse(std::shared_ptr<WebCall> web) : web_(std::move(web)) {}

  bool headSent() const { return sent_; }
  bool complete() const { return complete_; }

  // Sends what the chunks of a call's data-out hold. An error: the response cannot go on.
  Task<Result<void>> take(std::vector<DataChunk> chunks);
  // Sends what happened. Of several starts only the first counts: an app whose request came late is started twice by
  // its client.
  Task<Result<void>> send(std::vector<wire::ResponseEvent> events);

 private:
  Task<Result<std::string>> fetch(const BlobId& blob);
  net::Headers head();
  Task<Result<void>> sendWhole(std::string body);
  Task<Result<void>> sendHead();
  Task<Result<void>> sendBody(std::string body, bool more);
  Error wrongLength(std::uint64_t written) const;

  std::shared_ptr<WebCall> web_;
  std::optional<wire::ResponseStart> start_;
  std::optional<std::uint64_t> declared_;
  std::uint64_t written_ = 0;
  bool sent_ = false, complete_ = false, bodyless_ = false;
};

// What a caller is told of an input that ended without an answer.
Answer answerTo(const Output& output);

// The body's length as its head declares it.
std::optional<std::uint64_t> contentLength(const net::Headers& headers);

}  // namespace gridiron::edge
