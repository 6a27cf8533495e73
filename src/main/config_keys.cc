// What can be set, one entry a key: its default and how its text is read.
#include "main/config_keys.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>

namespace gridiron {

std::string variable(const ConfigSources& sources, const std::string& name) {
  auto found = sources.environment.find(name);
  return found == sources.environment.end() ? "" : found->second;
}

namespace {

Error bad(const std::string& text, const std::string& wanted) {
  return makeError(Code::invalidArgument, "\"{}\" is not {}", text, wanted);
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

Result<void> snapshotSpace(Settings& s, const std::string& text) {
  std::int64_t number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc{} || end != text.data() + text.size() || number < 0 || number > 1'000'000'000)
    return bad(text, "a number of MiB (0 turns memory snapshots off)");
  s.snapshotSpaceMb = number;
  return {};
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

}  // namespace

std::string usualFile(const ConfigSources& s) {
  return (s.root ? "/etc/gridiron" : homeFolder(s, "XDG_CONFIG_HOME", "/.config")) + "/gridiron.toml";
}

const std::vector<SettingKey>& settingKeys() {
  using S = const ConfigSources&;
  static const std::vector<SettingKey> all = {
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
      {{"max_connections", "connections of the door; more are refused (503), trusted proxies have a tenth more"},
       [](S) -> std::string { return "10000"; },
       count<&Settings::maxConnections>},
      {{"max_client_connections", "connections of one address that is no trusted proxy; more are refused (503)"},
       [](S) -> std::string { return "1000"; },
       count<&Settings::maxClientConnections>},
      {{"fast_lane", "web requests go to their containers by sockets, past the client's input loop (docs/web.md)"},
       [](S) -> std::string { return "true"; },
       yesOrNo<&Settings::fastLane>},
      {{"predict",
        "containers are started ahead of requests that come regularly; they are metered (docs/cold_start.md)"},
       [](S) -> std::string { return "off"; },
       yesOrNo<&Settings::predict>},
      {{"zygote_memory",
        "MiB for processes that cold starts are forked from; 0: all are plain; auto: 1/16 of the machine, at most "
        "1024"},
       [](S) -> std::string { return "auto"; },
       zygoteMemory},
      {{"snapshot_space", "MiB on disk for memory snapshots (enable_memory_snapshot=True); 0: there are none"},
       [](S) -> std::string { return "10240"; },
       snapshotSpace},
      {{"criu_root",
        "folder with usr/sbin/criu and its libraries, for memory snapshots; empty: the machine's, where it is new "
        "enough, or one from the Debian mirror"},
       [](S) -> std::string { return ""; },
       optionalPath<&Settings::criuRoot>},
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

}  // namespace gridiron
