#include "main/config.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>

#include "base/fd.h"
#include "main/config_keys.h"

namespace gridiron {
namespace {

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t kept = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, kept});
    }
  }
  return row.back();
}

// What to say behind an unknown key: the nearest one as `shown`, or all of them when none is near.
std::string nearest(const std::string& unknown, const std::function<std::string(const std::string&)>& shown) {
  std::string best, all;
  std::size_t bestDistance = std::max<std::size_t>(2, unknown.size() / 3) + 1;
  for (const auto& key : settingKeys()) {
    all += (all.empty() ? "" : ", ") + shown(key.about.name);
    if (auto d = distance(unknown, key.about.name); d < bestDistance) {
      bestDistance = d;
      best = shown(key.about.name);
    }
  }
  return best.empty() ? "; known are " + all : "; did you mean " + best + "?";
}

struct Given {
  std::string value, origin;
};
using GivenValues = std::map<std::string, Given>;

std::optional<std::string> textOf(const toml::node& node) {
  if (auto text = node.as_string()) return text->get();
  if (auto flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (auto number = node.as_integer()) return std::to_string(number->get());
  if (auto number = node.as_floating_point()) return fmt::format("{}", number->get());
  const toml::array* list = node.as_array();
  if (!list) return std::nullopt;
  std::string joined;
  for (const auto& item : *list) {
    if (!item.is_string()) return std::nullopt;
    joined += (joined.empty() ? "" : ",") + item.as_string()->get();
  }
  return joined;
}

Result<GivenValues> readFileValues(const std::string& file) {
  ASSIGN_OR_RETURN(auto text, readFile(file));
  toml::parse_result parsed = toml::parse(text, file);
  if (!parsed)
    return makeError(Code::invalidArgument, "{}:{}: {}", file, parsed.error().source().begin.line,
                     parsed.error().description());
  GivenValues values;
  for (const auto& [key, node] : parsed.table()) {
    std::string name(key.str());
    std::string origin = fmt::format("{}:{}", file, key.source().begin.line);
    auto known = [&](const SettingKey& k) { return k.about.name == name; };
    if (std::none_of(settingKeys().begin(), settingKeys().end(), known))
      return makeError(Code::invalidArgument, "{}: no such setting: {}{}", origin, name,
                       nearest(name, [](const std::string& n) { return n; }));
    auto value = textOf(node);
    if (!value)
      return makeError(Code::invalidArgument, "{}: {} must be a string, a number, a boolean or a list of strings",
                       origin, name);
    values[name] = Given{*value, origin};
  }
  return values;
}

Result<GivenValues> fileValues(const ConfigSources& sources) {
  std::string file = sources.file.empty() ? variable(sources, "GRIDIRON_CONFIG") : sources.file;
  if (!file.empty()) return readFileValues(file);
  file = usualFile(sources);
  std::error_code ignored;
  return std::filesystem::exists(file, ignored) ? readFileValues(file) : Result<GivenValues>(GivenValues{});
}

std::vector<std::string> strangeVariables(const ConfigSources& sources) {
  std::vector<std::string> warnings;
  for (const auto& [name, value] : sources.environment) {
    if (!name.starts_with("GRIDIRON_") || name == "GRIDIRON_CONFIG") continue;
    auto known = [&](const SettingKey& k) { return variableOf(k.about.name) == name; };
    if (std::any_of(settingKeys().begin(), settingKeys().end(), known)) continue;
    std::string key = name.substr(std::string_view("GRIDIRON_").size());
    std::transform(key.begin(), key.end(), key.begin(), [](unsigned char c) { return std::tolower(c); });
    warnings.push_back("the environment's " + name + " sets nothing" + nearest(key, variableOf));
  }
  return warnings;
}

Result<void> checkTogether(const Settings& s) {
  if (s.tlsCertificate.empty() != s.tlsKey.empty())
    return Error{Code::invalidArgument, "tls_certificate and tls_key go together: one of them is not set"};
  if (s.acmeDirectory.empty() != s.acmeNames.empty())
    return Error{Code::invalidArgument, "acme_directory and acme_names go together: one of them is not set"};
  if (s.tlsCertificate.empty() && !s.moreCertificates.empty())
    return Error{Code::invalidArgument, "more_certificates are beside tls_certificate and tls_key, which are not set"};
  if (s.stopGrace > std::chrono::seconds(8))
    return Error{Code::invalidArgument, "stop_grace may be at most 8s: the grid ends within 10 s of SIGTERM"};
  return {};
}

}  // namespace

const std::vector<ConfigKey>& configKeys() {
  static const std::vector<ConfigKey> all = [] {
    std::vector<ConfigKey> list;
    for (const auto& key : settingKeys()) list.push_back(key.about);
    return list;
  }();
  return all;
}

std::string flagOf(const std::string& key) {
  std::string flag = "--" + key;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string variableOf(const std::string& key) {
  std::string name = "GRIDIRON_" + key;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  return name;
}

Result<Configuration> readConfiguration(const ConfigSources& sources) {
  ASSIGN_OR_RETURN(auto inFile, fileValues(sources));
  Configuration made;
  for (const auto& key : settingKeys()) {
    const std::string& name = key.about.name;
    Given given{key.fallback(sources), "default"};
    if (auto found = inFile.find(name); found != inFile.end()) given = found->second;
    if (auto found = sources.environment.find(variableOf(name)); found != sources.environment.end())
      given = Given{found->second, variableOf(name)};
    if (auto found = sources.flags.find(name); found != sources.flags.end()) given = Given{found->second, flagOf(name)};
    if (auto applied = key.apply(made.settings, given.value); !applied.ok())
      return applied.error().within(given.origin + ": " + name);
    made.values.push_back({name, given.value, given.origin});
  }
  RETURN_IF_ERROR(checkTogether(made.settings));
  made.warnings = strangeVariables(sources);
  return made;
}

std::map<std::string, std::string> processEnvironment() {
  std::map<std::string, std::string> all;
  for (char** entry = environ; *entry; ++entry) {
    std::string_view text = *entry;
    auto equals = text.find('=');
    if (equals != std::string_view::npos) all[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
  return all;
}

bool hasTls(const Settings& settings) { return !settings.tlsCertificate.empty() || !settings.acmeNames.empty(); }

std::string publicUrlOf(const Settings& settings) {
  if (!settings.publicUrl.empty()) return settings.publicUrl;
  std::string port = settings.listen.substr(settings.listen.rfind(':'));
  return (hasTls(settings) ? "https://" : "http://") + settings.domain + port;
}

}  // namespace gridiron
