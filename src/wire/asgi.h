#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace gridiron::wire {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// What a web function is told of one HTTP request before its body.
struct HttpScope {
  bool webSocket = false;
  std::string httpVersion = "1.1";  // "1.0", "1.1", "2"
  std::string method;
  std::string scheme = "http";
  std::string path;      // percent-decoded, with rootPath in front of it (as ASGI says)
  std::string rawPath;   // as sent, without the query
  std::string query;     // as sent, without the "?"
  std::string rootPath;  // "" when the function has a hostname of its own
  HeaderList headers;    // names in lower case, without hop-by-hop ones
  std::string clientHost;
  int clientPort = 0;
  std::string serverHost;
  int serverPort = 0;
};

// The input's arguments: the pickle of ((scope,), {}), which is what every client version reads.
std::string pickleScope(const HttpScope& scope);

// Data-in chunks (serialized Asgi messages).
std::string requestChunk(std::string body, bool more);
std::string disconnectChunk();

// Data-out chunks.
struct ResponseStart {
  int status = 200;
  HeaderList headers;  // as the app gave them
  bool trailers = false;
};
struct ResponseBody {
  std::string body;
  bool more = false;
};
struct ResponseTrailers {
  HeaderList headers;
};
struct OtherEvent {};  // of no meaning to an HTTP response: skip it
using ResponseEvent = std::variant<ResponseStart, ResponseBody, ResponseTrailers, OtherEvent>;

// Errors: invalidArgument when the bytes are no Asgi message, or a start without a status of 100..999.
Result<ResponseEvent> readResponseEvent(std::string_view chunk);

// How a container writes its side of the same streams (tests and the simulator play containers with these).
std::string responseStartChunk(const ResponseStart& start);
std::string responseBodyChunk(std::string body, bool more);

}  // namespace gridiron::wire
