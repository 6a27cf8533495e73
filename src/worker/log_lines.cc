#include "worker/log_lines.h"

#include <algorithm>
#include <cstdint>

namespace gridiron::worker {

namespace {

constexpr std::size_t kShortestMasked = 8;

// Bytes that a character starting with `lead` has; 0 when no character starts so.
std::size_t lengthFromLead(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

// May `second` follow `lead`? (No overlong forms, no surrogates, nothing above U+10FFFF.)
bool secondFits(unsigned char lead, unsigned char second) {
  if (lead == 0xe0) return second >= 0xa0 && second <= 0xbf;
  if (lead == 0xed) return second >= 0x80 && second <= 0x9f;
  if (lead == 0xf0) return second >= 0x90 && second <= 0xbf;
  if (lead == 0xf4) return second >= 0x80 && second <= 0x8f;
  return (second & 0xc0) == 0x80;
}

// How many bytes at the front of `text` belong to one valid character (`complete`), or to the beginning of one.
struct Front {
  std::size_t bytes = 0;
  bool complete = false;
};
Front front(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t wanted = lengthFromLead(lead);
  if (wanted == 0) return {1, false};
  for (std::size_t i = 1; i < wanted; ++i) {
    if (i == text.size()) return {i, false};
    const auto next = static_cast<unsigned char>(text[i]);
    if (i == 1 ? !secondFits(lead, next) : (next & 0xc0) != 0x80) return {i, false};
  }
  return {wanted, true};
}

// Bytes at the end of `text` that may become a character when more comes.
std::size_t unfinishedTail(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const std::string_view tail = text.substr(text.size() - back);
    const std::size_t wanted = lengthFromLead(static_cast<unsigned char>(tail[0]));
    if (wanted <= back) continue;
    const Front found = front(tail);
    return !found.complete && found.bytes == back ? back : 0;
  }
  return 0;
}

}  // namespace

std::string validUtf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const Front next = front(text);
    if (next.complete) {
      valid.append(text.substr(0, next.bytes));
    } else {
      valid.append("\xef\xbf\xbd");
    }
    text.remove_prefix(next.bytes);
  }
  return valid;
}

std::vector<std::string> LineSplitter::add(std::string_view bytes) {
  std::vector<std::string> lines;
  while (!bytes.empty()) {
    const std::size_t newline = bytes.find('\n');
    const std::size_t room = longest_ > pending_.size() ? longest_ - pending_.size() : 0;
    std::size_t taken = newline == std::string_view::npos ? bytes.size() : newline + 1;
    const bool tooLong = taken > room;
    if (tooLong) taken = room;
    pending_.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
    if (tooLong) {
      const std::string piece = takePartial();
      if (piece.empty()) {  // only the beginning of a character: it does not become one any more
        lines.push_back(finish());
      } else {
        lines.push_back(piece);
      }
    } else if (!pending_.empty() && pending_.back() == '\n') {
      lines.push_back(finish());
    }
  }
  return lines;
}

std::string LineSplitter::takePartial() {
  const std::size_t kept = std::max(unfinishedTail(pending_), held_ ? held_(pending_) : 0);
  const std::string rest = pending_.substr(pending_.size() - kept);
  pending_.resize(pending_.size() - kept);
  std::string text = validUtf8(pending_);
  pending_ = rest;
  return text;
}

std::string LineSplitter::finish() {
  std::string text = validUtf8(pending_);
  pending_.clear();
  return text;
}

Masker::Masker(const std::vector<std::string>& values) {
  const auto keep = [this](std::string_view value) {
    while (!value.empty() && (value.back() == '\n' || value.back() == '\r')) value.remove_suffix(1);
    if (value.size() >= kShortestMasked) values_.emplace_back(value);
  };
  for (const std::string& value : values) {
    keep(value);
    std::size_t start = 0;
    for (std::size_t end = value.find('\n'); end != std::string::npos; end = value.find('\n', start)) {
      keep(std::string_view(value).substr(start, end - start));
      start = end + 1;
    }
    if (start > 0) keep(std::string_view(value).substr(start));
  }
  std::sort(values_.begin(), values_.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
  values_.erase(std::unique(values_.begin(), values_.end()), values_.end());
}

void Masker::mask(std::string& text) const {
  for (const std::string& value : values_) {
    for (std::size_t at = text.find(value); at != std::string::npos; at = text.find(value, at + 3)) {
      text.replace(at, value.size(), "***");
    }
  }
}

std::size_t Masker::unfinished(std::string_view text) const {
  std::size_t cut = text.size();
  for (const std::string& value : values_) {
    const std::size_t longest = std::min(text.size(), value.size() - 1);
    for (std::size_t length = longest; length > text.size() - cut; --length) {
      if (text.ends_with(std::string_view(value).substr(0, length))) cut = text.size() - length;
    }
  }
  // Nor may the cut go through a value that is there as a whole.
  for (bool moved = true; moved;) {
    moved = false;
    for (const std::string& value : values_) {
      const std::size_t from = cut >= value.size() ? cut - value.size() + 1 : 0;
      const std::size_t at = text.find(value, from);
      moved = moved || at < cut;
      cut = std::min(cut, at);
    }
  }
  return text.size() - cut;
}

}  // namespace gridiron::worker
