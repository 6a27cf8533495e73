#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace gridiron::edge {

// "%41+b" → "A b" (plus is a space). Nothing when a percent sign is not followed by two hex digits.
std::optional<std::string> decodeFormText(std::string_view text);

// "a=1&b=x%20y", as in queries and form bodies; a name given twice keeps its last value, broken pairs are left out.
std::map<std::string, std::string> parseForm(std::string_view text);

struct Target {
  std::string path;  // decoded; "" when it cannot be
  std::map<std::string, std::string> query;
};
Target parseTarget(std::string_view target);

// The value of a cookie of the header ("a=1; b=2"), if it is there.
std::optional<std::string> findCookie(std::string_view header, std::string_view name);

std::string escapeHtml(std::string_view text);

// The template with each {{name}} replaced by its escaped value; a name without a value becomes nothing.
std::string fillTemplate(std::string_view text, const std::map<std::string, std::string>& values);

}  // namespace gridiron::edge
