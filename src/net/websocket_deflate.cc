#include "net/websocket_deflate.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/check.h"
#include "net/http_text.h"

namespace gridiron::net {
namespace {

constexpr int kBits = 12;                             // of the windows that are ours to choose: 4 KiB
constexpr int kMemory = 5;                            // zlib's memLevel: 16 KiB of hash table
constexpr int kLevel = 1;                             // control is one thread: what it computes, others wait for
constexpr std::size_t kLeast = 64;                    // a smaller message is not worth it
constexpr std::size_t kLargest = 1024 * 1024;         // a larger one takes too long
constexpr std::string_view kTail("\0\0\xff\xff", 4);  // of an empty stored block, not sent

std::string_view upTo(std::string_view& rest, char mark) {
  const auto at = rest.find(mark);
  const std::string_view one = trimSpace(rest.substr(0, at));
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 1);
  return one;
}

std::optional<int> bitsOf(std::string_view value) {
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
  int bits = 0;
  const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), bits);
  if (ec != std::errc() || end != value.data() + value.size() || value.front() == '0' || bits < 8 || bits > 15)
    return std::nullopt;
  return bits;
}

// Nothing: not the extension, or with a parameter that is unknown, given twice or out of its range.
std::optional<DeflateTerms> readOffer(std::string_view offer) {
  if (upTo(offer, ';') != "permessage-deflate") return std::nullopt;
  DeflateTerms terms;
  terms.serverBits = kBits;
  enum Parameter { serverForgets, clientForgets, serverBits, clientBits };
  std::array<bool, 4> seen{};
  while (!offer.empty()) {
    std::string_view parameter = upTo(offer, ';');
    const bool valued = parameter.find('=') != std::string_view::npos;
    const std::string_view name = upTo(parameter, '=');
    const std::string_view value = trimSpace(parameter);
    Parameter which = serverForgets;
    std::optional<int> bits = 15;
    if (name == "server_no_context_takeover" && !valued) {
      terms.serverForgets = true;
    } else if (name == "client_no_context_takeover" && !valued) {
      which = clientForgets;
      terms.clientForgets = true;
    } else if (name == "server_max_window_bits" && valued) {
      which = serverBits;
      bits = bitsOf(value);
      if (bits == 8) return std::nullopt;  // zlib has no such window
      terms.serverBits = std::min(kBits, bits.value_or(0));
    } else if (name == "client_max_window_bits") {
      which = clientBits;
      if (valued) bits = bitsOf(value);
      terms.clientBits = std::min(kBits, std::max(9, bits.value_or(0)));
    } else {
      return std::nullopt;
    }
    if (!bits || std::exchange(seen[which], true)) return std::nullopt;
  }
  return terms;
}

Bytef* bytesOf(std::string_view text) { return reinterpret_cast<Bytef*>(const_cast<char*>(text.data())); }

}  // namespace

std::optional<DeflateTerms> acceptDeflate(std::string_view offers) {
  while (!offers.empty()) {
    if (auto terms = readOffer(upTo(offers, ','))) return terms;
  }
  return std::nullopt;
}

std::string deflateAnswer(const DeflateTerms& terms) {
  std::string out = fmt::format("permessage-deflate; server_max_window_bits={}", terms.serverBits);
  if (terms.clientBits < 15) out += fmt::format("; client_max_window_bits={}", terms.clientBits);
  if (terms.serverForgets) out += "; server_no_context_takeover";
  if (terms.clientForgets) out += "; client_no_context_takeover";
  return out;
}

struct Deflater::Stream {
  explicit Stream(int bits) {
    GRID_CHECK(deflateInit2(&z, kLevel, Z_DEFLATED, -bits, kMemory, Z_DEFAULT_STRATEGY) == Z_OK);
  }
  ~Stream() { deflateEnd(&z); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  z_stream z{};
};

Deflater::Deflater(const DeflateTerms& terms) : terms_(terms) {}
Deflater::~Deflater() = default;

std::optional<std::string> Deflater::deflate(std::string_view message) {
  if (message.size() < kLeast || message.size() > kLargest) return std::nullopt;
  if (!stream_) stream_ = std::make_unique<Stream>(terms_.serverBits);
  z_stream& z = stream_->z;
  std::string out(message.size() / 2 + 64, '\0');
  z.next_in = bytesOf(message);
  z.avail_in = static_cast<uInt>(message.size());
  std::size_t done = 0;
  do {
    if (done == out.size()) out.resize(2 * out.size());
    z.next_out = bytesOf(out) + done;
    z.avail_out = static_cast<uInt>(out.size() - done);
    (void)::deflate(&z, Z_SYNC_FLUSH);
    done = out.size() - z.avail_out;
  } while (z.avail_out == 0);
  out.resize(done);
  GRID_CHECK(z.avail_in == 0 && out.ends_with(kTail));
  out.resize(out.size() - kTail.size());
  if (terms_.serverForgets) deflateReset(&z);
  return out;
}

struct Inflater::Stream {
  explicit Stream(int bits) { GRID_CHECK(inflateInit2(&z, -bits) == Z_OK); }
  ~Stream() { inflateEnd(&z); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  z_stream z{};
};

Inflater::Inflater(const DeflateTerms& terms) : terms_(terms) {}
Inflater::~Inflater() = default;

Inflater::End Inflater::inflate(std::string_view payload, std::size_t most, std::string& out) {
  if (!stream_) stream_ = std::make_unique<Stream>(terms_.clientBits);
  z_stream& z = stream_->z;
  const std::size_t begun = out.size();
  for (const std::string_view part : {payload, kTail}) {
    z.next_in = bytesOf(part);
    z.avail_in = static_cast<uInt>(part.size());
    for (;;) {
      const std::size_t had = out.size();
      const std::size_t left = most - (had - begun);
      out.resize(had + std::min(left + 1, std::max<std::size_t>(4096, had - begun)));
      z.next_out = bytesOf(out) + had;
      z.avail_out = static_cast<uInt>(out.size() - had);
      const int state = ::inflate(&z, Z_SYNC_FLUSH);
      const bool full = z.avail_out == 0;
      out.resize(out.size() - z.avail_out);
      if (out.size() - begun > most) return End::tooLarge;
      if (state == Z_STREAM_END) {  // a last block within a message: what follows is a stream of its own
        if (inflateReset(&z) != Z_OK) return End::broken;
      } else if (state != Z_OK && state != Z_BUF_ERROR) {
        return End::broken;
      }
      if (z.avail_in == 0 && !full) break;
      if (state == Z_BUF_ERROR && !full) return End::broken;
    }
  }
  if (terms_.clientForgets) inflateReset(&z);
  return End::whole;
}

}  // namespace gridiron::net
