#include "edge/http/answers.h"

#include <fmt/format.h>

namespace gridiron::edge {

int httpStatusOf(Code code) {
  switch (code) {
    case Code::ok:
      return 200;
    case Code::invalidArgument:
    case Code::outOfRange:
      return 400;
    case Code::unauthenticated:
      return 401;
    case Code::permissionDenied:
      return 403;
    case Code::notFound:
      return 404;
    case Code::alreadyExists:
    case Code::aborted:
    case Code::failedPrecondition:
      return 409;
    case Code::exhausted:
      return 429;
    case Code::cancelled:
      return 499;
    case Code::unimplemented:
      return 501;
    case Code::unavailable:
      return 503;
    case Code::deadlineExceeded:
      return 504;
    default:
      return 500;
  }
}
Answer textAnswer(int status, std::string text) {
  Answer answer;
  answer.status = status;
  answer.headers.add("content-type", "text/plain; charset=utf-8");
  answer.headers.add("cache-control", "no-store");
  answer.body = std::move(text);
  if (!answer.body.ends_with('\n')) answer.body.push_back('\n');
  return answer;
}

Answer unknownFunctionAnswer(std::string_view asked, std::string_view domain) {
  return textAnswer(
      404, fmt::format("No web function answers at '{0}'.\n"
                       "A web function's address is <workspace>--<app>-<function>.{1}, or /-/<app>-<function>/ "
                       "on the main host;\n`modal deploy` prints it. Is the app deployed (or being served)?",
                       asked, domain));
}

Answer queueFullAnswer(std::string_view reason, int retryAfterSeconds) {
  Answer answer = textAnswer(429, fmt::format("Too many requests are waiting: {}", reason));
  answer.headers.add("retry-after", std::to_string(retryAfterSeconds));
  return answer;
}

Answer tooManyAnswer(std::string_view reason, int retryAfterSeconds) {
  Answer answer = textAnswer(429, fmt::format("Too many requests: {}.", reason));
  answer.headers.add("retry-after", std::to_string(retryAfterSeconds));
  return answer;
}

Answer limitProblemAnswer() {
  return textAnswer(503,
                    "The limits of this function are not in order; its owner finds in the app's logs what is wrong.");
}

Answer timeoutAnswer(std::string_view reason) { return textAnswer(504, fmt::format("Timed out: {}", reason)); }

Answer inputFailedAnswer(std::string_view exception) {
  return textAnswer(500, fmt::format("The function failed before it answered: {}\nThe traceback is in the app's logs.",
                                     lastLine(exception)));
}

Answer startFailedAnswer(std::string_view exception) {
  return textAnswer(500,
                    fmt::format("The function's container failed to start: {}\nThe traceback is in the app's logs.",
                                lastLine(exception)));
}

Answer lostContainerAnswer(std::string_view reason) {
  return textAnswer(502, fmt::format("The function's container was lost: {}", lastLine(reason)));
}

Answer proxyAuthAnswer() {
  Answer answer = textAnswer(401,
                             "This function wants a proxy token: send Modal-Key and Modal-Secret headers, or "
                             "'Authorization: Bearer wk-….ws-…'.");
  answer.headers.add("www-authenticate", "Bearer");
  return answer;
}

Answer unverifiedAnswer(const Error& why) {
  if (why.code == Code::exhausted) return textAnswer(413, why.message);
  if (why.code == Code::unauthenticated) return textAnswer(401, why.message);
  Answer answer = textAnswer(503, why.message);
  answer.headers.add("retry-after", "1");
  return answer;
}

Answer webSocketAnswer() { return textAnswer(501, "WebSockets need the fast lane, which is off here."); }

Answer errorAnswer(const Error& error) {
  if (error.code == Code::exhausted) return queueFullAnswer(error.message, 1);
  return textAnswer(httpStatusOf(error.code), error.message);
}

std::string lastLine(std::string_view text, std::size_t most) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
  std::size_t at = text.rfind('\n');
  if (at != std::string_view::npos) text.remove_prefix(at + 1);
  if (text.size() <= most) return std::string(text);
  std::size_t cut = most;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return std::string(text.substr(0, cut)) + "…";
}

}  // namespace gridiron::edge
