#include "main/commands.h"

#include <fmt/chrono.h>

#include <charconv>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/fd.h"
#include "main/admin_client.h"
#include "main/doctor.h"
#include "main/offline.h"
#include "main/table.h"

namespace gridiron {
namespace {

using nlohmann::json;

// Of the running grid, else of the data folder itself.
Result<json> ask(const Settings& settings, const AdminRequest& request) {
  ASSIGN_OR_RETURN(auto answer, askRunningGrid(settings.data, request));
  if (answer) return std::move(*answer);
  return askOffline(settings, request);
}

Result<json> askRunning(const Settings& settings, const AdminRequest& request) {
  ASSIGN_OR_RETURN(auto answer, askRunningGrid(settings.data, request));
  if (answer) return std::move(*answer);
  return makeError(Code::unavailable, "no grid runs on {} (start one: gridiron up --data {})", settings.data,
                   settings.data);
}

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void printJson(const json& value) { print(value.dump(2, ' ', false, json::error_handler_t::replace) + "\n"); }

std::string text(const json& row, const char* field) {
  auto found = row.find(field);
  if (found == row.end() || found->is_null()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

double number(const json& row, const char* field) {
  auto found = row.find(field);
  return found != row.end() && found->is_number() ? found->get<double>() : 0;
}

std::string joined(const json& list) {
  std::string all;
  for (const auto& item : list) all += (all.empty() ? "" : ", ") + item.get<std::string>();
  return all;
}

std::string date(double seconds) {
  if (seconds <= 0) return "";
  return fmt::format("{:%Y-%m-%d %H:%M:%S}Z", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

double nowSeconds() { return toSeconds(SystemClock().now()); }

std::string escaped(const std::string& text) {
  std::string out;
  for (unsigned char c : text)
    out += std::isalnum(c) || c == '-' || c == '_' || c == '.' ? std::string(1, static_cast<char>(c))
                                                               : fmt::format("%{:02X}", c);
  return out;
}

using Rows = std::vector<std::vector<std::string>>;

void printContainers(const json& containers, double now) {
  Rows rows;
  for (const auto& c : containers)
    rows.push_back({text(c, "id"), text(c, "app"), text(c, "function"), text(c, "state"),
                    formatAge(number(c, "since"), now), text(c, "inputs")});
  print(rows.empty() ? "no containers\n"
                     : formatTable({"CONTAINER", "APP", "FUNCTION", "STATE", "FOR", "INPUTS"}, rows));
}

void printFunctions(const json& functions) {
  Rows rows;
  for (const auto& f : functions)
    rows.push_back({text(f, "app"), text(f, "function"), text(f, "queued"), text(f, "running"), text(f, "containers"),
                    text(f, "starting"), text(f, "url")});
  print(rows.empty() ? "no functions\n"
                     : formatTable({"APP", "FUNCTION", "WAITING", "RUNNING", "READY", "STARTING", "ADDRESS"}, rows));
  for (const auto& f : functions) {
    const json ahead = f.value("ahead", json());
    if (!ahead.is_object()) continue;
    const json next = ahead.value("next", json());
    print(fmt::format("{} {}, started ahead{}: {} times, {} of them found by an input, {} unused\n", text(f, "app"),
                      text(f, "function"), next.is_object() ? " (" + text(next, "why") + ")" : "",
                      text(ahead, "started"), text(ahead, "hits"), formatSeconds(number(ahead, "unused_seconds"))));
  }
}

Result<void> addPair(std::map<std::string, std::string>& values, const std::string& pair, const std::string& place) {
  auto equals = pair.find('=');
  std::string key = pair.substr(0, equals);
  if (equals == std::string::npos || key.empty())
    return makeError(Code::invalidArgument, "{} is not KEY=VALUE (its text is not shown: it may be secret)", place);
  values[key] = pair.substr(equals + 1);
  return {};
}

std::string readAll(std::istream& in) { return {std::istreambuf_iterator<char>(in), {}}; }

std::string unquoted(const std::string& value) {
  bool quoted = value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front();
  return quoted ? value.substr(1, value.size() - 2) : value;
}

Result<void> addEnvFile(std::map<std::string, std::string>& values, const std::string& file) {
  std::string whole;
  if (file == "-") {
    whole = readAll(std::cin);
  } else {
    ASSIGN_OR_RETURN(whole, readFile(file));
  }
  std::istringstream lines(whole);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    auto start = line.find_first_not_of(" \t");
    if (start == std::string::npos || line[start] == '#') continue;
    line.erase(0, start);
    if (line.starts_with("export ")) line.erase(0, 7);
    std::map<std::string, std::string> one;
    RETURN_IF_ERROR(addPair(one, line, fmt::format("{}:{}", file, number)));
    for (auto& [key, value] : one) values[key] = unquoted(value);
  }
  return {};
}

std::string pathOf(TokenKind kind) { return kind == TokenKind::client ? "/v1/tokens" : "/v1/proxy-tokens"; }

}  // namespace

Result<void> newToken(const Settings& settings, Format format, TokenKind kind, const std::string& name) {
  ASSIGN_OR_RETURN(auto made, ask(settings, {"POST", pathOf(kind), {{"name", name}}}));
  if (format == Format::json) {
    printJson(made);
    return {};
  }
  const char* use = kind == TokenKind::client ? "modal token set --token-id {} --token-secret {}"
                                              : "curl -H 'Modal-Key: {}' -H 'Modal-Secret: {}' ADDRESS";
  const auto id = text(made, "token_id"), secret = text(made, "token_secret");
  print(fmt::format("token id      {}\ntoken secret  {}   (shown only now)\n\n  {}\n", id, secret,
                    fmt::format(fmt::runtime(use), id, secret)));
  return {};
}

Result<void> listTokens(const Settings& settings, Format format, TokenKind kind) {
  ASSIGN_OR_RETURN(auto answer, ask(settings, {"GET", pathOf(kind), {}}));
  if (format == Format::json) {
    printJson(answer);
    return {};
  }
  Rows rows;
  for (const auto& t : answer["tokens"])
    rows.push_back({text(t, "token_id"), text(t, "name"), date(number(t, "created_at")), text(t, "state")});
  const char* none = kind == TokenKind::client ? "no tokens (make one: gridiron token new)\n"
                                               : "no proxy tokens (make one: gridiron token proxy new)\n";
  print(rows.empty() ? none : formatTable({"TOKEN", "NAME", "MADE", "STATE"}, rows));
  return {};
}

Result<void> revokeToken(const Settings& settings, Format format, TokenKind kind, const std::string& id) {
  ASSIGN_OR_RETURN(auto answer, ask(settings, {"DELETE", pathOf(kind) + "/" + escaped(id), {}}));
  if (format == Format::json)
    printJson(answer);
  else
    print("revoked " + id + "\n");
  return {};
}

Result<std::map<std::string, std::string>> readSecretValues(const NewSecret& secret) {
  std::map<std::string, std::string> values;
  if (!secret.envFile.empty()) RETURN_IF_ERROR(addEnvFile(values, secret.envFile));
  int place = 0;
  for (const auto& pair : secret.pairs) {
    ++place;
    std::map<std::string, std::string> one;
    RETURN_IF_ERROR(addPair(one, pair, fmt::format("value {}", place)));
    for (auto& [key, value] : one) {
      if (value == "-") {
        value = readAll(std::cin);
        if (!value.empty() && value.back() == '\n') value.pop_back();
      }
      values[key] = value;
    }
  }
  if (values.empty()) return Error{Code::invalidArgument, "no values: give KEY=VALUE, or --from-env-file FILE"};
  return values;
}

Result<void> createSecret(const Settings& settings, Format format, const NewSecret& secret) {
  ASSIGN_OR_RETURN(auto values, readSecretValues(secret));
  json body = {
      {"name", secret.name}, {"environment", secret.environment}, {"values", values}, {"replace", secret.replace}};
  ASSIGN_OR_RETURN(auto answer, ask(settings, {"POST", "/v1/secrets", body}));
  if (format == Format::json)
    printJson(answer);
  else
    print(fmt::format("secret {} has {}\n", secret.name, joined(answer["keys"])));
  return {};
}

Result<void> listSecrets(const Settings& settings, Format format, const std::string& environment) {
  std::string query = environment.empty() ? "" : "?environment=" + escaped(environment);
  ASSIGN_OR_RETURN(auto answer, ask(settings, {"GET", "/v1/secrets" + query, {}}));
  if (format == Format::json) {
    printJson(answer);
    return {};
  }
  Rows rows;
  for (const auto& s : answer["secrets"])
    rows.push_back({text(s, "name"), text(s, "environment"), joined(s["keys"]), date(number(s, "created_at"))});
  print(rows.empty() ? "no secrets\n" : formatTable({"SECRET", "ENVIRONMENT", "KEYS", "MADE"}, rows));
  return {};
}

Result<void> deleteSecret(const Settings& settings, Format format, const std::string& name,
                          const std::string& environment) {
  std::string target = "/v1/secrets/" + escaped(name) + "?environment=" + escaped(environment);
  ASSIGN_OR_RETURN(auto answer, ask(settings, {"DELETE", target, {}}));
  if (format == Format::json)
    printJson(answer);
  else
    print("deleted " + name + "\n");
  return {};
}

Result<std::string> readMoment(const std::string& text, Time now) {
  if (text.empty()) return text;
  double number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(end, text.data() + text.size());
  if (failed == std::errc{} && unit.empty()) return fmt::format("{:.3f}", number);
  const std::map<std::string, double> units = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
  auto known = units.find(unit);
  if (failed != std::errc{} || known == units.end())
    return makeError(Code::invalidArgument, "\"{}\" is neither a time ago (90s, 15m, 24h, 7d) nor seconds since 1970",
                     text);
  return fmt::format("{:.3f}", toSeconds(now) - number * known->second);
}

Result<void> showUsage(const Settings& settings, Format format, const UsageFilter& filter) {
  Time now = SystemClock().now();
  ASSIGN_OR_RETURN(auto since, readMoment(filter.since, now));
  ASSIGN_OR_RETURN(auto until, readMoment(filter.until, now));
  std::string query;
  for (const auto& [name, value] : {std::pair<std::string, std::string>{"app", filter.app},
                                    {"function", filter.function},
                                    {"since", since},
                                    {"until", until}})
    if (!value.empty()) query += (query.empty() ? "?" : "&") + name + "=" + escaped(value);
  ASSIGN_OR_RETURN(auto answer, ask(settings, {"GET", "/v1/usage" + query, {}}));
  if (format == Format::json) {
    printJson(answer);
    return {};
  }
  Rows rows;
  for (const auto& u : answer["totals"])
    rows.push_back({text(u, "app"), text(u, "function"), text(u, "containers"),
                    formatSeconds(number(u, "container_seconds")), text(u, "inputs"),
                    formatSeconds(number(u, "input_seconds")), text(u, "failed_inputs"),
                    formatSeconds(number(u, "cpu_seconds")), fmt::format("{:.1f}", number(u, "memory_gib_seconds"))});
  print(rows.empty() ? "nothing was used\n"
                     : formatTable({"APP", "FUNCTION", "CONTAINERS", "CONTAINER TIME", "INPUTS", "INPUT TIME", "FAILED",
                                    "CPU TIME", "MEMORY GiB·s"},
                                   rows));
  return {};
}

std::string ofWhom(const json& part) { return part.value("own", false) ? "the app's own" : ""; }

Result<void> showTrace(const Settings& settings, Format format, const std::string& of) {
  ASSIGN_OR_RETURN(auto answer, askRunning(settings, {"GET", "/v1/trace?of=" + escaped(of), {}}));
  if (format == Format::json) {
    printJson(answer);
    return {};
  }
  for (const auto& input : answer["inputs"]) {
    print(fmt::format("{} of call {}: {} {}, in {}, {}\n", text(input, "input"), text(input, "call"),
                      text(input, "app"), text(input, "function"), text(input, "container"), text(input, "outcome")));
    Rows rows{{"wait", fmt::format("{:.1f}", number(input, "wait_ms")), ""}};
    for (const auto& phase : input["phases"]) {
      rows.push_back({"  " + text(phase, "name"), fmt::format("{:.1f}", number(phase, "ms")), text(phase, "note")});
      for (const auto& part : phase.value("parts", json::array()))
        rows.push_back({"    " + text(part, "name"), fmt::format("{:.1f}", number(part, "ms")), ofWhom(part)});
    }
    rows.push_back({"run", input["run_ms"].is_null() ? "" : fmt::format("{:.1f}", number(input, "run_ms")), ""});
    print(formatTable({"PHASE", "MS", ""}, rows));
  }
  return {};
}

Result<void> showColdStarts(const Settings& settings, Format format, const std::string& function) {
  ASSIGN_OR_RETURN(auto answer, askRunning(settings, {"GET", "/v1/cold-starts?function=" + escaped(function), {}}));
  if (format == Format::json) {
    printJson(answer);
    return {};
  }
  const auto row = [](const std::string& name, const json& phase) {
    return std::vector<std::string>{name,
                                    text(phase, "count"),
                                    fmt::format("{:.1f}", number(phase, "p50_ms")),
                                    fmt::format("{:.1f}", number(phase, "p99_ms")),
                                    fmt::format("{:.0f}%", 100 * number(phase, "share")),
                                    text(phase, "note")};
  };
  Rows rows;
  for (const auto& phase : answer["phases"]) {
    rows.push_back(row(text(phase, "name"), phase));
    for (const auto& part : phase.value("parts", json::array())) {
      rows.push_back(row("  " + text(part, "name"), part));
      rows.back().back() = ofWhom(part);
    }
  }
  if (answer.contains("total")) rows.push_back(row("all", answer["total"]));
  print(rows.empty()
            ? fmt::format("{} {} has had no cold start that is known\n", text(answer, "app"), text(answer, "function"))
            : formatTable({"PHASE", "STARTS", "P50 MS", "P99 MS", "SHARE", ""}, rows) + text(answer, "dearest") + "\n");
  return {};
}

std::string zygoteLines(const json& worker) {
  std::string out;
  for (const auto& z : worker.value("zygotes", json::array()))
    out += fmt::format("  zygote of image {}, client {}: {:.0f} MiB, {} starts, {} parked ({:.0f} MiB)\n",
                       text(z, "image_id"), text(z, "client_version"), number(z, "memory_bytes") / (1 << 20),
                       number(z, "starts"), number(z, "parked"), number(z, "parked_bytes") / (1 << 20));
  return out;
}

Result<void> showStatus(const Settings& settings, Format format) {
  ASSIGN_OR_RETURN(auto status, askRunning(settings, {"GET", "/v1/status", {}}));
  if (format == Format::json) {
    printJson(status);
    return {};
  }
  double now = nowSeconds();
  print(fmt::format("gridiron {} at {}, workspace {}, up for {}\n", text(status, "version"), text(status, "url"),
                    text(status, "workspace"), formatAge(number(status, "started_at"), now)));
  for (const auto& w : status["workers"])
    print(fmt::format("machine {}: {} CPUs, {:.1f} GiB\n", text(w, "host"), number(w, "milli_cpu") / 1000,
                      number(w, "memory_mb") / 1024) +
          zygoteLines(w));
  print("\n");
  printFunctions(status["functions"]);
  print("\n");
  printContainers(status["containers"], now);
  return {};
}

Result<void> showSignInLink(const Settings& settings, Format format) {
  ASSIGN_OR_RETURN(auto made, askRunning(settings, {"POST", "/v1/sign-in-links", json::object()}));
  if (format == Format::json)
    printJson(made);
  else
    print(text(made, "url") + "\n");
  return {};
}

Result<void> showConfiguration(const Configuration& configuration, Format format) {
  if (format == Format::json) {
    json all = json::object();
    for (const auto& v : configuration.values) all[v.key] = {{"value", v.value}, {"origin", v.origin}};
    printJson({{"settings", all}, {"warnings", configuration.warnings}});
    return {};
  }
  Rows rows;
  for (const auto& v : configuration.values) rows.push_back({v.key, v.value, v.origin});
  print(formatTable({"SETTING", "VALUE", "FROM"}, rows));
  for (const auto& warning : configuration.warnings) print("warning: " + warning + "\n");
  return {};
}

Result<void> showVersion(Format format) {
  if (format == Format::json)
    printJson({{"version", GRIDIRON_VERSION}});
  else
    print("gridiron " GRIDIRON_VERSION "\n");
  return {};
}

Result<void> showDoctor(const Settings& settings, Format format) {
  auto findings = examineHost(settings);
  bool problem = false;
  json list = json::array();
  for (const auto& f : findings) {
    problem = problem || f.level == Finding::Level::problem;
    list.push_back({{"level", nameOf(f.level)}, {"name", f.name}, {"detail", f.detail}, {"advice", f.advice}});
    if (format == Format::text)
      print(fmt::format("{:<8} {}: {}\n", nameOf(f.level), f.name, f.detail) +
            (f.advice.empty() ? "" : fmt::format("{:<8} → {}\n", "", f.advice)));
  }
  if (format == Format::json) printJson({{"ok", !problem}, {"findings", list}});
  if (problem) return Error{Code::failedPrecondition, "containers will not run here before the problems are solved"};
  return {};
}

}  // namespace gridiron
