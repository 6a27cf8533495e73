#include "main/table.h"

#include <fmt/format.h>

#include <algorithm>

namespace gridiron {
namespace {

// Characters, not bytes: continuation bytes of UTF-8 take no room.
std::size_t widthOf(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool isNumeric(const std::vector<std::vector<std::string>>& rows, std::size_t column) {
  return !rows.empty() && std::all_of(rows.begin(), rows.end(), [column](const auto& row) {
    const std::string& cell = row[column];
    return !cell.empty() && cell.find_first_not_of("0123456789.") == std::string::npos;
  });
}

}  // namespace

std::string formatTable(const std::vector<std::string>& titles, const std::vector<std::vector<std::string>>& rows) {
  std::string text;
  std::vector<std::size_t> widths;
  std::vector<bool> right;
  for (std::size_t c = 0; c < titles.size(); ++c) {
    std::size_t width = widthOf(titles[c]);
    for (const auto& row : rows) width = std::max(width, widthOf(row[c]));
    widths.push_back(width);
    right.push_back(isNumeric(rows, c));
  }
  auto line = [&](const std::vector<std::string>& cells) {
    std::string made;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      std::string gap(widths[c] - widthOf(cells[c]), ' ');
      made += (c ? "  " : "") + (right[c] ? gap + cells[c] : cells[c] + gap);
    }
    made.erase(made.find_last_not_of(' ') + 1);
    text += made + "\n";
  };
  line(titles);
  for (const auto& row : rows) line(row);
  return text;
}

std::string formatSeconds(double seconds) {
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 120) return fmt::format("{:.1f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.1f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

std::string formatAge(double since, double now) {
  if (since <= 0) return "";
  double passed = std::max(0.0, now - since);
  if (passed < 90) return fmt::format("{:.0f} s", passed);
  if (passed < 5400) return fmt::format("{:.0f} min", passed / 60);
  if (passed < 172800) return fmt::format("{:.0f} h", passed / 3600);
  return fmt::format("{:.0f} d", passed / 86400);
}

}  // namespace gridiron
