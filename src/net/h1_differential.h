#pragma once

#include <boost/beast/core/buffers_prefix.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/dynamic_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "net/h1_parser.h"
#include "net/http_text.h"

// For the tests and the fuzzer only: the same bytes read by our parser and by Boost.Beast's.
namespace gridiron::net {

struct ReadRequest {
  bool whole = false;
  int refused = 0;  // the status, if it was
  std::size_t bytes = 0;
  std::string method, target, body;
  int version = 11;
  bool keepAlive = true;
  std::vector<std::pair<std::string, std::string>> fields;
};

// Our parser, given `bytes` in pieces of `cut`.
inline ReadRequest readOurs(std::string_view bytes, std::size_t cut) {
  H1Parser parser(64 * 1024);
  ReadRequest out;
  std::size_t at = 0;
  std::size_t given = 0;
  for (;;) {
    const auto event = parser.next(bytes.substr(at, given - at));
    out.body += parser.bodyPiece();
    at += parser.consumed();
    if (event == H1Parser::Event::head) {
      const RequestHead& head = parser.head();
      out.method = head.method;
      out.target = head.target;
      out.version = head.version == HttpVersion::http11 ? 11 : 10;
      out.keepAlive = parser.keepAlive();
      out.fields = head.headers.fields();
    } else if (event == H1Parser::Event::end) {
      out.whole = true;
      out.bytes = at;
      return out;
    } else if (event == H1Parser::Event::failed) {
      out.refused = parser.error().status;
      return out;
    } else if (event == H1Parser::Event::needMore && parser.consumed() == 0) {
      if (given == bytes.size()) return out;
      given = std::min(bytes.size(), given + cut);
    }
  }
}

inline ReadRequest readBeast(std::string_view bytes) {
  namespace http = boost::beast::http;
  http::request_parser<http::string_body> parser;
  parser.eager(true);
  parser.header_limit(128 * 1024);
  parser.body_limit(boost::none);
  ReadRequest out;
  boost::system::error_code ec;
  std::size_t at = 0;
  while (!parser.is_done()) {
    const std::size_t n = parser.put(asio::buffer(bytes.data() + at, bytes.size() - at), ec);
    at += n;
    if (ec == http::error::need_more) break;
    if (ec) {
      out.refused = 400;
      return out;
    }
    if (n == 0) break;
  }
  if (!parser.is_done()) return out;
  const auto& message = parser.get();
  out.whole = true;
  out.bytes = at;
  out.method = message.method_string();
  out.target = message.target();
  out.version = static_cast<int>(message.version());
  out.keepAlive = parser.keep_alive();
  out.body = message.body();
  for (const auto& field : message) out.fields.emplace_back(lowerCase(field.name_string()), field.value());
  return out;
}

// What the two read differently, "" if nothing: whatever ours takes, Beast's must take for the same request. What ours
// refuses is its own affair.
inline std::string compareReadings(std::string_view bytes, std::size_t cut) {
  const ReadRequest ours = readOurs(bytes, cut);
  const ReadRequest whole = readOurs(bytes, bytes.size() + 1);
  // Which of several faults is found first may depend on the pieces; that it is refused may not.
  const bool same = ours.whole == whole.whole && (ours.refused != 0) == (whole.refused != 0);
  if (!same || (ours.whole && (ours.bytes != whole.bytes || ours.body != whole.body || ours.fields != whole.fields ||
                               ours.target != whole.target))) {
    return fmt::format("cut into pieces of {} it is another request", cut);
  }
  if (!ours.whole) return "";
  const std::size_t skipped = bytes.starts_with("\r\n") ? 2 : 0;  // allowed by RFC 9112 §2.2, not known to Beast
  const ReadRequest theirs = readBeast(bytes.substr(skipped));
  if (!theirs.whole) return theirs.refused != 0 ? "ours takes what Beast refuses" : "Beast waits for more";
  if (ours.bytes != theirs.bytes + skipped) {
    return fmt::format("length: ours {}, Beast {} after {}", ours.bytes, theirs.bytes, skipped);
  }
  if (ours.method != theirs.method) return "method: " + ours.method + " / " + theirs.method;
  if (ours.version != theirs.version) return "version";
  if (ours.body != theirs.body)
    return fmt::format("body: ours {} bytes, Beast {}", ours.body.size(), theirs.body.size());
  // "close" beats "keep-alive" with ours (RFC 9112 §9.3), not always with Beast's; closing is never wrong.
  if (ours.keepAlive && !theirs.keepAlive) return "keep-alive";
  // http://host/path is taken apart by ours and left whole by Beast.
  const bool sameTarget = theirs.target.starts_with('/') || theirs.target == "*" ? ours.target == theirs.target
                                                                                 : theirs.target.find("://") < 6;
  if (!sameTarget) return "target: " + ours.target + " / " + theirs.target;
  // Beast adds trailers to the fields.
  if (theirs.fields.size() < ours.fields.size()) return "number of fields";
  for (std::size_t i = 0; i < ours.fields.size(); ++i) {
    const bool found = std::find(theirs.fields.begin(), theirs.fields.end(), ours.fields[i]) != theirs.fields.end();
    if (!found) return "field " + ours.fields[i].first + ": " + ours.fields[i].second;
  }
  return "";
}

}  // namespace gridiron::net
