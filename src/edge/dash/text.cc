#include "edge/dash/text.h"

namespace gridiron::edge {
namespace {

int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

std::optional<std::string> decodeFormText(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    int high = hexDigit(text[i + 1]), low = hexDigit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::map<std::string, std::string> parseForm(std::string_view text) {
  std::map<std::string, std::string> fields;
  while (!text.empty()) {
    auto end = text.find('&');
    std::string_view pair = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    auto equals = pair.find('=');
    auto name = decodeFormText(pair.substr(0, equals));
    auto value = equals == std::string_view::npos ? std::string{} : decodeFormText(pair.substr(equals + 1));
    if (name && value && !name->empty()) fields[*name] = *value;
  }
  return fields;
}

Target parseTarget(std::string_view target) {
  auto mark = target.find('?');
  Target parsed;
  // In a path a plus is a plus.
  std::string path;
  for (char c : target.substr(0, mark)) path += c == '+' ? "%2B" : std::string(1, c);
  parsed.path = decodeFormText(path).value_or("");
  if (mark != std::string_view::npos) parsed.query = parseForm(target.substr(mark + 1));
  return parsed;
}

std::optional<std::string> findCookie(std::string_view header, std::string_view name) {
  while (!header.empty()) {
    auto end = header.find(';');
    std::string_view pair = trimmed(header.substr(0, end));
    header = end == std::string_view::npos ? std::string_view{} : header.substr(end + 1);
    auto equals = pair.find('=');
    if (equals != std::string_view::npos && pair.substr(0, equals) == name) return std::string(pair.substr(equals + 1));
  }
  return std::nullopt;
}

std::string escapeHtml(std::string_view text) {
  std::string escaped;
  for (char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string fillTemplate(std::string_view text, const std::map<std::string, std::string>& values) {
  std::string filled;
  while (!text.empty()) {
    auto open = text.find("{{");
    auto close = open == std::string_view::npos ? open : text.find("}}", open);
    if (close == std::string_view::npos) break;
    filled += text.substr(0, open);
    auto value = values.find(std::string(text.substr(open + 2, close - open - 2)));
    if (value != values.end()) filled += escapeHtml(value->second);
    text.remove_prefix(close + 2);
  }
  return filled.append(text);
}

}  // namespace gridiron::edge
