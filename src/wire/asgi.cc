#include "wire/asgi.h"

#include "modal_proto/api.pb.h"
#include "wire/pickle.h"

namespace gridiron::wire {
namespace {

namespace api = ::modal::client;

void textItem(PickleWriter& w, std::string_view key, std::string_view value) {
  w.text(key);
  w.text(value);
  w.setItem();
}

void bytesItem(PickleWriter& w, std::string_view key, std::string_view value) {
  w.text(key);
  w.bytes(value);
  w.setItem();
}

void addressItem(PickleWriter& w, std::string_view key, std::string_view host, int port) {
  w.text(key);
  w.text(host);
  w.integer(port);
  w.tuple2();
  w.setItem();
}

template <class Flat>
HeaderList pairsOf(const Flat& flat) {
  HeaderList out;
  for (int i = 0; i + 1 < flat.size(); i += 2) out.emplace_back(flat.Get(i), flat.Get(i + 1));
  return out;
}

}  // namespace

std::string pickleScope(const HttpScope& scope) {
  PickleWriter w;
  w.dict();
  textItem(w, "type", scope.webSocket ? "websocket" : "http");
  textItem(w, "http_version", scope.httpVersion);
  textItem(w, "method", scope.method);
  textItem(w, "scheme", scope.scheme);
  textItem(w, "path", scope.path);
  bytesItem(w, "raw_path", scope.rawPath);
  bytesItem(w, "query_string", scope.query);
  textItem(w, "root_path", scope.rootPath);
  w.text("headers");
  w.list();
  for (const auto& [name, value] : scope.headers) {
    w.bytes(name);
    w.bytes(value);
    w.tuple2();
    w.append();
  }
  w.setItem();
  addressItem(w, "client", scope.clientHost, scope.clientPort);
  if (!scope.serverHost.empty()) addressItem(w, "server", scope.serverHost, scope.serverPort);
  w.text("asgi");
  w.dict();
  textItem(w, "version", "3.0");
  textItem(w, "spec_version", "2.3");
  w.setItem();
  w.tuple1();
  w.dict();
  w.tuple2();
  return std::move(w).finish();
}

std::string requestChunk(std::string body, bool more) {
  api::Asgi message;
  message.mutable_http_request()->set_body(std::move(body));
  message.mutable_http_request()->set_more_body(more);
  return message.SerializeAsString();
}

std::string disconnectChunk() {
  api::Asgi message;
  message.mutable_http_disconnect();
  return message.SerializeAsString();
}

Result<ResponseEvent> readResponseEvent(std::string_view chunk) {
  api::Asgi message;
  if (!message.ParseFromArray(chunk.data(), static_cast<int>(chunk.size())))
    return makeError(Code::invalidArgument, "a response chunk of {} bytes is no Asgi message", chunk.size());
  switch (message.type_case()) {
    case api::Asgi::kHttpResponseStart: {
      const auto& start = message.http_response_start();
      if (start.status() < 100 || start.status() > 999)
        return makeError(Code::invalidArgument, "the web function answered with status {}", start.status());
      return ResponseEvent{ResponseStart{static_cast<int>(start.status()), pairsOf(start.headers()), start.trailers()}};
    }
    case api::Asgi::kHttpResponseBody: {
      auto& body = *message.mutable_http_response_body();
      return ResponseEvent{ResponseBody{std::move(*body.mutable_body()), body.more_body()}};
    }
    case api::Asgi::kHttpResponseTrailers:
      return ResponseEvent{ResponseTrailers{pairsOf(message.http_response_trailers().headers())}};
    default:
      return ResponseEvent{OtherEvent{}};
  }
}

std::string responseStartChunk(const ResponseStart& start) {
  api::Asgi message;
  auto& out = *message.mutable_http_response_start();
  out.set_status(static_cast<std::uint32_t>(start.status));
  out.set_trailers(start.trailers);
  for (const auto& [name, value] : start.headers) {
    out.add_headers(name);
    out.add_headers(value);
  }
  return message.SerializeAsString();
}

std::string responseBodyChunk(std::string body, bool more) {
  api::Asgi message;
  message.mutable_http_response_body()->set_body(std::move(body));
  message.mutable_http_response_body()->set_more_body(more);
  return message.SerializeAsString();
}

}  // namespace gridiron::wire
