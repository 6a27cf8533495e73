#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <string_view>

#include "worker/relay.h"

namespace gridiron::worker {

namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using Tcp = asio::ip::tcp;
using Socket = asio::basic_stream_socket<Tcp, Executor>;
using Resolver = asio::ip::basic_resolver<Tcp, Executor>;
using Ec = boost::system::error_code;

// Of control's HTTP side a container gets its blobs and nothing else: the page may trust who comes from this machine.
constexpr std::string_view kRelayedPaths = "/blobs/";
constexpr std::size_t kPiece = 256 * 1024;

struct Url {
  bool tls = false;
  std::string host, port;
  std::string authority() const {
    return host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port;
  }
};

Url parseUrl(std::string_view url) {
  Url parsed;
  parsed.tls = url.starts_with("https://");
  if (const auto scheme = url.find("://"); scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find('/'));
  const auto colon = url.rfind(':');
  const bool hasPort = colon != std::string_view::npos && url.find(']', colon) == std::string_view::npos;
  parsed.port = hasPort ? std::string(url.substr(colon + 1)) : parsed.tls ? "443" : "80";
  std::string_view host = hasPort ? url.substr(0, colon) : url;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  parsed.host = std::string(host);
  return parsed;
}

bool hopByHop(std::string_view name) {
  return name == "connection" || name == "keep-alive" || name == "proxy-connection" || name == "te" ||
         name == "trailer" || name == "transfer-encoding" || name == "upgrade" || name == "content-length";
}

using Request = http::request<http::buffer_body>;

// The request as control gets it. Its body follows in pieces.
Request requestFor(const net::RequestHead& head, const Relay& relay, const Url& control) {
  Request request;
  request.method_string(head.method);
  request.target(head.target);
  request.version(11);
  request.set(http::field::host, control.authority());
  const bool hasLength = head.headers.find("content-length").has_value();
  for (const auto& [name, value] : head.headers.fields()) {
    if (name == "host" || name == "expect" || name.starts_with(':') || name.starts_with("x-gridiron-")) continue;
    if (!hopByHop(name)) request.insert(name, value);
  }
  for (const auto& [name, value] : relay.credentials.fields()) request.set(name, value);
  request.set(http::field::connection, "close");
  if (hasLength) {
    request.set(http::field::content_length, std::string(*head.headers.find("content-length")));
  } else if (head.version == net::HttpVersion::http2 || head.headers.find("transfer-encoding")) {
    if (head.method != "GET" && head.method != "HEAD") request.chunked(true);
  }
  request.body().data = nullptr;
  request.body().more = true;
  return request;
}

// The container's body, piece by piece. True when all of it was sent.
template <class Stream>
Task<bool> sendRequest(Stream& stream, Request& request, net::Exchange& exchange) {
  http::request_serializer<http::buffer_body> serializer(request);
  Ec failed;
  co_await http::async_write_header(stream, serializer, asio::redirect_error(useTask, failed));
  if (failed) co_return false;
  while (!serializer.is_done()) {
    Result<std::optional<std::string>> piece = co_await exchange.read();
    if (!piece.ok()) co_return false;
    std::string bytes = piece->has_value() ? std::move(**piece) : std::string();
    request.body().data = bytes.empty() ? nullptr : bytes.data();
    request.body().size = bytes.size();
    request.body().more = piece->has_value();
    co_await http::async_write(stream, serializer, asio::redirect_error(useTask, failed));
    if (failed == http::error::need_buffer) failed = {};
    if (failed) co_return false;
    if (!piece->has_value()) break;
  }
  co_return true;
}

net::Headers answerHeaders(const http::response<http::buffer_body>& response) {
  net::Headers headers;
  for (const auto& field : response) {
    std::string name(field.name_string());
    for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    if (name != "content-length" && hopByHop(name)) continue;
    headers.add(std::move(name), std::string(field.value()));
  }
  return headers;
}

// Control's answer, piece by piece. False when nothing could be answered yet.
template <class Stream>
Task<bool> passAnswer(Stream& stream, net::Exchange& exchange) {
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  if (exchange.head().method == "HEAD") parser.skip(true);
  beast::flat_buffer buffer;
  Ec failed;
  co_await http::async_read_header(stream, buffer, parser, asio::redirect_error(useTask, failed));
  if (failed) co_return false;
  net::Headers headers = answerHeaders(parser.get());
  const int status = static_cast<int>(parser.get().result_int());
  const bool nothingFollows = parser.is_done();
  Result<void> sent = co_await exchange.respond(status, std::move(headers), nothingFollows);
  std::string piece(kPiece, '\0');
  while (sent.ok() && !parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    co_await http::async_read(stream, buffer, parser, asio::redirect_error(useTask, failed));
    if (failed == http::error::need_buffer) failed = {};
    if (failed) {
      exchange.abort();
      co_return true;
    }
    std::string bytes = piece.substr(0, piece.size() - parser.get().body().size);
    if (!bytes.empty()) sent = co_await exchange.write(std::move(bytes));
  }
  if (sent.ok() && !nothingFollows) sent = co_await exchange.finish();
  co_return true;
}

template <class Stream>
Task<bool> converse(Stream& stream, const Relay& relay, const Url& control, net::Exchange& exchange) {
  Request request = requestFor(exchange.head(), relay, control);
  // A request that could not be sent to its end may have been answered all the same (413).
  co_await sendRequest(stream, request, exchange);
  const bool answered = co_await passAnswer(stream, exchange);
  co_return answered;
}

Task<bool> converseTls(Socket& socket, const Relay& relay, const Url& control, net::Exchange& exchange) {
  asio::ssl::context context(asio::ssl::context::tls_client);
  Ec failed;
  if (relay.caFile.empty()) {
    context.set_default_verify_paths(failed);
  } else {
    context.load_verify_file(relay.caFile, failed);
  }
  if (failed) co_return false;
  asio::ssl::stream<Socket&> stream(socket, context);
  stream.set_verify_mode(asio::ssl::verify_peer, failed);
  stream.set_verify_callback(asio::ssl::host_name_verification(control.host), failed);
  SSL_set_tlsext_host_name(stream.native_handle(), control.host.c_str());
  co_await stream.async_handshake(asio::ssl::stream_base::client, asio::redirect_error(useTask, failed));
  if (failed) co_return false;
  const bool answered = co_await converse(stream, relay, control, exchange);
  co_return answered;
}

}  // namespace

Task<void> relayHttp(std::shared_ptr<const Relay> relay, std::shared_ptr<net::Exchange> exchange) {
  if (!exchange->head().target.starts_with(kRelayedPaths)) {
    Result<void> refused = co_await exchange->answer(404, {}, "only the grid's API and blobs are served here\n");
    (void)refused;
    co_return;
  }
  const Url control = parseUrl(relay->controlUrl);
  Resolver resolver(relay->io.get_executor());
  Ec failed;
  const auto found = co_await resolver.async_resolve(control.host, control.port, asio::redirect_error(useTask, failed));
  const auto socket = std::make_shared<Socket>(relay->io.get_executor());
  if (!failed) co_await asio::async_connect(*socket, found, asio::redirect_error(useTask, failed));
  bool answered = false;
  if (!failed) {
    exchange->onGone([held = std::weak_ptr<Socket>(socket)] {
      Ec ignored;
      if (const auto open = held.lock()) open->close(ignored);
    });
    if (control.tls) {
      answered = co_await converseTls(*socket, *relay, control, *exchange);
    } else {
      answered = co_await converse(*socket, *relay, control, *exchange);
    }
  }
  if (answered) co_return;
  net::Headers headers;
  headers.add("content-type", "text/plain");
  Result<void> sent = co_await exchange->answer(502, std::move(headers), "the grid cannot be reached\n");
  (void)sent;
}

}  // namespace gridiron::worker
