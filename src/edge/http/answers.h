#pragma once

#include <string>
#include <string_view>

#include "net/http.h"

namespace gridiron::edge {

// A whole small HTTP answer of ours (never of a user's function).
struct Answer {
  int status = 200;
  net::Headers headers;
  std::string body;
};

// The HTTP status that says the same as a gRPC code.
int httpStatusOf(Code code);

// `text` as text/plain, with a newline at its end, not to be cached.
Answer textAnswer(int status, std::string text);

// What callers of a web function get when the function itself could not answer. The texts name what was asked and what
// would help, and nothing of other workspaces.
Answer unknownFunctionAnswer(std::string_view asked, std::string_view domain);
Answer queueFullAnswer(std::string_view reason, int retryAfterSeconds);  // 429
Answer tooManyAnswer(std::string_view reason, int retryAfterSeconds);    // 429: by a limit of the function's
Answer limitProblemAnswer();                                             // 503: its limits are not in order
Answer timeoutAnswer(std::string_view reason);                           // 504
Answer inputFailedAnswer(std::string_view exception);                    // 500: the function raised before answering
Answer startFailedAnswer(std::string_view exception);                    // 500: its container cannot start
Answer lostContainerAnswer(std::string_view reason);                     // 502
Answer proxyAuthAnswer();                                                // 401
Answer unverifiedAnswer(const Error& why);                               // 401, 413 or 503: a WebhookGuard's error
Answer webSocketAnswer();                                                // 501
// Any other error of ours, by its gRPC code.
Answer errorAnswer(const Error& error);

// The last line of `text` that is not blank, at most `most` bytes: of a traceback, the exception.
std::string lastLine(std::string_view text, std::size_t most = 500);

}  // namespace gridiron::edge
