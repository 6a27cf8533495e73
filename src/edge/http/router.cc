#include "edge/http/router.h"

#include <algorithm>

#include "edge/http/answers.h"
#include "edge/http/followed.h"
#include "net/grpc.h"

namespace gridiron::edge {
namespace {

constexpr std::string_view kPathPrefix = "/-/";
constexpr std::string_view kBlobPrefix = "/blobs/";

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
  });
  return out;
}

// "you--app-f" -> {"you", "app-f"}; labels may hold "--" themselves, workspaces may not.
std::optional<FunctionAddress> splitName(std::string_view name) {
  std::size_t at = name.find("--");
  if (at == std::string_view::npos || at == 0 || at + 2 >= name.size()) return std::nullopt;
  return FunctionAddress{std::string(name.substr(0, at)), std::string(name.substr(at + 2)), ""};
}

std::optional<FunctionAddress> addressOfHost(std::string_view host, std::string_view domain) {
  for (std::string_view parent : {domain, std::string_view("localhost")}) {
    if (parent.empty() || host.size() <= parent.size() + 1 || !host.ends_with(parent)) continue;
    std::string_view name = host.substr(0, host.size() - parent.size());
    if (name.back() != '.') continue;
    name.remove_suffix(1);
    if (name.find('.') != std::string_view::npos) continue;
    if (auto address = splitName(name)) return address;
  }
  return std::nullopt;
}

std::optional<FunctionAddress> addressOfPath(std::string_view target) {
  std::string_view path = target.substr(0, target.find('?'));
  if (!path.starts_with(kPathPrefix)) return std::nullopt;
  std::string_view name = path.substr(kPathPrefix.size());
  name = name.substr(0, name.find('/'));
  if (name.empty()) return std::nullopt;
  FunctionAddress address = splitName(lower(name)).value_or(FunctionAddress{"", lower(name), ""});
  address.rootPath = std::string(kPathPrefix) + std::string(name);
  return address;
}

Route routeFor(const RouterParts& parts, const net::RequestHead& head) {
  Route route = routeOf(head, parts.domain);
  if (!parts.ownHost || route.kind == Route::Kind::rpc || route.kind == Route::Kind::link) return route;
  std::string host = hostOf(head.authority);
  if (!parts.ownHost(host)) return route;
  return {Route::Kind::function, {.workspace = "", .label = "", .rootPath = "", .domain = std::move(host)}};
}

Task<void> dispatch(std::shared_ptr<const RouterParts> parts, std::shared_ptr<net::Exchange> exchange) {
  if (const auto text = parts->challenge ? parts->challenge(exchange->head().target) : std::nullopt) {
    net::Headers headers;
    headers.add("content-type", "application/octet-stream");
    (void)co_await exchange->answer(200, std::move(headers), *text);
    co_return;
  }
  const Route route = routeFor(*parts, exchange->head());
  const bool ofFunction = route.kind == Route::Kind::function && parts->function;
  if (parts->book != nullptr && !ofFunction && !net::isGrpc(exchange->head()))
    exchange = parts->book->follow(std::move(exchange));
  const net::RequestHead& head = exchange->head();
  if (parts->insecure && !net::isGrpc(head) && parts->insecure(head)) {
    const std::string target = head.target.starts_with('/') ? head.target : "/";
    Answer answer = textAnswer(308, "This is served at https://" + head.authority + target);
    answer.headers.add("location", "https://" + head.authority + target);
    (void)co_await exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
    co_return;
  }
  if (ofFunction) {
    co_await parts->function(exchange, route.function);
    co_return;
  }
  const net::HttpHandler* part = nullptr;
  if (route.kind == Route::Kind::rpc) part = &parts->rpc;
  if (route.kind == Route::Kind::link) part = &parts->link;
  if (route.kind == Route::Kind::blobs) part = &parts->blobs;
  if (route.kind == Route::Kind::page) part = &parts->page;
  if (part != nullptr && *part) {
    co_await (*part)(exchange);
    co_return;
  }
  Answer answer = textAnswer(404, "Nothing is served at " + exchange->head().target + " here.");
  (void)co_await exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
}

}  // namespace

std::string hostOf(std::string_view authority) {
  std::size_t from = authority.rfind('@');
  if (from != std::string_view::npos) authority.remove_prefix(from + 1);
  std::size_t closing = authority.starts_with('[') ? authority.find(']') : std::string_view::npos;
  std::size_t colon = closing == std::string_view::npos ? authority.find(':') : closing + 1;
  std::string host = lower(authority.substr(0, colon));
  if (host.ends_with('.')) host.pop_back();
  return host;
}

Route routeOf(const net::RequestHead& head, std::string_view domain) {
  if (net::isGrpc(head) && head.target.starts_with("/gridiron.link.")) return {Route::Kind::link, {}};
  if (net::isGrpc(head) && head.target.starts_with("/modal.")) return {Route::Kind::rpc, {}};
  if (auto address = addressOfHost(hostOf(head.authority), domain)) return {Route::Kind::function, *address};
  if (head.target.starts_with(kBlobPrefix)) return {Route::Kind::blobs, {}};
  if (auto address = addressOfPath(head.target)) return {Route::Kind::function, *address};
  return {net::isGrpc(head) ? Route::Kind::rpc : Route::Kind::page, {}};
}

net::HttpHandler makeRouter(RouterParts parts) {
  auto shared = std::make_shared<const RouterParts>(std::move(parts));
  return [shared](std::shared_ptr<net::Exchange> exchange) { return dispatch(shared, std::move(exchange)); };
}

}  // namespace gridiron::edge
