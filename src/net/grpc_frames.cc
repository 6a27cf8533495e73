#include "net/grpc_frames.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

namespace gridiron::net {

std::string framed(std::string_view message) {
  const auto n = static_cast<std::uint32_t>(message.size());
  std::string out;
  out.reserve(5 + message.size());
  out.push_back(0);
  for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<char>((n >> shift) & 0xff));
  out.append(message);
  return out;
}

void FrameReader::add(std::string chunk) {
  if (length_ && at_ == buffer_.size()) {  // the middle of a large message: no detour
    const std::size_t n = std::min(chunk.size(), *length_ - message_.size());
    message_.append(chunk, 0, n);
    buffer_.assign(chunk, n);
    at_ = 0;
    return;
  }
  if (at_ == buffer_.size()) {
    buffer_ = std::move(chunk);
    at_ = 0;
    return;
  }
  buffer_.erase(0, std::exchange(at_, 0));
  buffer_.append(chunk);
}

Result<std::optional<std::string>> FrameReader::next() {
  if (!length_) {
    if (buffer_.size() - at_ < 5) return std::optional<std::string>();
    const auto* bytes = reinterpret_cast<const unsigned char*>(buffer_.data() + at_);
    if (bytes[0] != 0) return Error{Code::invalidArgument, "the message is compressed, which was not agreed on"};
    const std::size_t length = static_cast<std::size_t>(bytes[1]) << 24 | static_cast<std::size_t>(bytes[2]) << 16 |
                               static_cast<std::size_t>(bytes[3]) << 8 | bytes[4];
    if (length > kMaxGrpcMessage) {
      return makeError(Code::exhausted, "the message has {} bytes, more than the limit of {}", length, kMaxGrpcMessage);
    }
    at_ += 5;
    length_ = length;
    message_.reserve(std::min<std::size_t>(length, 1024 * 1024));
  }
  const std::size_t n = std::min(*length_ - message_.size(), buffer_.size() - at_);
  message_.append(buffer_, at_, n);
  at_ += n;
  if (at_ == buffer_.size()) {
    buffer_.clear();
    at_ = 0;
  }
  if (message_.size() < *length_) return std::optional<std::string>();
  length_.reset();
  return std::optional<std::string>(std::exchange(message_, {}));
}

std::string percentEncode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte <= 0x7e && c != '%') {
      out.push_back(c);
      continue;
    }
    out.push_back('%');
    out.push_back(kHex[byte >> 4]);
    out.push_back(kHex[byte & 15]);
  }
  return out;
}

std::string percentDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3) {
      out.push_back(static_cast<char>(byte));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::optional<Nanos> parseTimeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  std::int64_t n = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size() - 1, n);
  if (ec != std::errc() || end != text.data() + text.size() - 1 || n < 0) return std::nullopt;
  switch (text.back()) {
    case 'H':
      return std::chrono::hours(std::min<std::int64_t>(n, 24 * 365 * 100));
    case 'M':
      return std::chrono::minutes(n);
    case 'S':
      return std::chrono::seconds(n);
    case 'm':
      return std::chrono::milliseconds(n);
    case 'u':
      return std::chrono::microseconds(n);
    case 'n':
      return Nanos(n);
    default:
      return std::nullopt;
  }
}

std::string formatTimeout(Nanos timeout) {
  constexpr std::int64_t kMost = 99'999'999;
  const std::int64_t micros = std::max<std::int64_t>(1, (timeout.count() + 999) / 1000);
  if (micros <= kMost) return std::to_string(micros) + "u";
  const std::int64_t millis = (micros + 999) / 1000;
  if (millis <= kMost) return std::to_string(millis) + "m";
  return std::to_string(std::min(kMost, (millis + 999) / 1000)) + "S";
}

namespace {

constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void putVarint(std::string& out, std::uint64_t n) {
  for (; n >= 0x80; n >>= 7) out.push_back(static_cast<char>(n | 0x80));
  out.push_back(static_cast<char>(n));
}

void putBytes(std::string& out, int field, std::string_view bytes) {
  putVarint(out, static_cast<std::uint64_t>(field) << 3 | 2);
  putVarint(out, bytes.size());
  out.append(bytes);
}

// Walks the fields of a protobuf message.
class FieldReader {
 public:
  explicit FieldReader(std::string_view bytes) : rest_(bytes) {}
  // The next field, or false at the end or at bytes that are none.
  bool next() {
    if (rest_.empty()) return false;
    const auto tag = varint();
    if (!tag) return false;
    number = static_cast<int>(*tag >> 3);
    type = static_cast<int>(*tag & 7);
    if (type == 0) return varint().has_value();
    std::size_t length = type == 5 ? 4 : 8;
    if (type == 2) {
      const auto n = varint();
      if (!n) return false;
      length = *n;
    } else if (type != 1 && type != 5) {
      return false;
    }
    if (length > rest_.size()) return false;
    bytes = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return true;
  }
  int number = 0;
  int type = 0;
  std::string_view bytes;

 private:
  std::optional<std::uint64_t> varint() {
    std::uint64_t n = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      n |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return n;
    }
    return std::nullopt;
  }
  std::string_view rest_;
};

constexpr std::string_view kRetryType = "/modal.client.RPCRetryPolicy";

}  // namespace

std::string base64(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k) out.push_back(k <= n ? kBase64[group >> (18 - 6 * k) & 63] : '=');
  }
  return out;
}

std::optional<std::string> fromBase64(std::string_view text) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string out;
  std::uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    const char* at = c == 0 ? nullptr : std::strchr(kBase64, c);
    if (at == nullptr) return std::nullopt;
    group = group << 6 | static_cast<std::uint32_t>(at - kBase64);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out.push_back(static_cast<char>(group >> bits & 0xff));
    }
  }
  return out;
}

std::string retryDetails(const GrpcStatus& status) {
  const auto seconds = static_cast<float>(std::chrono::duration<double>(*status.retryAfter).count());
  const auto bits = std::bit_cast<std::uint32_t>(seconds);
  std::string policy;  // RPCRetryPolicy { float retry_after_secs = 1; }
  policy.push_back(1 << 3 | 5);
  for (const int shift : {0, 8, 16, 24}) policy.push_back(static_cast<char>(bits >> shift & 0xff));
  std::string any;  // google.protobuf.Any { string type_url = 1; bytes value = 2; }
  putBytes(any, 1, "type.googleapis.com" + std::string(kRetryType));
  putBytes(any, 2, policy);
  std::string out;  // google.rpc.Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  out.push_back(1 << 3);
  putVarint(out, static_cast<std::uint64_t>(status.code));
  putBytes(out, 2, status.message);
  putBytes(out, 3, any);
  return out;
}

std::optional<Nanos> retryAfterOf(std::string_view statusBytes) {
  FieldReader status(statusBytes);
  while (status.next()) {
    if (status.number != 3 || status.type != 2) continue;
    FieldReader any(status.bytes);
    bool ours = false;
    std::string_view value;
    while (any.next()) {
      if (any.number == 1 && any.type == 2) ours = any.bytes.ends_with(kRetryType);
      if (any.number == 2 && any.type == 2) value = any.bytes;
    }
    FieldReader policy(value);
    while (ours && policy.next()) {
      if (policy.number != 1 || policy.type != 5) continue;
      std::uint32_t bits = 0;
      for (int i = 3; i >= 0; --i)
        bits = bits << 8 | static_cast<unsigned char>(policy.bytes[static_cast<std::size_t>(i)]);
      const auto seconds = static_cast<double>(std::bit_cast<float>(bits));
      if (!(seconds >= 0 && seconds < 1e9)) return std::nullopt;
      return std::chrono::duration_cast<Nanos>(std::chrono::duration<double>(seconds));
    }
  }
  return std::nullopt;
}

Headers statusTrailers(const GrpcStatus& status) {
  Headers out;
  out.add("grpc-status", std::to_string(static_cast<int>(status.code)));
  if (!status.message.empty()) out.add("grpc-message", percentEncode(status.message));
  if (status.retryAfter) out.add("grpc-status-details-bin", base64(retryDetails(status)));
  for (const auto& warning : status.warnings) out.add("x-modal-warning", percentEncode(warning));
  return out;
}

GrpcStatus statusOf(const Headers& trailers) {
  GrpcStatus status;
  status.code = Code::unknown;
  const auto code = trailers.find("grpc-status");
  int number = -1;
  if (code) std::from_chars(code->data(), code->data() + code->size(), number);
  if (number >= 0 && number <= 16) status.code = static_cast<Code>(number);
  if (const auto message = trailers.find("grpc-message")) status.message = percentDecode(*message);
  if (!code) status.message = "the answer ended without a grpc-status";
  if (const auto details = trailers.find("grpc-status-details-bin")) {
    if (const auto bytes = fromBase64(*details)) status.retryAfter = retryAfterOf(*bytes);
  }
  for (const auto& [name, value] : trailers.fields()) {
    if (name == "x-modal-warning") status.warnings.push_back(percentDecode(value));
  }
  return status;
}

}  // namespace gridiron::net
