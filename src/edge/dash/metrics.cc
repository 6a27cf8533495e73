#include "edge/dash/metrics.h"

#include <fmt/format.h>

#include "edge/dash/names.h"

namespace gridiron::edge {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

std::string labelsText(const Labels& labels) {
  std::string out;
  for (const auto& [name, value] : labels) {
    out += (out.empty() ? "{" : ",") + name + "=\"";
    for (const char c : value) {
      if (c == '\\' || c == '"') out += '\\';
      if (c == '\n') {
        out += "\\n";
      } else {
        out += c;
      }
    }
    out += '"';
  }
  return out.empty() ? out : out + "}";
}

class Text {
 public:
  void about(const std::string& name, const char* type, const char* help) {
    out_ += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
  }
  template <class Number>
  void put(const std::string& name, const Labels& labels, Number value) {
    out_ += fmt::format("{}{} {}\n", name, labelsText(labels), value);
  }
  std::string finish() { return std::move(out_); }

 private:
  std::string out_;
};

Labels with(Labels labels, std::string name, std::string value) {
  labels.emplace_back(std::move(name), std::move(value));
  return labels;
}

Labels labelsOf(const RequestBook::Name& name) {
  const auto& [environment, app, function] = name;
  return {{"environment", environment}, {"app", app}, {"function", function}};
}

void putRequests(const RequestBook& book, Text& text) {
  const auto& all = book.counts();
  text.about("gridiron_http_requests_total", "counter",
             "Requests to web functions, by the status they were answered with.");
  for (const auto& [name, counts] : all)
    for (const auto& [status, count] : counts.byStatus)
      text.put("gridiron_http_requests_total", with(labelsOf(name), "status", std::to_string(status)), count);
  text.about("gridiron_http_refused_total", "counter", "Those that did not reach their function, by why.");
  for (const auto& [name, counts] : all)
    for (const auto& [why, count] : counts.refused)
      text.put("gridiron_http_refused_total", with(labelsOf(name), "reason", why), count);
  text.about("gridiron_http_request_bytes_total", "counter", "Bytes of their bodies.");
  for (const auto& [name, counts] : all) text.put("gridiron_http_request_bytes_total", labelsOf(name), counts.bytesIn);
  text.about("gridiron_http_response_bytes_total", "counter", "Bytes of their answers' bodies.");
  for (const auto& [name, counts] : all)
    text.put("gridiron_http_response_bytes_total", labelsOf(name), counts.bytesOut);
  text.about("gridiron_http_request_seconds", "histogram", "From a request's head to the end of its answer.");
  for (const auto& [name, counts] : all) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < counts.took.size(); ++i) {
      sum += counts.took[i];
      const bool last = i == RequestCounts::kBounds.size();
      text.put("gridiron_http_request_seconds_bucket",
               with(labelsOf(name), "le", last ? "+Inf" : fmt::format("{}", RequestCounts::kBounds[i])), sum);
    }
    text.put("gridiron_http_request_seconds_sum", labelsOf(name), counts.seconds);
    text.put("gridiron_http_request_seconds_count", labelsOf(name), sum);
  }
}

void putFunctions(const AdminParts& parts, Text& text) {
  struct Row {
    Labels labels;
    FunctionStats stats;
    Fleet::AheadCounts ahead;
  };
  std::vector<Row> rows;
  for (const App& app : liveApps(parts.catalog))
    for (const auto& [tag, id] : app.functions)
      rows.push_back(
          {labelsOf({app.environment, nameOf(app), tag}), parts.fleet->stats(id), parts.fleet->aheadCounts(id)});
  const auto each = [&](const char* name, const char* help, auto value) {
    text.about(name, "gauge", help);
    for (const Row& row : rows) text.put(name, row.labels, value(row.stats));
  };
  each("gridiron_function_queued", "Inputs that wait.", [](const FunctionStats& s) { return s.backlog; });
  each("gridiron_function_running", "Inputs that run.", [](const FunctionStats& s) { return s.running; });
  each("gridiron_function_containers", "Containers that are ready.",
       [](const FunctionStats& s) { return s.containers; });
  const auto ahead = [&](const char* name, const char* help, auto value) {
    text.about(name, "counter", help);
    for (const Row& row : rows)
      if (row.ahead.started > 0) text.put(name, row.labels, value(row.ahead));
  };
  ahead("gridiron_ahead_starts_total", "Containers that were started before anything waited for them.",
        [](const Fleet::AheadCounts& c) { return c.started; });
  ahead("gridiron_ahead_hits_total", "Those that an input found.", [](const Fleet::AheadCounts& c) { return c.hits; });
  ahead("gridiron_ahead_unused_seconds_total", "Time of all of them before their first input.",
        [](const Fleet::AheadCounts& c) { return std::chrono::duration<double>(c.unused).count(); });
  each("gridiron_function_starting", "Containers that start.", [](const FunctionStats& s) { return s.starting; });
}

}  // namespace

std::string metricsText(const AdminParts& parts) {
  Text text;
  text.about("gridiron_info", "gauge", "The version that runs.");
  text.put("gridiron_info", {{"version", parts.version}}, 1);
  if (parts.book != nullptr) putRequests(*parts.book, text);
  if (parts.fleet != nullptr) {
    putFunctions(parts, text);
    std::map<std::string, int> states = {{"starting", 0}, {"ready", 0}, {"draining", 0}};
    for (const Instance& instance : parts.fleet->instances()) ++states[nameOf(instance.state)];
    text.about("gridiron_containers", "gauge", "Containers that live.");
    for (const auto& [state, count] : states) text.put("gridiron_containers", {{"state", state}}, count);
    text.about("gridiron_workers", "gauge", "Workers that are connected.");
    text.put("gridiron_workers", {}, parts.fleet->workers().size());
  }
  if (parts.connections) {
    text.about("gridiron_connections", "gauge", "Connections of the door.");
    text.put("gridiron_connections", {}, parts.connections());
  }
  if (parts.refusedConnections) {
    const net::RefusedConnections refused = parts.refusedConnections();
    text.about("gridiron_connections_refused_total", "counter",
               "Connections that were too many, in all or of a client.");
    text.put("gridiron_connections_refused_total", {{"reason", "full"}}, refused.full);
    text.put("gridiron_connections_refused_total", {{"reason", "client"}}, refused.ofAddress);
  }
  return text.finish();
}

}  // namespace gridiron::edge
