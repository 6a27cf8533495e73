#include "edge/dash/admin.h"

#include <charconv>

#include "edge/dash/names.h"
#include "edge/dash/reports.h"
#include "edge/dash/text.h"
#include "edge/http/answers.h"

namespace gridiron::edge {
namespace {

using nlohmann::json;

constexpr std::size_t kMostBody = 4 * 1024 * 1024;
constexpr int kMostLogLines = 1000;

std::string valueOf(const std::map<std::string, std::string>& query, const std::string& name) {
  auto found = query.find(name);
  return found == query.end() ? "" : found->second;
}

Result<std::optional<Time>> momentOf(const std::map<std::string, std::string>& query, const std::string& name) {
  std::string text = valueOf(query, name);
  if (text.empty()) return std::optional<Time>{};
  double seconds = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (failed != std::errc{} || end != text.data() + text.size() || seconds < 0 || seconds > 9e9)
    return makeError(Code::invalidArgument, "{}: \"{}\" is not a number of seconds since 1970", name, text);
  return std::optional<Time>(fromMillis(static_cast<std::int64_t>(seconds * 1000)));
}

AdminAnswer unknown(const AdminQuestion& question) {
  return adminErrorAnswer(makeError(Code::notFound, "no such request: {} {}", question.method, question.path));
}

AdminAnswer notRunning() { return adminErrorAnswer(Error{Code::unavailable, "no grid runs on this data folder"}); }

// Is it the app (function) that was asked for, by id or by name? "" asks for all.
bool isAsked(const std::string& asked, const std::string& id, const std::string& name) {
  return asked.empty() || asked == id || asked == name;
}

void addNames(json& row, Names& names, const AppId& app, const FunctionId& function) {
  row["app"] = names.app(app);
  row["function"] = names.function(function, app);
}

json webUrl(const AdminParts& parts, const Function& function) {
  const WebEndpoint* web = &function.web;
  for (const auto& method : function.methods)
    if (web->kind == WebKind::none) web = &method.web;
  if (web->kind == WebKind::none) return nullptr;
  auto scheme = parts.url.substr(0, parts.url.find("://"));
  auto port = parts.url.find(':', scheme.size() + 3);
  return scheme + "://" + parts.catalog.apps().hostPrefix(function.environment) + "--" + web->label + "." +
         parts.domain + (port == std::string::npos ? "" : parts.url.substr(port));
}

json scheduleJson(const AdminParts& parts, const FunctionId& function) {
  const auto planned = parts.schedules ? parts.schedules->of(function) : std::nullopt;
  if (!planned) return nullptr;
  json row = {{"next_run_at", planned->next ? momentJson(*planned->next) : json(nullptr)}};
  const plan::Schedule& schedule = planned->schedule;
  if (schedule.cron.empty()) {
    row["every"] = {{"months", schedule.months}, {"seconds", std::chrono::duration<double>(schedule.interval).count()}};
  } else {
    row["cron"] = schedule.cron;
    row["timezone"] = schedule.timezone.empty() ? "UTC" : schedule.timezone;
  }
  return row;
}

// What is expected of a function whose containers are started ahead, and what came of it since the grid began.
json aheadJson(const Fleet& fleet, const FunctionId& id) {
  const Fleet::AheadCounts counts = fleet.aheadCounts(id);
  const auto next = fleet.foreseen(id);
  if (!next && counts.started == 0) return nullptr;
  json row = {{"started", counts.started},
              {"hits", counts.hits},
              {"unused_seconds", std::chrono::duration<double>(counts.unused).count()},
              {"next", nullptr}};
  if (next) {
    row["next"] = {{"due_at", momentJson(next->forecast.due)},
                   {"start_at", momentJson(next->startAt)},
                   {"stop_at", momentJson(next->stopAt)},
                   {"confidence", next->forecast.confidence},
                   {"why", next->forecast.why}};
  }
  return row;
}

json functionJson(const AdminParts& parts, const App& app, const std::string& tag, const FunctionId& id, Names& names) {
  json row = {{"id", id.str()}, {"app", nameOf(app)}, {"app_id", app.id.str()}, {"function", tag}, {"url", nullptr}};
  if (auto function = names.findFunction(id)) row["url"] = webUrl(parts, *function);
  auto stats = parts.fleet->stats(id);
  row["queued"] = stats.backlog;
  row["running"] = stats.running;
  row["containers"] = stats.containers;
  row["starting"] = stats.starting;
  row["schedule"] = scheduleJson(parts, id);
  row["ahead"] = aheadJson(*parts.fleet, id);
  return row;
}

}  // namespace

AdminAnswer adminErrorAnswer(const Error& error) {
  return {httpStatusOf(error.code), {{"error", error.message}, {"code", static_cast<int>(error.code)}}};
}

AdminAnswer AdminApi::answer(const AdminQuestion& question) {
  AdminAnswer given = decide(question);
  if (question.method != "GET") parts_.store.flush();
  return given;
}

AdminAnswer AdminApi::decide(const AdminQuestion& question) {
  const std::string& path = question.path;
  if (path == "/v1/tokens" || path.starts_with("/v1/tokens/"))
    return tokens(question, "/v1/tokens", parts_.catalog.tokens());
  if (path == "/v1/proxy-tokens" || path.starts_with("/v1/proxy-tokens/"))
    return tokens(question, "/v1/proxy-tokens", parts_.catalog.proxyTokens());
  if (path == "/v1/secrets" || path.starts_with("/v1/secrets/")) return secrets(question);
  if (path == "/v1/sign-in-links" && question.method == "POST") return signInLink();
  if (question.method != "GET") return unknown(question);
  if (path == "/v1/status") return status();
  if (path == "/v1/apps") return apps();
  if (path == "/v1/usage") return usage(question.query);
  if (path == "/v1/logs") return logs(question.query);
  if (path == "/v1/trace") return trace(valueOf(question.query, "of"));
  if (path == "/v1/cold-starts") return coldStarts(valueOf(question.query, "function"));
  return unknown(question);
}

AdminAnswer AdminApi::status() {
  if (!parts_.fleet || !parts_.calls) return notRunning();
  auto live = liveApps(parts_.catalog);
  Names names(parts_.store);
  json containers = json::array(), functions = json::array(), workers = json::array();
  for (const auto& instance : parts_.fleet->instances()) {
    json row = instanceJson(instance, parts_.calls->heldBy(instance.id));
    addNames(row, names, instance.app, instance.function);
    containers.push_back(std::move(row));
  }
  for (const auto& app : live)
    for (const auto& [tag, id] : app.functions) functions.push_back(functionJson(parts_, app, tag, id, names));
  for (const auto& worker : parts_.fleet->workers()) workers.push_back(workerJson(worker));
  return {200,
          {{"version", parts_.version},
           {"url", parts_.url},
           {"workspace", parts_.catalog.workspace().name},
           {"started_at", momentJson(startedAt_)},
           {"apps", live.size()},
           {"containers", containers},
           {"functions", functions},
           {"workers", workers}}};
}

AdminAnswer AdminApi::apps() {
  json list = json::array();
  for (const auto& app : liveApps(parts_.catalog)) {
    json tags = json::array();
    for (const auto& [tag, id] : app.functions) tags.push_back(tag);
    list.push_back({{"id", app.id.str()},
                    {"name", app.name},
                    {"description", app.description},
                    {"environment", app.environment},
                    {"state", nameOf(app.state)},
                    {"version", app.version},
                    {"created_at", momentJson(app.createdAt)},
                    {"deployed_at", momentJson(app.deployedAt)},
                    {"functions", tags}});
  }
  return {200, {{"apps", list}}};
}

AdminAnswer AdminApi::usage(const std::map<std::string, std::string>& query) {
  auto since = momentOf(query, "since"), until = momentOf(query, "until");
  if (!since.ok()) return adminErrorAnswer(since.error());
  if (!until.ok()) return adminErrorAnswer(until.error());
  if (auto flushed = parts_.meter.flush(); !flushed.ok()) return adminErrorAnswer(flushed.error());
  Time now = parts_.clock.now();
  UsageQuery wanted;
  wanted.since = *since;
  wanted.until = *until;
  auto records = parts_.store.usage(wanted);
  if (!records.ok()) return adminErrorAnswer(records.error());
  auto sums = parts_.meter.sum(since->value_or(Time{}), until->value_or(now), UsageBy::function);
  if (!sums.ok()) return adminErrorAnswer(sums.error());

  Names names(parts_.store);
  std::string app = valueOf(query, "app"), function = valueOf(query, "function");
  auto asked = [&](const AppId& a, const FunctionId& f) {
    return isAsked(app, a.str(), names.app(a)) && isAsked(function, f.str(), names.function(f, a));
  };
  json containers = json::array(), inputs = json::array(), totals = json::array();
  for (const auto& record : *records) {
    if (!asked(record.app, record.function)) continue;
    json row = usageJson(record, now);
    addNames(row, names, record.app, record.function);
    (record.kind == UsageKind::container ? containers : inputs).push_back(std::move(row));
  }
  for (const auto& sum : *sums) {
    if (!asked(sum.app, sum.function)) continue;
    json row = usageSumJson(sum);
    addNames(row, names, sum.app, sum.function);
    totals.push_back(std::move(row));
  }
  return {200,
          {{"since", momentJson(since->value_or(Time{}))},
           {"until", momentJson(until->value_or(now))},
           {"containers", containers},
           {"inputs", inputs},
           {"totals", totals}}};
}

AdminAnswer AdminApi::logs(const std::map<std::string, std::string>& query) {
  LogQuery wanted;
  wanted.app = AppId{valueOf(query, "app")};
  wanted.function = FunctionId{valueOf(query, "function")};
  wanted.instance = InstanceId{valueOf(query, "container")};
  wanted.limit = kMostLogLines;
  std::string after = valueOf(query, "after");
  std::from_chars(after.data(), after.data() + after.size(), wanted.after);
  auto entries = parts_.store.logs(wanted);
  if (!entries.ok()) return adminErrorAnswer(entries.error());
  json lines = json::array();
  for (const auto& entry : *entries) lines.push_back(logJson(entry));
  return {200, {{"lines", lines}}};
}

AdminAnswer AdminApi::signInLink() {
  if (!signInLink_) return notRunning();
  return {200, {{"url", parts_.url + signInLink_()}}};
}

Task<Result<std::string>> readBody(std::shared_ptr<net::Exchange> exchange, std::size_t most) {
  std::string body;
  while (true) {
    auto piece = co_await exchange->read();
    if (!piece.ok()) co_return piece.error();
    if (!piece->has_value()) co_return body;
    if (body.size() + (*piece)->size() > most)
      co_return makeError(Code::exhausted, "a request's body may have {} bytes", most);
    body += **piece;
  }
}

Result<json> readJson(const std::string& text) {
  if (text.empty()) return json(nullptr);
  json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return Error{Code::invalidArgument, "the body is not JSON"};
  return parsed;
}

namespace {

Task<void> serveAdmin(AdminApi& api, std::shared_ptr<net::Exchange> exchange) {
  auto target = parseTarget(exchange->head().target);
  auto text = co_await readBody(exchange, kMostBody);
  auto body = text.ok() ? readJson(*text) : Result<json>(text.error());
  AdminAnswer given;
  if (body.ok())
    given = api.answer({exchange->head().method, target.path, target.query, std::move(*body)});
  else
    given = adminErrorAnswer(body.error());
  net::Headers headers;
  headers.add("content-type", "application/json");
  std::string bytes = given.body.dump(-1, ' ', false, json::error_handler_t::replace);
  auto sent = co_await exchange->answer(given.status, std::move(headers), std::move(bytes));
  (void)sent;  // the command has gone: nothing to be done
}

}  // namespace

net::HttpHandler makeAdminHandler(AdminApi& api) {
  return [&api](std::shared_ptr<net::Exchange> exchange) { return serveAdmin(api, std::move(exchange)); };
}

}  // namespace gridiron::edge
