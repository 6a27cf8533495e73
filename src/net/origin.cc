#include "net/origin.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "net/http_text.h"

namespace gridiron::net {

namespace {

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t kFixed = 16;          // signature, version and command, family, length
constexpr std::size_t kLongest = 4 * 1024;  // addresses and what a proxy adds to them

// The items of a comma-separated header that may have come in several fields.
std::vector<std::string> listOf(const Headers& headers, std::string_view name) {
  std::vector<std::string> out;
  for (const auto& [field, value] : headers.fields()) {
    if (field != name) continue;
    std::string_view rest = value;
    for (bool more = true; more;) {
      const auto comma = rest.find(',');
      out.emplace_back(trimSpace(rest.substr(0, comma)));
      more = comma != std::string_view::npos;
      if (more) rest.remove_prefix(comma + 1);
    }
  }
  return out;
}

// The address alone of `1.2.3.4`, `1.2.3.4:567`, `::1`, `[::1]` and `[::1]:567`; "" for anything else.
std::string addressOf(std::string_view text) {
  if (text.starts_with('[')) {
    text = text.substr(1, text.find(']') - 1);
  } else if (std::count(text.begin(), text.end(), ':') == 1) {
    text = text.substr(0, text.find(':'));
  }
  std::string host(text);
  if (host.find('\0') != std::string::npos) return "";  // inet_pton would read to there
  in6_addr parsed{};
  const bool valid = inet_pton(AF_INET, host.c_str(), &parsed) == 1 || inet_pton(AF_INET6, host.c_str(), &parsed) == 1;
  return valid ? host : "";
}

// The value of one parameter of an element of Forwarded: `for="[::1]:80";proto=https`.
std::string parameterOf(std::string_view element, std::string_view name) {
  while (!element.empty()) {
    const auto end = element.find(';');
    const std::string_view pair = trimSpace(element.substr(0, end));
    element.remove_prefix(end == std::string_view::npos ? element.size() : end + 1);
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos || !equalsNoCase(pair.substr(0, equals), name)) continue;
    std::string_view value = pair.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    return std::string(value);
  }
  return "";
}

// Takes one step towards the origin: false when the chain ends here.
bool step(RequestHead& head, std::string_view claimed, const TrustedPeers& trusted) {
  std::string host = addressOf(claimed);
  if (host.empty()) return false;
  head.peerHost = std::move(host);
  head.peerPort = 0;
  return trusted.has(head.peerHost);
}

void setScheme(RequestHead& head, std::string_view scheme) {
  if (equalsNoCase(scheme, "https")) head.scheme = "https";
  if (equalsNoCase(scheme, "http")) head.scheme = "http";
}

std::string textOf(int family, std::string_view bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family, bytes.data(), text, sizeof(text));
  return text;
}

int numberOf(std::string_view bytes) {
  return static_cast<std::uint8_t>(bytes[0]) << 8 | static_cast<std::uint8_t>(bytes[1]);
}

}  // namespace

std::optional<TrustedPeers::Bytes> TrustedPeers::bytesOf(std::string_view host) {
  const std::string text(host);
  Bytes out{};
  if (inet_pton(AF_INET6, text.c_str(), out.data()) == 1) return out;
  out[10] = out[11] = 0xff;
  if (inet_pton(AF_INET, text.c_str(), out.data() + 12) == 1) return out;
  return std::nullopt;
}

Result<TrustedPeers> TrustedPeers::parse(const std::vector<std::string>& networks) {
  TrustedPeers out;
  for (const std::string& text : networks) {
    if (text == "unix") {
      out.unix_ = true;
      continue;
    }
    const auto slash = text.find('/');
    const auto address = bytesOf(text.substr(0, slash));
    const int most = text.find(':') == std::string::npos ? 32 : 128;
    int bits = most;
    if (slash != std::string::npos) {
      const auto [end, ec] = std::from_chars(text.data() + slash + 1, text.data() + text.size(), bits);
      if (ec != std::errc() || end != text.data() + text.size()) bits = -1;
    }
    if (!address || bits < 0 || bits > most)
      return makeError(Code::invalidArgument, "\"{}\" is not a network such as 10.0.0.0/8, ::1 or unix", text);
    out.networks_.push_back({*address, bits + 128 - most});
  }
  return out;
}

bool TrustedPeers::has(std::string_view host) const {
  if (host == "unix") return unix_;
  const auto address = bytesOf(host);
  return address && std::any_of(networks_.begin(), networks_.end(), [&](const Network& network) {
           const auto whole = static_cast<std::size_t>(network.bits / 8);
           const int rest = network.bits % 8;
           if (!std::equal(address->begin(), address->begin() + network.bits / 8, network.address.begin()))
             return false;
           return rest == 0 || ((*address)[whole] ^ network.address[whole]) >> (8 - rest) == 0;
         });
}

void resolveOrigin(RequestHead& head, const TrustedPeers& trusted) {
  if (!trusted.has(head.peerHost)) return;
  if (const auto proto = listOf(head.headers, "x-forwarded-proto"); !proto.empty()) setScheme(head, proto.back());
  if (const auto chain = listOf(head.headers, "x-forwarded-for"); !chain.empty()) {
    for (auto hop = chain.rbegin(); hop != chain.rend() && step(head, *hop, trusted); ++hop) {
    }
    return;
  }
  const auto chain = listOf(head.headers, "forwarded");
  for (auto hop = chain.rbegin(); hop != chain.rend(); ++hop) {
    setScheme(head, parameterOf(*hop, "proto"));
    if (!step(head, parameterOf(*hop, "for"), trusted)) break;
  }
}

bool beginsProxyHeader(std::string_view bytes) {
  const auto n = std::min(bytes.size(), kSignature.size());
  return bytes.substr(0, n) == kSignature.substr(0, n);
}

Result<std::optional<ProxyHeader>> readProxyHeader(std::string_view bytes) {
  if (!beginsProxyHeader(bytes)) return makeError(Code::invalidArgument, "not a PROXY header");
  if (bytes.size() < kFixed) return std::optional<ProxyHeader>();
  const int version = static_cast<std::uint8_t>(bytes[12]) >> 4;
  const int command = bytes[12] & 0xf;
  const int family = static_cast<std::uint8_t>(bytes[13]) >> 4;
  const auto length = static_cast<std::size_t>(numberOf(bytes.substr(14, 2)));
  if (version != 2 || command > 1) return makeError(Code::invalidArgument, "a PROXY header of another version");
  if (kFixed + length > kLongest)
    return makeError(Code::invalidArgument, "a PROXY header of more than {} bytes", kLongest);
  const std::size_t address = family == 1 ? 4 : family == 2 ? 16 : 0;
  if (length < 2 * address + (address > 0 ? 4 : 0)) return makeError(Code::invalidArgument, "a PROXY header cut short");
  if (bytes.size() < kFixed + length) return std::optional<ProxyHeader>();
  ProxyHeader out;
  out.length = kFixed + length;
  if (command == 1 && address > 0) {
    out.host = textOf(family == 1 ? AF_INET : AF_INET6, bytes.substr(kFixed, address));
    out.port = numberOf(bytes.substr(kFixed + 2 * address, 2));
  }
  return std::optional<ProxyHeader>(std::move(out));
}

}  // namespace gridiron::net
