#include "image/host_settings.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/digest.h"
#include "base/fd.h"
#include "base/subprocess.h"

namespace gridiron::image {

namespace fs = std::filesystem;

namespace {

// Taken over as they are: they name services, never files of the host.
constexpr std::array kPassed = {"http_proxy",
                                "https_proxy",
                                "no_proxy",
                                "all_proxy",
                                "HTTP_PROXY",
                                "HTTPS_PROXY",
                                "NO_PROXY",
                                "ALL_PROXY",
                                "PIP_INDEX_URL",
                                "PIP_EXTRA_INDEX_URL",
                                "PIP_TRUSTED_HOST",
                                "PIP_DEFAULT_TIMEOUT",
                                "PIP_RETRIES",
                                "UV_INDEX_URL",
                                "UV_DEFAULT_INDEX",
                                "UV_EXTRA_INDEX_URL",
                                "UV_INDEX",
                                "UV_INSECURE_HOST",
                                "UV_HTTP_TIMEOUT",
                                "NPM_CONFIG_REGISTRY",
                                "npm_config_registry",
                                "CONDA_CHANNEL_ALIAS"};
// Where a host says which CA bundle it trusts, the more telling first.
constexpr std::array kBundleNames = {"SSL_CERT_FILE",  "PIP_CERT",       "REQUESTS_CA_BUNDLE",
                                     "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"};
constexpr std::array kSystemBundles = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                       "/etc/ssl/cert.pem"};

std::string outputOf(std::vector<std::string> argv) {
  Command command;
  command.argv = std::move(argv);
  command.timeout = std::chrono::seconds(20);
  const auto finished = runCommand(command);
  return finished.ok() && finished->exitCode == 0 ? finished->output : "";
}

std::vector<std::string> linesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> wordsOf(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream stream(line);
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// "global.index-url='https://…'" → the value of one of pip's options.
std::string pipOption(const std::string& pipConfigList, const std::string& name) {
  for (const std::string& line : linesOf(pipConfigList)) {
    const auto equals = line.find('=');
    const auto dot = line.find('.');
    if (equals == std::string::npos || dot == std::string::npos || dot > equals) continue;
    if (line.substr(dot + 1, equals - dot - 1) != name) continue;
    std::string value = line.substr(equals + 1);
    if (value.size() >= 2 && (value.front() == '\'' || value.front() == '"')) value = value.substr(1, value.size() - 2);
    for (std::size_t at; (at = value.find("\\n")) != std::string::npos;) value.replace(at, 2, " ");
    while (value.starts_with(' ')) value.erase(0, 1);
    return value;
  }
  return "";
}

void addIndexes(const HostTexts& texts, HostSettings& settings) {
  const auto has = [&](const std::string& name) {
    return std::any_of(settings.environment.begin(), settings.environment.end(),
                       [&](const auto& entry) { return entry.first == name; });
  };
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty() && !has(name)) settings.environment.emplace_back(name, value);
  };
  const auto of = [&](const std::string& name) {
    for (const auto& [known, value] : settings.environment) {
      if (known == name) return value;
    }
    return std::string();
  };
  add("PIP_INDEX_URL", pipOption(texts.pipConfigList, "index-url"));
  add("PIP_EXTRA_INDEX_URL", pipOption(texts.pipConfigList, "extra-index-url"));
  add("PIP_TRUSTED_HOST", pipOption(texts.pipConfigList, "trusted-host"));
  add("PIP_DEFAULT_TIMEOUT", pipOption(texts.pipConfigList, "timeout"));
  if (!has("UV_DEFAULT_INDEX") && !has("UV_INDEX_URL")) add("UV_INDEX_URL", of("PIP_INDEX_URL"));
  if (!has("UV_INDEX")) add("UV_EXTRA_INDEX_URL", of("PIP_EXTRA_INDEX_URL"));
  for (const std::string& line : linesOf(texts.npmrc)) {
    if (line.starts_with("registry=") && !has("NPM_CONFIG_REGISTRY")) add("npm_config_registry", line.substr(9));
  }
  add("PIP_DISABLE_PIP_VERSION_CHECK", "1");
}

std::string bundleOf(const HostTexts& texts) {
  for (const char* name : kBundleNames) {
    const auto path = texts.environment(name);
    if (path && !path->empty() && ::access(path->c_str(), R_OK) == 0) return *path;
  }
  const std::string pip = pipOption(texts.pipConfigList, "cert");
  if (!pip.empty() && ::access(pip.c_str(), R_OK) == 0) return pip;
  return texts.systemBundle;
}

// A copy: the host may replace its file by rename while builds run.
Result<void> addBundle(const HostTexts& texts, const std::string& directory, HostSettings& settings) {
  const std::string bundle = bundleOf(texts);
  if (bundle.empty()) return {};
  ASSIGN_OR_RETURN(const std::string bytes, readFile(bundle));
  const std::string copy = directory + "/ca-" + sha256(bytes).hex().substr(0, 16) + ".pem";
  if (::access(copy.c_str(), F_OK) != 0) RETURN_IF_ERROR(writeFileAtomic(copy, bytes, 0644, Durable::no));
  const std::string target = std::string(kBuildFiles) + "/ca-bundle.pem";
  settings.binds.push_back({copy, target});
  for (const char* name : kBundleNames) settings.environment.emplace_back(name, target);
  settings.aptOptions.push_back("Acquire::https::CaInfo \"" + target + "\";");
  return {};
}

Result<void> addAptFile(const std::string& directory, HostSettings& settings) {
  if (settings.aptOptions.empty()) return {};
  std::string text;
  for (const std::string& option : settings.aptOptions) text += option + "\n";
  const std::string path = directory + "/apt-" + sha256(text).hex().substr(0, 16) + ".conf";
  if (::access(path.c_str(), F_OK) != 0) RETURN_IF_ERROR(writeFileAtomic(path, text, 0644, Durable::no));
  const std::string target = std::string(kBuildFiles) + "/apt.conf";
  settings.binds.push_back({path, target});
  settings.environment.emplace_back("APT_CONFIG", target);
  return {};
}

}  // namespace

std::vector<std::string> readAptSources() {
  std::vector<std::string> texts;
  std::vector<std::string> files{"/etc/apt/sources.list"};
  std::error_code ignored;
  for (const auto& file : fs::directory_iterator("/etc/apt/sources.list.d", ignored)) files.push_back(file.path());
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) {
    if (auto text = readFile(file); text.ok()) texts.push_back(*text);
  }
  return texts;
}

HostTexts readHostTexts() {
  HostTexts texts;
  texts.environment = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  texts.aptConfigDump = outputOf({"apt-config", "dump"});
  texts.pipConfigList = outputOf({"python3", "-m", "pip", "config", "list"});
  const auto home = texts.environment("HOME");
  if (auto npmrc = readFile(home.value_or("/root") + "/.npmrc"); npmrc.ok()) texts.npmrc = *npmrc;
  texts.aptSources = readAptSources();
  for (const char* bundle : kSystemBundles) {
    if (texts.systemBundle.empty() && ::access(bundle, R_OK) == 0) texts.systemBundle = bundle;
  }
  return texts;
}

std::vector<std::string> acquireOptions(const std::string& aptConfigDump) {
  static constexpr std::array kNot = {"Acquire::IndexTargets",
                                      "Acquire::Changelogs",
                                      "Acquire::cdrom",
                                      "Acquire::CompressionTypes",
                                      "Auto-Detect",
                                      "CaInfo",
                                      "CaPath",
                                      "SslCert",
                                      "SslKey",
                                      "AuthConf",
                                      "::Mirror"};
  std::vector<std::string> options;
  for (const std::string& line : linesOf(aptConfigDump)) {
    if (!line.starts_with("Acquire::") || line.ends_with(" \"\";")) continue;
    const auto named = [&](const char* part) { return line.find(part) != std::string::npos; };
    if (std::none_of(kNot.begin(), kNot.end(), named)) options.push_back(line);
  }
  return options;
}

std::vector<std::string> debianMirrors(const std::vector<std::string>& sources) {
  std::string archive, security;
  for (const std::string& text : sources) {
    for (const std::string& line : linesOf(text)) {
      if (line.starts_with('#')) continue;
      for (std::string word : wordsOf(line)) {
        if (word.find("://") == std::string::npos) continue;
        while (word.ends_with('/')) word.pop_back();
        if (word.ends_with("/debian-security") && security.empty()) security = word;
        if (word.ends_with("/debian") && archive.empty()) archive = word;
      }
    }
  }
  std::vector<std::string> mirrors;
  if (archive.empty()) return mirrors;
  mirrors.push_back(archive);
  if (!security.empty()) mirrors.push_back(security);
  return mirrors;
}

Result<HostSettings> hostSettings(const HostTexts& texts, const std::string& directory) {
  RETURN_IF_ERROR(makeDirectories(directory));
  HostSettings settings;
  for (const char* name : kPassed) {
    const auto value = texts.environment(name);
    if (value && !value->empty()) settings.environment.emplace_back(name, *value);
  }
  addIndexes(texts, settings);
  settings.aptOptions = acquireOptions(texts.aptConfigDump);
  settings.aptSources = debianMirrors(texts.aptSources);
  RETURN_IF_ERROR(addBundle(texts, directory, settings));
  RETURN_IF_ERROR(addAptFile(directory, settings));
  return settings;
}

}  // namespace gridiron::image
