#include "edge/rpc/logs.h"

#include <map>

#include "edge/rpc/patience.h"
#include "modal_proto/api.pb.h"
#include "wire/logs.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;

constexpr Nanos kLongestFollow = std::chrono::seconds(55);
constexpr Nanos kLookAgain = std::chrono::seconds(2);  // whether the app has ended
constexpr int kPage = 2000;
constexpr int kMostFetched = 20'000;
constexpr std::int64_t kMostBuckets = 100'000;

Time timeOf(const google::protobuf::Timestamp& at) {
  return Time{std::chrono::seconds(at.seconds()) + Nanos(at.nanos())};
}

// The app that a request is about, by its own id or by that of a container or call of it; notFound for other people's.
template <class Request>
Result<App> appFor(const LogParts& parts, const Caller& caller, const Request& in) {
  AppId id{in.app_id()};
  if (id.empty() && !in.task_id().empty()) {
    InstanceId task{in.task_id()};
    std::optional<Instance> instance = parts.calls.fleet.find(task);
    if (!instance) {
      ASSIGN_OR_RETURN(instance, parts.calls.store.instance(task));
    }
    if (instance) id = instance->app;
  }
  if (id.empty() && !in.function_call_id().empty()) {
    ASSIGN_OR_RETURN(CallInfo info, callFor(parts.calls, caller, CallId{in.function_call_id()}));
    id = info.call.app;
  }
  std::optional<App> app = parts.app(id);
  if (!app || app->workspace != caller.workspace)
    return makeError(Code::notFound, "App '{}' not found", id.empty() ? in.task_id() : id.str());
  return *app;
}

template <class Request>
LogQuery readQuery(const Request& in, const App& app, api::FileDescriptor source) {
  LogQuery query;
  query.app = app.id;
  query.function = FunctionId{in.parametrized_function_id().empty() ? in.function_id() : in.parametrized_function_id()};
  query.instance = InstanceId{in.task_id()};
  query.call = CallId{in.function_call_id()};
  query.source = static_cast<LogSource>(source);
  query.text = in.search_text();
  return query;
}

api::TaskState stateOf(InstanceState state) {
  switch (state) {
    case InstanceState::starting:
      return api::TASK_STATE_CREATING_CONTAINER;
    case InstanceState::gone:
      return api::TASK_STATE_COMPLETED;
    default:
      return api::TASK_STATE_ACTIVE;
  }
}

// What a follower has been told of the app's containers.
class States {
 public:
  // Batches for what changed since the last time.
  std::vector<api::TaskLogsBatch> changes(const Fleet& fleet, const AppId& app) {
    std::map<InstanceId, InstanceState> now;
    for (const Instance& instance : fleet.instances()) {
      if (instance.app == app) now[instance.id] = instance.state;
    }
    live_ = now.size();
    for (const auto& [id, state] : told_) now.try_emplace(id, InstanceState::gone);
    std::vector<api::TaskLogsBatch> batches;
    for (const auto& [id, state] : now) {
      auto told = told_.find(id);
      if (told != told_.end() && told->second == state) continue;
      api::TaskLogsBatch& batch = batches.emplace_back();
      batch.set_task_id(id.str());
      batch.add_items()->set_task_state(stateOf(state));
    }
    std::erase_if(now, [](const auto& entry) { return entry.second == InstanceState::gone; });
    told_ = std::move(now);
    return batches;
  }
  bool anyLive() const { return live_ > 0; }

 private:
  std::map<InstanceId, InstanceState> told_;
  std::size_t live_ = 0;
};

Task<net::GrpcStatus> writeAll(const std::vector<api::TaskLogsBatch>& batches,
                               StreamWriter<api::TaskLogsBatch>& writer) {
  for (const api::TaskLogsBatch& batch : batches) {
    Result<void> written = co_await writer.write(batch);
    if (!written.ok()) co_return net::GrpcStatus(written.error());
  }
  co_return net::GrpcStatus();
}

// The client that runs an app joins the builds themselves and passes over lines here that name an image. Whoever
// follows a deployed app is another process and would miss them: there they are lines like others.
std::vector<api::TaskLogsBatch> linesToFollow(const App& app, std::span<const LogEntry> entries) {
  std::vector<api::TaskLogsBatch> batches = wire::writeLogBatches(entries);
  if (app.state == AppState::ephemeral || app.state == AppState::detached) return batches;
  for (api::TaskLogsBatch& batch : batches) batch.clear_image_id();
  return batches;
}

Task<net::GrpcStatus> getLogs(LogParts parts, Context& context, api::AppGetLogsRequest in,
                              StreamWriter<api::TaskLogsBatch>& writer) {
  Result<App> app = appFor(parts, context.caller, in);
  if (!app.ok()) co_return app.error();
  LogQuery query = readQuery(in, *app, in.file_descriptor());
  query.input = InputId{in.input_id()};
  query.after = sequenceOf(in.last_entry_id());
  query.limit = kPage;
  query.keep = query.after == 0 ? LogQuery::Keep::newest : LogQuery::Keep::oldest;
  Nanos most = std::chrono::milliseconds(static_cast<std::int64_t>(std::max(0.0f, in.timeout()) * 1000));
  Patience patience(parts.calls.wakes, context.call, std::min(most, kLongestFollow));
  States states;
  for (;;) {
    (void)parts.hub.flush();
    std::optional<App> now = parts.app(app->id);
    const bool live = now && isLive(now->state);
    Result<std::vector<LogEntry>> entries = parts.calls.store.logs(query);
    if (!entries.ok()) co_return entries.error();
    std::vector<api::TaskLogsBatch> batches = states.changes(parts.calls.fleet, app->id);
    for (api::TaskLogsBatch& batch : linesToFollow(now.value_or(*app), *entries)) batches.push_back(std::move(batch));
    net::GrpcStatus written = co_await writeAll(batches, writer);
    if (written.code != Code::ok) co_return written;
    for (const LogEntry& entry : *entries) query.after = std::max(query.after, entry.sequence);
    query.keep = LogQuery::Keep::oldest;
    if (!entries->empty()) continue;
    if (!live && !states.anyLive()) {
      std::vector<api::TaskLogsBatch> end(1);
      end[0].set_app_done(true);
      end[0].set_entry_id(entryId(query.after));
      written = co_await writeAll(end, writer);
      co_return written;
    }
    if (patience.over()) co_return net::GrpcStatus();
    std::vector<Wake> wakes = {Wake::logs(app->id)};
    co_await patience.wait(std::move(wakes), kLookAgain);
  }
}

Result<api::AppFetchLogsResponse> fetchLogs(const LogParts& parts, Context& context, api::AppFetchLogsRequest in) {
  ASSIGN_OR_RETURN(App app, appFor(parts, context.caller, in));
  LogQuery query = readQuery(in, app, in.source());
  if (in.has_since()) query.since = timeOf(in.since());
  if (in.has_until()) query.until = timeOf(in.until());
  query.limit = in.limit() == 0 ? kMostFetched : static_cast<int>(std::min<std::uint32_t>(in.limit(), kMostFetched));
  (void)parts.hub.flush();
  ASSIGN_OR_RETURN(std::vector<LogEntry> entries, parts.calls.store.logs(query));
  api::AppFetchLogsResponse out;
  for (api::TaskLogsBatch& batch : wire::writeLogBatches(entries)) *out.add_batches() = std::move(batch);
  return out;
}

Result<api::AppCountLogsResponse> countLogs(const LogParts& parts, Context& context, api::AppCountLogsRequest in) {
  ASSIGN_OR_RETURN(App app, appFor(parts, context.caller, in));
  if (in.bucket_secs() == 0) return makeError(Code::invalidArgument, "bucket_secs is 0: it is the width of a bucket");
  LogQuery query = readQuery(in, app, in.source());
  if (in.has_since()) query.since = timeOf(in.since());
  query.until = in.has_until() ? timeOf(in.until()) : parts.calls.clock.now();
  const Nanos width = std::chrono::seconds(in.bucket_secs());
  if (query.since && (*query.until - *query.since) / width > kMostBuckets)
    return makeError(Code::invalidArgument, "{} s buckets are too many for this range", in.bucket_secs());
  (void)parts.hub.flush();
  ASSIGN_OR_RETURN(std::vector<LogBucket> buckets, parts.calls.store.countLogs(query, width));
  api::AppCountLogsResponse out;
  out.set_app_id(app.id.str());
  for (const LogBucket& bucket : buckets) {
    auto& item = *out.add_buckets();
    item.mutable_bucket_start_at()->set_seconds(toMillis(bucket.start) / 1000);
    item.set_stdout_logs(static_cast<std::uint64_t>(bucket.stdoutLines));
    item.set_stderr_logs(static_cast<std::uint64_t>(bucket.stderrLines));
    item.set_system_logs(static_cast<std::uint64_t>(bucket.systemLines));
  }
  return out;
}

}  // namespace

void registerLogs(RpcServer& server, LogParts parts) {
  server.serverStream<api::AppGetLogsRequest, api::TaskLogsBatch>(
      "AppGetLogs", {.awaitsDisk = false},
      [parts](Context& c, api::AppGetLogsRequest in, StreamWriter<api::TaskLogsBatch>& writer) {
        return getLogs(parts, c, std::move(in), writer);
      });
  server.unary<api::AppFetchLogsRequest, api::AppFetchLogsResponse>(
      "AppFetchLogs", {},
      [parts](Context& c, api::AppFetchLogsRequest in) { return fetchLogs(parts, c, std::move(in)); });
  server.unary<api::AppCountLogsRequest, api::AppCountLogsResponse>(
      "AppCountLogs", {},
      [parts](Context& c, api::AppCountLogsRequest in) { return countLogs(parts, c, std::move(in)); });
}

}  // namespace gridiron::edge
