#include "wire/pickle.h"

#include <array>

#include "base/check.h"

namespace gridiron::wire {
namespace {

// Length of the well-formed UTF-8 sequence at the front of `s`, 0 when there is none (Unicode, table 3-7).
std::size_t sequenceLength(std::string_view s) {
  auto at = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  auto in = [&](std::size_t i, unsigned low, unsigned high) { return at(i) >= low && at(i) <= high; };
  unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return in(1, 0x80, 0xBF) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    unsigned low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
    return in(1, low, high) && in(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    unsigned low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
    return in(1, low, high) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string toValidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool replaced = false;
  while (!text.empty()) {
    std::size_t n = sequenceLength(text);
    if (n > 0) out.append(text.substr(0, n));
    if (n == 0 && !replaced) out.append("\xEF\xBF\xBD");
    replaced = n == 0;
    text.remove_prefix(n == 0 ? 1 : n);
  }
  return out;
}

PickleWriter::PickleWriter() : out_("\x80\x03") {}

void PickleWriter::none() { out_.push_back('N'); }
void PickleWriter::boolean(bool value) { out_.append(value ? "\x88" : "\x89"); }

void PickleWriter::integer(std::int64_t value) {
  if (value >= INT32_MIN && value <= INT32_MAX) {
    out_.push_back('J');
    length(static_cast<std::uint32_t>(static_cast<std::int32_t>(value)));
    return;
  }
  out_.append("\x8a\x08");  // LONG1 of eight bytes, little-endian two's complement
  for (int i = 0; i < 8; ++i) out_.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i)));
}

void PickleWriter::text(std::string_view utf8) {
  std::string clean = toValidUtf8(utf8);
  out_.push_back('X');
  length(clean.size());
  out_.append(clean);
}

void PickleWriter::bytes(std::string_view data) {
  out_.push_back('B');
  length(data.size());
  out_.append(data);
}

void PickleWriter::dict() { out_.push_back('}'); }
void PickleWriter::setItem() { out_.push_back('s'); }
void PickleWriter::list() { out_.push_back(']'); }
void PickleWriter::append() { out_.push_back('a'); }
void PickleWriter::tuple1() { out_.push_back('\x85'); }
void PickleWriter::tuple2() { out_.push_back('\x86'); }

std::string PickleWriter::finish() && {
  out_.push_back('.');
  return std::move(out_);
}

void PickleWriter::length(std::size_t n) {
  GRID_CHECK(n <= UINT32_MAX);
  for (int i = 0; i < 4; ++i) out_.push_back(static_cast<char>(n >> (8 * i)));
}

}  // namespace gridiron::wire
