#include "edge/http/web_response.h"

#include <charconv>

#include "edge/http/scope.h"
#include "edge/http/server_timing.h"

namespace gridiron::edge {

Task<Result<void>> WebResponse::take(std::vector<DataChunk> chunks) {
  std::vector<wire::ResponseEvent> events;
  for (DataChunk& chunk : chunks) {
    if (!chunk.payload.blob.empty()) {
      Result<std::string> bytes = co_await fetch(chunk.payload.blob);
      if (!bytes.ok()) co_return bytes.error();
      chunk.payload.data = std::move(*bytes);
    }
    Result<wire::ResponseEvent> event = wire::readResponseEvent(chunk.payload.data);
    if (!event.ok()) co_return event.error();
    events.push_back(std::move(*event));
  }
  Result<void> done = co_await send(std::move(events));
  co_return done;
}

Task<Result<std::string>> WebResponse::fetch(const BlobId& blob) {
  if (!web_->parts.blob) co_return makeError(Code::unimplemented, "the answer is in blob {}", blob.str());
  Result<std::string> bytes = co_await web_->parts.blob(blob);
  co_return bytes;
}

Task<Result<void>> WebResponse::send(std::vector<wire::ResponseEvent> events) {
  std::string body;
  bool more = true, hasBody = false;
  for (wire::ResponseEvent& event : events) {
    auto* start = std::get_if<wire::ResponseStart>(&event);
    if (start != nullptr && !start_ && start->status >= 200) start_ = std::move(*start);
    auto* piece = std::get_if<wire::ResponseBody>(&event);
    if (piece == nullptr || !start_ || !more) continue;
    hasBody = true;
    if (body.empty()) {
      body = std::move(piece->body);
    } else {
      body += piece->body;
    }
    more = piece->more;
  }
  if (!start_) co_return Result<void>{};
  Result<void> out;
  if (!sent_ && hasBody && !more) {
    out = co_await sendWhole(std::move(body));
    co_return out;
  }
  if (!sent_) out = co_await sendHead();
  if (out.ok() && hasBody) out = co_await sendBody(std::move(body), more);
  co_return out;
}

net::Headers WebResponse::head() {
  net::Headers headers = responseHeaders(start_->headers);
  std::string timing = serverTiming(phasesOf(*web_));
  if (!timing.empty()) headers.add("server-timing", std::move(timing));
  declared_ = contentLength(headers);
  const std::string& method = web_->exchange->head().method;
  bodyless_ = method == "HEAD" || start_->status == 204 || start_->status == 304;
  sent_ = true;
  return headers;
}

Task<Result<void>> WebResponse::sendWhole(std::string body) {
  net::Headers headers = head();
  complete_ = true;
  Result<void> out;
  if (bodyless_) {
    out = co_await web_->exchange->respond(start_->status, std::move(headers), true);
  } else if (declared_ && *declared_ != body.size()) {
    out = wrongLength(body.size());
  } else {
    out = co_await web_->exchange->answer(start_->status, std::move(headers), std::move(body));
  }
  co_return out;
}

Task<Result<void>> WebResponse::sendHead() {
  net::Headers headers = head();
  Result<void> out = co_await web_->exchange->respond(start_->status, std::move(headers), bodyless_);
  co_return out;
}

Task<Result<void>> WebResponse::sendBody(std::string body, bool more) {
  written_ += body.size();
  if (declared_ && !bodyless_ && (written_ > *declared_ || (!more && written_ < *declared_)))
    co_return wrongLength(written_);
  Result<void> out;
  if (!body.empty() && !bodyless_) out = co_await web_->exchange->write(std::move(body));
  if (out.ok() && !more) {
    complete_ = true;
    if (!bodyless_) out = co_await web_->exchange->finish();
  }
  co_return out;
}

Error WebResponse::wrongLength(std::uint64_t written) const {
  return makeError(Code::internal, "the function declared {} bytes and sent {}", *declared_, written);
}

Answer answerTo(const Output& output) {
  const Outcome& outcome = output.outcome;
  const bool neverRan = output.startedAt == Time{};
  switch (outcome.status) {
    case OutcomeStatus::timeout:
      return timeoutAnswer(outcome.exception);
    case OutcomeStatus::initFailure:
      return startFailedAnswer(outcome.exception);
    case OutcomeStatus::failure:
      return neverRan ? startFailedAnswer(outcome.exception) : inputFailedAnswer(outcome.exception);
    case OutcomeStatus::terminated:
      return textAnswer(503, "The request was cancelled: " + outcome.exception);
    case OutcomeStatus::success:
      return textAnswer(502, "The function ended without an answer.");
    default:
      return lostContainerAnswer(outcome.exception);
  }
}

std::optional<std::uint64_t> contentLength(const net::Headers& headers) {
  auto text = headers.find("content-length");
  std::uint64_t n = 0;
  if (!text) return std::nullopt;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), n);
  if (error != std::errc{} || end != text->data() + text->size()) return std::nullopt;
  return n;
}

}  // namespace gridiron::edge
