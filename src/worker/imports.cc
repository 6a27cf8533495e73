#include "worker/imports.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>

namespace gridiron::worker {
namespace {

constexpr std::string_view kEnter = "@enter";
constexpr std::size_t kLongestName = 100;

struct Line {
  std::string_view name;
  std::int64_t number = 0;
  bool own = false;
};

// Nothing: a name alone, or no line of ours.
bool readLine(std::string_view text, Line& line) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos || space == 0 || space > kLongestName) return false;
  line.name = text.substr(0, space);
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data() + space + 1, end, line.number);
  const std::string_view rest(read.ptr, static_cast<std::size_t>(end - read.ptr));
  line.own = rest == " own";
  return read.ec == std::errc() && line.number >= 0 && (rest.empty() || line.own);
}

bool isModule(std::string_view name) {
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-'; });
}

}  // namespace

bool Imports::add(std::string_view bytes) {
  text_.append(bytes.substr(0, kMost - text_.size()));
  return text_.size() < kMost;
}

std::vector<sandbox::Phase> Imports::parts(Nanos now) const {
  std::map<std::string, Nanos> took;
  Nanos enterAt{0};
  std::string_view left = std::string_view(text_).substr(from_);
  for (std::size_t end; (end = left.find('\n')) != std::string_view::npos; left.remove_prefix(end + 1)) {
    Line line;
    if (!readLine(left.substr(0, end), line)) continue;
    if (line.name == kEnter) enterAt = Nanos(line.number);
    if (!isModule(line.name)) continue;
    const std::string top(line.name.substr(0, line.name.find('.')));
    const auto most = std::chrono::duration_cast<std::chrono::microseconds>(Nanos::max()).count();
    if (line.number < most / 2)
      took[(line.own ? "own import " : "import ") + top] += std::chrono::microseconds(line.number);
  }
  std::vector<sandbox::Phase> out;
  for (const auto& [name, each] : took) out.push_back({name, each, {}});
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.took > b.took; });
  if (out.size() > kMostParts) out.resize(kMostParts);
  if (enterAt > Nanos{0} && enterAt <= now) out.push_back({"enter", now - enterAt, {}});
  return out;
}

}  // namespace gridiron::worker
