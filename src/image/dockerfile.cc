#include "image/dockerfile.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>

namespace gridiron::image {

namespace {

using Kind = Instruction::Kind;

const std::map<std::string, Kind> kKeywords = {{"FROM", Kind::from},
                                               {"RUN", Kind::run},
                                               {"COPY", Kind::copy},
                                               {"ADD", Kind::add},
                                               {"ENV", Kind::env},
                                               {"ARG", Kind::arg},
                                               {"WORKDIR", Kind::workdir},
                                               {"CMD", Kind::cmd},
                                               {"ENTRYPOINT", Kind::entrypoint},
                                               {"SHELL", Kind::shell},
                                               {"USER", Kind::user},
                                               {"LABEL", Kind::ignored},
                                               {"EXPOSE", Kind::ignored},
                                               {"VOLUME", Kind::ignored},
                                               {"STOPSIGNAL", Kind::ignored},
                                               {"HEALTHCHECK", Kind::ignored},
                                               {"MAINTAINER", Kind::ignored}};

bool isSpace(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool isNameStart(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool isNameChar(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

std::string_view trimLeft(std::string_view s) {
  while (!s.empty() && isSpace(s.front())) s.remove_prefix(1);
  return s;
}
std::string_view trim(std::string_view s) {
  s = trimLeft(s);
  while (!s.empty() && isSpace(s.back())) s.remove_suffix(1);
  return s;
}

std::string upper(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

Error at(const Instruction& instruction, const std::string& problem) {
  return makeError(Code::invalidArgument, "Dockerfile line {}: '{}': {}", instruction.line, instruction.text, problem);
}

struct LogicalLine {
  int number = 0;
  std::string text;
};

// "# escape=`" at the top chooses the continuation character.
char escapeOf(std::string_view text) {
  while (text.starts_with('#')) {
    const auto end = text.find('\n');
    const std::string line = upper(trim(text.substr(1, end == std::string_view::npos ? end : end - 1)));
    const auto equals = line.find('=');
    if (equals == std::string::npos) break;
    if (trim(std::string_view(line).substr(0, equals)) == "ESCAPE" && line.back() == '`') return '`';
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return '\\';
}

std::vector<LogicalLine> logicalLines(std::string_view text) {
  const char escape = escapeOf(text);
  std::vector<LogicalLine> lines;
  LogicalLine open;
  bool continues = false;
  int number = 0;
  while (!text.empty()) {
    ++number;
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::string_view bare = trim(line);
    if (bare.empty() || bare.front() == '#') continue;  // inside a continuation too
    if (!continues) open = {number, ""};
    continues = bare.back() == escape;
    // What a continued line begins with is kept: it may be inside quotes.
    if (continues) {
      open.text += line.substr(0, line.rfind(escape));
    } else {
      open.text += line;
      lines.push_back(std::move(open));
    }
  }
  if (continues) lines.push_back(std::move(open));
  return lines;
}

void takeFlags(Instruction& instruction, std::string_view& rest) {
  while (rest.starts_with("--")) {
    const auto end = std::find_if(rest.begin(), rest.end(), isSpace);
    const std::string_view flag = rest.substr(2, static_cast<std::size_t>(end - rest.begin()) - 2);
    const auto equals = flag.find('=');
    instruction.flags.emplace_back(flag.substr(0, equals),
                                   equals == std::string_view::npos ? "" : std::string(flag.substr(equals + 1)));
    rest = trimLeft(rest.substr(static_cast<std::size_t>(end - rest.begin())));
  }
}

std::optional<std::vector<std::string>> jsonWords(std::string_view rest) {
  if (!rest.starts_with('[')) return std::nullopt;
  const auto parsed = nlohmann::json::parse(rest, nullptr, false);
  if (!parsed.is_array()) return std::nullopt;
  std::vector<std::string> words;
  for (const auto& word : parsed) {
    if (!word.is_string()) return std::nullopt;
    words.push_back(word.get<std::string>());
  }
  return words;
}

// Splits at blanks that are not quoted; quotes stay.
std::vector<std::string> rawWords(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      word += c;
      word += text[++i];
    } else if (quote == 0 && isSpace(c)) {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
    } else {
      if (quote != 0 && c == quote) {
        quote = 0;
      } else if (quote == 0 && (c == '"' || c == '\'')) {
        quote = c;
      }
      word += c;
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

bool opensHeredoc(std::string_view rest) {
  const auto found = rest.find("<<");
  if (found == std::string_view::npos) return false;
  std::string_view after = rest.substr(found + 2);
  if (after.starts_with('-')) after.remove_prefix(1);
  return !after.empty() && (isNameStart(after.front()) || after.front() == '"' || after.front() == '\'') &&
         (found == 0 || isSpace(rest[found - 1]));
}

Result<void> checkFlags(const Instruction& instruction) {
  const auto allowed = [&](std::string_view name) {
    switch (instruction.kind) {
      case Kind::from:
        return name == "platform";
      case Kind::copy:
      case Kind::add:
        return name == "from" || name == "chown" || name == "chmod" || name == "link";
      case Kind::run:
        return name == "mount" || name == "network" || name == "security";
      default:
        return instruction.kind == Kind::ignored;
    }
  };
  for (const auto& [name, value] : instruction.flags) {
    if (!allowed(name)) return at(instruction, "--" + name + " is not supported here");
    if (name == "mount" && value.find("type=cache") == std::string::npos) {
      return at(instruction, "of RUN --mount only type=cache is supported (COPY what the step needs, or use a Secret)");
    }
  }
  return {};
}

Result<void> readWords(Instruction& instruction) {
  if (instruction.kind == Kind::run && opensHeredoc(instruction.rest) && instruction.flags.empty() &&
      instruction.rest.starts_with("<<")) {
    return at(instruction, "here-documents are not supported: put the script in a file and COPY it");
  }
  if (auto words = jsonWords(instruction.rest)) {
    instruction.exec = true;
    instruction.words = std::move(*words);
  }
  switch (instruction.kind) {
    case Kind::shell:
      if (!instruction.exec || instruction.words.empty()) return at(instruction, "SHELL takes a JSON array of strings");
      return {};
    case Kind::copy:
    case Kind::add:
      if (!instruction.exec) instruction.words = rawWords(instruction.rest);
      if (instruction.words.size() < 2) return at(instruction, "it takes at least one source and a destination");
      if (instruction.words.front().starts_with("<<")) return at(instruction, "here-documents are not supported");
      return {};
    case Kind::from:
      instruction.words = rawWords(instruction.rest);
      if (instruction.words.size() == 3 && upper(instruction.words[1]) == "AS") return {};
      if (instruction.words.size() == 1) return {};
      return at(instruction, "it takes an image, or an image AS a name");
    default:
      return {};
  }
}

Result<Instruction> readInstruction(const LogicalLine& line) {
  Instruction instruction;
  instruction.line = line.number;
  std::string_view rest = trim(line.text);
  instruction.text = std::string(rest);
  const auto end = std::find_if(rest.begin(), rest.end(), isSpace);
  const std::string keyword = upper(rest.substr(0, static_cast<std::size_t>(end - rest.begin())));
  rest = trimLeft(rest.substr(static_cast<std::size_t>(end - rest.begin())));
  const auto known = kKeywords.find(keyword);
  if (known == kKeywords.end()) {
    return at(instruction, keyword == "ONBUILD" ? "ONBUILD is not supported" : "unknown instruction " + keyword);
  }
  instruction.kind = known->second;
  if (rest.empty()) return at(instruction, keyword + " needs an argument");
  takeFlags(instruction, rest);
  instruction.rest = std::string(rest);
  RETURN_IF_ERROR(checkFlags(instruction));
  RETURN_IF_ERROR(readWords(instruction));
  return instruction;
}

// Reads what follows a '$' at text[i]; leaves i behind it.
Result<std::string> expandVariable(std::string_view text, std::size_t& i, const Variables& variables) {
  const auto valueOf = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  std::string name;
  if (text[i] != '{') {
    while (i < text.size() && isNameChar(text[i])) name += text[i++];
    return valueOf(name).value_or("");
  }
  ++i;
  while (i < text.size() && isNameChar(text[i])) name += text[i++];
  std::string argument;
  int depth = 1;
  for (; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) break;
    argument += text[i];
  }
  if (i >= text.size() || name.empty()) {
    return makeError(Code::invalidArgument, "'{}' has an unfinished or unnamed ${{…}}", text);
  }
  ++i;
  const auto value = valueOf(name);
  if (argument.empty()) return value.value_or("");
  const bool colon = argument.front() == ':';
  const char kind = argument.size() > (colon ? 1U : 0U) ? argument[colon ? 1 : 0] : '\0';
  const bool present = value.has_value() && (!colon || !value->empty());
  if (kind != '-' && kind != '+') {
    return makeError(Code::invalidArgument, "${{{}{}}} is not supported: use :- or :+", name, argument);
  }
  if (kind == '-' && present) return *value;
  if (kind == '+' && !present) return std::string();
  return expandWord(std::string_view(argument).substr(colon ? 2 : 1), variables);
}

}  // namespace

Result<std::string> expandWord(std::string_view word, const Variables& variables) {
  std::string out;
  char quote = 0;
  for (std::size_t i = 0; i < word.size();) {
    const char c = word[i];
    if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
      ++i;
    } else if (quote != 0 && c == quote) {
      quote = 0;
      ++i;
    } else if (c == '\\' && quote != '\'' && i + 1 < word.size()) {
      // In double quotes a backslash is itself unless it protects something.
      if (quote == '"' && word[i + 1] != '"' && word[i + 1] != '$' && word[i + 1] != '\\') out += c;
      out += word[i + 1];
      i += 2;
    } else if (c == '$' && quote != '\'' && i + 1 < word.size() && (word[i + 1] == '{' || isNameStart(word[i + 1]))) {
      ++i;
      ASSIGN_OR_RETURN(const std::string value, expandVariable(word, i, variables));
      out += value;
    } else {
      out += c;
      ++i;
    }
  }
  if (quote != 0) return makeError(Code::invalidArgument, "'{}' has an unfinished quote", word);
  return out;
}

Result<std::vector<Assignment>> parseAssignments(const Instruction& instruction, const Variables& variables) {
  const std::vector<std::string> words = rawWords(instruction.rest);
  const bool isArg = instruction.kind == Kind::arg;
  std::vector<Assignment> out;
  if (!isArg && !words.empty() && words.front().find('=') == std::string::npos) {
    const std::string_view value = trim(std::string_view(instruction.rest).substr(words.front().size()));
    if (value.empty()) return at(instruction, "it takes name=value");
    auto expanded = expandWord(value, variables);
    if (!expanded.ok()) return at(instruction, expanded.error().message);
    out.push_back({words.front(), *expanded, true});
    return out;
  }
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    if (equals == std::string::npos && isArg) {
      out.push_back({word, "", false});
      continue;
    }
    if (equals == std::string::npos || equals == 0) return at(instruction, "'" + word + "' is not name=value");
    auto name = expandWord(word.substr(0, equals), variables);
    // As in Docker, the names set by this instruction are not seen by its other values.
    auto value = expandWord(std::string_view(word).substr(equals + 1), variables);
    if (!name.ok()) return at(instruction, name.error().message);
    if (!value.ok()) return at(instruction, value.error().message);
    out.push_back({*name, *value, true});
  }
  return out;
}

Result<std::vector<Instruction>> parseDockerfile(std::string_view text) {
  std::vector<Instruction> instructions;
  for (const LogicalLine& line : logicalLines(text)) {
    ASSIGN_OR_RETURN(Instruction instruction, readInstruction(line));
    const bool begins = instruction.kind == Kind::from || instruction.kind == Kind::arg;
    const auto isFrom = [](const Instruction& earlier) { return earlier.kind == Kind::from; };
    if (!begins && std::none_of(instructions.begin(), instructions.end(), isFrom)) {
      return at(instruction, "no FROM before it");
    }
    instructions.push_back(std::move(instruction));
  }
  if (instructions.empty()) return makeError(Code::invalidArgument, "the Dockerfile has no instructions");
  return instructions;
}

}  // namespace gridiron::image
