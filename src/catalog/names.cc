#include "catalog/names.h"

#include <algorithm>
#include <cctype>
#include <numeric>

namespace gridiron {

namespace {

bool isNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

std::size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  std::vector<std::size_t> before;  // the row above the one above, for swapped neighbours
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::vector<std::size_t> next(b.size() + 1);
    next[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      next[j] = std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before = std::move(row);
    row = std::move(next);
  }
  return row.back();
}

}  // namespace

Result<void> checkObjectName(std::string_view what, std::string_view name) {
  const bool good = !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), isNameCharacter);
  if (good) return {};
  return makeError(Code::invalidArgument,
                   "{} name '{}' is not possible: 1 to 64 letters, digits, dashes, underscores and dots", what, name);
}

Result<void> checkEnvironmentName(std::string_view name) {
  RETURN_IF_ERROR(checkObjectName("Environment", name));
  if (std::isalnum(static_cast<unsigned char>(name.front())) != 0 && name.find('.') == std::string_view::npos &&
      !name.starts_with("en-"))
    return {};
  return makeError(Code::invalidArgument,
                   "Environment name '{}' is not possible: it begins with a letter or digit, has no dots, and is not "
                   "like an id (en-…)",
                   name);
}

std::string nearestName(std::string_view wanted, const std::vector<std::string>& names) {
  std::string best;
  std::size_t least = std::max<std::size_t>(1, wanted.size() / 3) + 1;
  for (const std::string& name : names) {
    if (name.size() > wanted.size() + least || wanted.size() > name.size() + least) continue;
    const std::size_t distance = editDistance(wanted, name);
    if (distance < least) {
      least = distance;
      best = name;
    }
  }
  return best;
}

Error notFoundIn(std::string_view what, std::string_view name, std::string_view environment,
                 const std::vector<std::string>& names) {
  std::string text = fmt::format("{} '{}' not found", what, name);
  if (!environment.empty()) text += fmt::format(" in environment '{}'", environment);
  const std::string nearest = nearestName(name, names);
  if (!nearest.empty()) text += fmt::format("; did you mean '{}'?", nearest);
  return Error{Code::notFound, text};
}

std::string dnsLabel(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    const bool plain = u < 128 && std::isalnum(u) != 0;
    if (plain) {
      out += static_cast<char>(std::tolower(u));
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

}  // namespace gridiron
