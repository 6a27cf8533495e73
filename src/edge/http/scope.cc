#include "edge/http/scope.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

namespace gridiron::edge {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool isHopByHop(std::string_view name) {
  static constexpr std::array<std::string_view, 7> kNames = {
      "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// The names that a Connection header makes hop-by-hop.
std::set<std::string> namedByConnection(const net::Headers& headers) {
  std::set<std::string> names;
  for (const auto& [name, value] : headers.fields()) {
    if (name != "connection") continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      std::size_t comma = rest.find(',');
      names.insert(lower(trim(rest.substr(0, comma))));
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    }
  }
  return names;
}

const char* versionOf(net::HttpVersion version) {
  if (version == net::HttpVersion::http2) return "2";
  return version == net::HttpVersion::http10 ? "1.0" : "1.1";
}

void setPath(const net::RequestHead& head, const FunctionAddress& address, WebKind kind, wire::HttpScope& scope) {
  std::string_view target = head.target;
  std::size_t question = target.find('?');
  if (question != std::string_view::npos) scope.query = std::string(target.substr(question + 1));
  std::string raw(target.substr(0, question));
  if (raw.starts_with("http://") || raw.starts_with("https://")) {  // absolute form
    std::size_t slash = raw.find('/', raw.find("//") + 2);
    raw = slash == std::string::npos ? "/" : raw.substr(slash);
  }
  if (raw.empty() || raw == "*") raw = "/";
  if (!address.rootPath.empty() && raw == address.rootPath) raw += "/";
  if (!address.rootPath.empty() && kind == WebKind::webServer) {
    raw = raw.substr(address.rootPath.size());
  } else {
    scope.rootPath = percentDecode(address.rootPath);
  }
  scope.path = percentDecode(raw);
  scope.rawPath = std::move(raw);
}

bool isToken(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool isFieldValue(std::string_view value) {
  return value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

}  // namespace

std::string percentDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    if (text[i] == '%' && i + 2 < text.size()) {
      const char* from = text.data() + i + 1;
      auto [end, error] = std::from_chars(from, from + 2, byte, 16);
      if (error == std::errc{} && end == from + 2) {
        out.push_back(static_cast<char>(byte));
        i += 2;
        continue;
      }
    }
    out.push_back(text[i]);
  }
  return out;
}

std::map<std::string, std::string> queryFields(std::string_view query) {
  std::map<std::string, std::string> fields;
  while (!query.empty()) {
    const std::string_view field = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), field.size() + 1));
    std::string spaced(field);
    std::replace(spaced.begin(), spaced.end(), '+', ' ');
    const std::size_t equals = spaced.find('=');
    const std::string_view whole = spaced;
    const std::string_view value = equals == std::string::npos ? std::string_view() : whole.substr(equals + 1);
    if (!field.empty()) fields.emplace(percentDecode(whole.substr(0, equals)), percentDecode(value));
  }
  return fields;
}

wire::HttpScope scopeOf(const net::RequestHead& head, const FunctionAddress& address, WebKind kind) {
  wire::HttpScope scope;
  scope.httpVersion = versionOf(head.version);
  scope.method = head.method;
  scope.clientHost = head.peerHost;
  scope.clientPort = head.peerPort;
  scope.scheme = head.scheme.empty() ? "http" : head.scheme;
  setPath(head, address, kind, scope);
  std::size_t colon = head.authority.rfind(':');
  scope.serverHost = hostOf(head.authority);
  scope.serverPort = scope.scheme == "https" ? 443 : 80;
  if (colon != std::string::npos && head.authority.find(']', colon) == std::string::npos)
    std::from_chars(head.authority.data() + colon + 1, head.authority.data() + head.authority.size(), scope.serverPort);
  if (!head.headers.find("host")) scope.headers.emplace_back("host", head.authority);
  const std::set<std::string> named = namedByConnection(head.headers);
  for (const auto& [name, value] : head.headers.fields()) {
    if (isHopByHop(name) || named.count(name) > 0 || name == "expect") continue;
    if (name == "x-forwarded-for" || name == "modal-key" || name == "modal-secret") continue;
    scope.headers.emplace_back(name, value);
  }
  return scope;
}

net::Headers responseHeaders(const wire::HeaderList& headers) {
  net::Headers out;
  for (const auto& [given, value] : headers) {
    std::string name = lower(given);
    if (isHopByHop(name) || !isToken(name) || !isFieldValue(value)) continue;
    out.add(std::move(name), value);
  }
  return out;
}

}  // namespace gridiron::edge
