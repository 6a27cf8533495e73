#include "main/config.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>
#include <sstream>

#include "base/fd.h"

namespace gridiron {
namespace {

using Apply = Result<void> (*)(Settings&, const std::string&);

struct Key {
  ConfigKey about;
  std::string (*fallback)(const ConfigSources&);
  Apply apply;
};

Error bad(const std::string& text, const std::string& wanted) {
  return makeError(Code::invalidArgument, "\"{}\" is not {}", text, wanted);
}

std::string variable(const ConfigSources& sources, const std::string& name) {
  auto found = sources.environment.find(name);
  return found == sources.environment.end() ? "" : found->second;
}

std::string homeFolder(const ConfigSources& sources, const char* xdg, const char* belowHome) {
  std::string base = variable(sources, xdg);
  if (!base.empty()) return base + "/gridiron";
  std::string home = variable(sources, "HOME");
  return (home.empty() ? "." : home) + belowHome + "/gridiron";
}

std::string defaultData(const ConfigSources& s) {
  return s.root ? "/var/lib/gridiron" : homeFolder(s, "XDG_DATA_HOME", "/.local/share");
}

std::string defaultCache(const ConfigSources& s) {
  return s.root ? "/var/cache/gridiron" : homeFolder(s, "XDG_CACHE_HOME", "/.cache");
}

std::string usualFile(const ConfigSources& s) {
  return (s.root ? "/etc/gridiron" : homeFolder(s, "XDG_CONFIG_HOME", "/.config")) + "/gridiron.toml";
}

Result<std::string> absolutePath(const std::string& text) {
  if (text.empty()) return bad(text, "a path");
  std::error_code failed;
  auto path = std::filesystem::absolute(text, failed).lexically_normal();
  if (failed) return makeError(Code::invalidArgument, "\"{}\": {}", text, failed.message());
  std::string whole = path.string();
  while (whole.size() > 1 && whole.back() == '/') whole.pop_back();
  return whole;
}

template <std::string Settings::*field>
Result<void> path(Settings& s, const std::string& text) {
  ASSIGN_OR_RETURN(s.*field, absolutePath(text));
  return {};
}

template <std::string Settings::*field>
Result<void> optionalPath(Settings& s, const std::string& text) {
  return text.empty() ? Result<void>{} : path<field>(s, text);
}

bool isPort(std::string_view text) {
  int port = -1;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), port);
  return failed == std::errc{} && end == text.data() + text.size() && port >= 0 && port <= 65535;
}

// "host:port", "[v6]:port", ":port" (every address) or a port alone (loopback).
Result<std::string> addressOf(const std::string& text) {
  const char* wanted = "HOST:PORT (such as 127.0.0.1:8400, 0.0.0.0:8400 or [::]:8400)";
  if (isPort(text)) {
    return "127.0.0.1:" + text;
  }
  auto colon = text.rfind(':');
  if (colon == std::string::npos || !isPort(std::string_view(text).substr(colon + 1))) return bad(text, wanted);
  std::string host = text.substr(0, colon);
  bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (host.find(':') != std::string::npos && !bracketed) return bad(text, wanted);
  if (host == "localhost") host = "127.0.0.1";
  if (host.empty() || host == "*") host = "0.0.0.0";
  return host + text.substr(colon);
}

Result<void> listen(Settings& s, const std::string& text) {
  ASSIGN_OR_RETURN(s.listen, addressOf(text));
  return {};
}

Result<void> listenHttp(Settings& s, const std::string& text) {
  s.listenHttp.clear();
  if (text.empty()) return {};
  ASSIGN_OR_RETURN(s.listenHttp, addressOf(text));
  return {};
}

Result<void> publicUrl(Settings& s, const std::string& text) {
  if (!text.empty() && !text.starts_with("http://") && !text.starts_with("https://"))
    return bad(text, "a URL that starts with http:// or https://");
  s.publicUrl = text.ends_with('/') ? text.substr(0, text.size() - 1) : text;
  return {};
}

bool isLabel(std::string_view text) {
  auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), fits) && text.front() != '-' &&
         text.back() != '-';
}

// The items of a list, without what is empty.
std::vector<std::string> itemsOf(const std::string& text) {
  std::vector<std::string> items;
  std::stringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    part.erase(0, part.find_first_not_of(" \t"));
    part.erase(part.find_last_not_of(" \t") + 1);
    if (!part.empty()) items.push_back(part);
  }
  return items;
}

bool isDomain(std::string_view rest) {
  for (;;) {
    auto dot = rest.find('.');
    if (!isLabel(rest.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    rest.remove_prefix(dot + 1);
  }
}

Result<void> domain(Settings& s, const std::string& text) {
  if (!isDomain(text)) return bad(text, "a domain name in lower case (such as localhost)");
  s.domain = text;
  return {};
}

Result<void> acmeNames(Settings& s, const std::string& text) {
  s.acmeNames = itemsOf(text);
  for (const std::string& name : s.acmeNames)
    if (!isDomain(name)) return bad(name, "a host name in lower case (without *: those are not proven by http-01)");
  return {};
}

Result<void> acmeDirectory(Settings& s, const std::string& text) {
  if (!text.empty() && !text.starts_with("https://")) return bad(text, "an https:// URL");
  s.acmeDirectory = text;
  return {};
}

Result<void> acmeEmail(Settings& s, const std::string& text) {
  if (!text.empty() && text.find('@') == std::string::npos) return bad(text, "an e-mail address");
  s.acmeEmail = text;
  return {};
}

Result<void> workspace(Settings& s, const std::string& text) {
  if (!isLabel(text) || text.size() > 32 || text.find("--") != std::string::npos)
    return bad(text, "a workspace name: up to 32 small letters, digits and single dashes");
  s.workspace = text;
  return {};
}

Result<void> logLevel(Settings& s, const std::string& text) {
  for (const char* level : {"trace", "debug", "info", "warn", "error"})
    if (text == level) {
      s.logLevel = text;
      return {};
    }
  return bad(text, "one of trace, debug, info, warn, error");
}

Result<void> mirrors(Settings& s, const std::string& text) {
  s.mirrors = itemsOf(text);
  return {};
}

Result<void> webhooks(Settings& s, const std::string& text) {
  s.webhooks.clear();
  for (const std::string& item : itemsOf(text)) {
    ASSIGN_OR_RETURN(edge::ConfiguredWebhook one, edge::parseWebhook(item));
    s.webhooks.push_back(std::move(one));
  }
  return {};
}

Result<void> limits(Settings& s, const std::string& text) {
  s.limits.clear();
  for (const std::string& item : itemsOf(text)) {
    ASSIGN_OR_RETURN(edge::ConfiguredLimit one, edge::parseLimit(item));
    s.limits.push_back(std::move(one));
  }
  return {};
}

Result<void> domains(Settings& s, const std::string& text) {
  s.domains.clear();
  for (const std::string& item : itemsOf(text)) {
    ASSIGN_OR_RETURN(edge::AllowedDomain one, edge::parseAllowedDomain(item));
    s.domains.push_back(std::move(one));
  }
  return {};
}

Result<void> accessLog(Settings& s, const std::string& text) {
  s.accessLog = text;
  return text.empty() || text == "-" ? Result<void>{} : path<&Settings::accessLog>(s, text);
}

Result<void> moreCertificates(Settings& s, const std::string& text) {
  s.moreCertificates.clear();
  for (const std::string& item : itemsOf(text)) {
    std::stringstream words(item);
    std::string certificate, key, rest;
    if (!(words >> certificate >> key) || words >> rest) return bad(item, "two PEM files, \"CERTIFICATE KEY\"");
    net::TlsFiles files;
    ASSIGN_OR_RETURN(files.certificate, absolutePath(certificate));
    ASSIGN_OR_RETURN(files.key, absolutePath(key));
    s.moreCertificates.push_back(std::move(files));
  }
  return {};
}

Result<void> trustedProxies(Settings& s, const std::string& text) {
  ASSIGN_OR_RETURN(s.trustedProxies, net::TrustedPeers::parse(itemsOf(text)));
  return {};
}

template <bool Settings::*field>
Result<void> yesOrNo(Settings& s, const std::string& text) {
  bool yes = text == "true" || text == "1" || text == "yes" || text == "on";
  bool no = text == "false" || text == "0" || text == "no" || text == "off";
  if (!yes && !no) return bad(text, "true or false");
  s.*field = yes;
  return {};
}

Result<Nanos> readDuration(const std::string& text) {
  double number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(end, text.data() + text.size());
  const std::map<std::string, double> seconds = {{"", 1}, {"s", 1}, {"ms", 0.001}, {"m", 60}, {"h", 3600}};
  auto known = seconds.find(unit);
  if (failed != std::errc{} || known == seconds.end() || number < 0 || number > 1e7)
    return bad(text, "a time such as 60, 60s, 500ms, 5m or 1h");
  return std::chrono::duration_cast<Nanos>(std::chrono::duration<double>(number * known->second));
}

Result<void> zygoteMemory(Settings& s, const std::string& text) {
  s.zygoteMemoryMb.reset();
  if (text == "auto") return {};
  std::int64_t number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc{} || end != text.data() + text.size() || number < 0 || number > 1'000'000'000)
    return bad(text, "auto or a number of MiB (0 turns zygotes off)");
  s.zygoteMemoryMb = number;
  return {};
}

template <Nanos Settings::*field>
Result<void> duration(Settings& s, const std::string& text) {
  ASSIGN_OR_RETURN(s.*field, readDuration(text));
  return {};
}

template <std::int64_t Settings::*field>
Result<void> count(Settings& s, const std::string& text) {
  std::int64_t number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc{} || end != text.data() + text.size() || number < 1 || number > 1'000'000'000)
    return bad(text, "a number from 1 to 1000000000");
  s.*field = number;
  return {};
}

Result<void> queueBytes(Settings& s, const std::string& text) {
  std::int64_t number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, text.data() + text.size());
  const std::map<std::string, std::int64_t> bytes = {{"MiB", std::int64_t{1} << 20}, {"GiB", std::int64_t{1} << 30}};
  auto known = bytes.find(unit);
  if (failed != std::errc{} || known == bytes.end() || number < 1 || number > 1'000'000)
    return bad(text, "a size such as 512MiB or 4GiB");
  s.queueWorkspaceBytes = number * known->second;
  return {};
}

const std::vector<Key>& keys() {
  using S = const ConfigSources&;
  static const std::vector<Key> all = {
      {{"data", "folder of everything that must outlive the process"}, defaultData, path<&Settings::data>},
      {{"cache", "folder of what can be fetched again (base images, wheels)"}, defaultCache, path<&Settings::cache>},
      {{"listen", "HOST:PORT of the one door"}, [](S) -> std::string { return "127.0.0.1:8400"; }, listen},
      {{"public_url", "URL by which clients reach the door, when it is not http://localhost:PORT"},
       [](S) -> std::string { return ""; },
       publicUrl},
      {{"domain", "functions answer at <workspace>--<app>-<function>.<domain>"},
       [](S) -> std::string { return "localhost"; },
       domain},
      {{"workspace", "name of the workspace"}, [](S) -> std::string { return "gridiron"; }, workspace},
      {{"tls_certificate", "PEM file with the certificate chain; turns TLS on"},
       [](S) -> std::string { return ""; },
       optionalPath<&Settings::tlsCertificate>},
      {{"tls_key", "PEM file with the certificate's key"},
       [](S) -> std::string { return ""; },
       optionalPath<&Settings::tlsKey>},
      {{"more_certificates", "for other host names: \"CERTIFICATE KEY\" each, PEM files"},
       [](S) -> std::string { return ""; },
       moreCertificates},
      {{"acme_directory",
        "URL of a certificate authority's ACME directory: gets and renews certificates; turns TLS on"},
       [](S) -> std::string { return ""; },
       acmeDirectory},
      {{"acme_names", "host names to get certificates for; port 80 of them must lead to the door (listen_http)"},
       [](S) -> std::string { return ""; },
       acmeNames},
      {{"acme_email", "what the certificate authority may write to"}, [](S) -> std::string { return ""; }, acmeEmail},
      {{"acme_authority", "PEM file of who vouches for the ACME directory itself, when the system does not know it"},
       [](S) -> std::string { return ""; },
       optionalPath<&Settings::acmeAuthority>},
      {{"listen_http", "a second HOST:PORT of the same door, such as 0.0.0.0:80"},
       [](S) -> std::string { return ""; },
       listenHttp},
      {{"redirect_http", "with TLS: requests without it, from other machines, are sent to https"},
       [](S) -> std::string { return "true"; },
       yesOrNo<&Settings::redirectHttp>},
      {{"trusted_proxies", "networks whose X-Forwarded-For, Forwarded and PROXY protocol are believed"},
       [](S) -> std::string { return "127.0.0.0/8,::1,unix"; },
       trustedProxies},
      {{"log_level", "trace, debug, info, warn or error"}, [](S) -> std::string { return "info"; }, logLevel},
      {{"mirrors", "image registries tried before an image's own"}, [](S) -> std::string { return ""; }, mirrors},
      {{"inherit_host_settings", "image builds use the host's apt, pip, proxy and CA settings"},
       [](S) -> std::string { return "true"; },
       yesOrNo<&Settings::inheritHostSettings>},
      {{"webhooks", "functions whose senders must sign: \"app/function scheme secret\" each (docs/web.md)"},
       [](S) -> std::string { return ""; },
       webhooks},
      {{"limits", "how many requests functions take: \"app/function all=100-per-second\" each (docs/web.md)"},
       [](S) -> std::string { return ""; },
       limits},
      {{"domains", "host names that deployments may claim (custom_domains): [environment/]name each"},
       [](S) -> std::string { return ""; },
       domains},
      {{"access_log", "file for a line of JSON a request, or - for standard output; SIGHUP opens it anew"},
       [](S) -> std::string { return ""; },
       accessLog},
      {{"max_connections", "connections of the door; more wait to be accepted"},
       [](S) -> std::string { return "10000"; },
       count<&Settings::maxConnections>},
      {{"fast_lane", "web requests go to their containers by sockets, past the client's input loop (docs/web.md)"},
       [](S) -> std::string { return "false"; },
       yesOrNo<&Settings::fastLane>},
      {{"zygote_memory",
        "MiB for processes that cold starts are forked from; 0: all are plain; auto: 1/16 of the machine, at most "
        "1024"},
       [](S) -> std::string { return "auto"; },
       zygoteMemory},
      {{"client_silence", "an app of `modal run` or `modal serve` ends when its client was not heard of for so long"},
       [](S) -> std::string { return "60s"; },
       duration<&Settings::clientSilence>},
      {{"stop_grace", "time for running containers to end when the grid ends (at most 8s)"},
       [](S) -> std::string { return "3s"; },
       duration<&Settings::stopGrace>},
      {{"queue_inputs", "inputs of one function that may wait"},
       [](S) -> std::string { return "1000000"; },
       count<&Settings::queueInputs>},
      {{"queue_workspace_inputs", "inputs of all functions of a workspace that may wait"},
       [](S) -> std::string { return "2000000"; },
       count<&Settings::queueWorkspaceInputs>},
      {{"queue_workspace_bytes", "arguments of a workspace's inputs that may be in memory (MiB or GiB)"},
       [](S) -> std::string { return "4GiB"; },
       queueBytes},
  };
  return all;
}

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
  for (const auto& key : keys()) {
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
    auto known = [&](const Key& k) { return k.about.name == name; };
    if (std::none_of(keys().begin(), keys().end(), known))
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
    auto known = [&](const Key& k) { return variableOf(k.about.name) == name; };
    if (std::any_of(keys().begin(), keys().end(), known)) continue;
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
    for (const auto& key : keys()) list.push_back(key.about);
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
  for (const auto& key : keys()) {
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
