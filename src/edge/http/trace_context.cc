#include "edge/http/trace_context.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace gridiron::edge {
namespace {

bool isHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool isId(std::string_view text) { return isHex(text) && text.find_first_not_of('0') != std::string_view::npos; }

}  // namespace

bool isTraceparent(std::string_view text) {
  constexpr std::size_t kLength = 55;
  if (text.size() < kLength || text[2] != '-' || text[35] != '-' || text[52] != '-') return false;
  const std::string_view version = text.substr(0, 2);
  if (!isHex(version) || version == "ff" || !isId(text.substr(3, 32)) || !isId(text.substr(36, 16))) return false;
  if (!isHex(text.substr(53, 2))) return false;
  return text.size() == kLength || (version != "00" && text[kLength] == '-');
}

std::string newTraceparent() {
  std::array<std::uint8_t, 24> bytes{};
  GRID_CHECK(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  bytes[0] |= 1;  // ids of zeros are none
  bytes[16] |= 1;
  std::string hex;
  for (const std::uint8_t byte : bytes) hex += fmt::format("{:02x}", byte);
  return fmt::format("00-{}-{}-01", hex.substr(0, 32), hex.substr(32));
}

std::string traceInto(wire::HeaderList& headers) {
  const auto named = [](const char* name) { return [name](const auto& field) { return field.first == name; }; };
  const auto first = std::find_if(headers.begin(), headers.end(), named("traceparent"));
  const bool one = std::count_if(headers.begin(), headers.end(), named("traceparent")) == 1;
  if (one && isTraceparent(first->second)) return first->second;
  std::erase_if(headers, named("traceparent"));
  std::erase_if(headers, named("tracestate"));
  headers.emplace_back("traceparent", newTraceparent());
  return headers.back().second;
}

}  // namespace gridiron::edge
