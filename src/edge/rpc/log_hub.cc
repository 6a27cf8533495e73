#include <algorithm>
#include <deque>
#include <set>
#include <unordered_map>

#include "edge/rpc/logs.h"
#include "wire/pickle.h"

namespace gridiron::edge {

namespace {
constexpr Nanos kGather = std::chrono::milliseconds(15);
constexpr std::size_t kMostKept = 64 * 1024;
constexpr std::size_t kMostRuns = 256;
constexpr Nanos kAfterwards = std::chrono::seconds(2);

// What ran in one container and when, the last few hundred. A line may come here after its input has ended: the worker
// tells of lines and the container of its outputs, each by a way of its own.
class Runs {
 public:
  void start(const Input& input) {
    runs_.push_back({input.id, input.call, input.startedAt, {}});
    if (runs_.size() > kMostRuns) runs_.pop_front();
  }
  void end(const InputId& id, Time at) {
    const auto run = std::find_if(runs_.rbegin(), runs_.rend(), [&](const Run& r) { return r.input == id; });
    if (run != runs_.rend() && run->endedAt == Time{}) run->endedAt = at;
  }
  // Gives a line of that time its input: the only one that ran then, or the last that had ended just before.
  void own(LogEntry& entry) const {
    const Run* owner = nullptr;
    const Run* before = nullptr;
    for (const Run& run : runs_) {
      if (run.startedAt > entry.at) continue;
      if (run.endedAt != Time{} && run.endedAt < entry.at) {
        if (entry.at < run.endedAt + kAfterwards) before = &run;
        continue;
      }
      if (owner != nullptr) return;
      owner = &run;
    }
    if (owner == nullptr) owner = before;
    if (owner == nullptr) return;
    entry.input = owner->input;
    entry.call = owner->call;
  }

 private:
  struct Run {
    InputId input;
    CallId call;
    Time startedAt{};
    Time endedAt{};
  };
  std::deque<Run> runs_;
};
}  // namespace

struct LogHub::State {
  asio::io_context& io;
  Store& store;
  const Calls& calls;
  const Fleet& fleet;
  Wakes& wakes;
  const Clock& clock;
  std::vector<LogEntry> pending;
  std::unordered_map<ImageId, AppId> builds;
  std::unordered_map<InstanceId, ImageId> builders;
  std::unordered_map<InstanceId, Runs> runs;
  bool flushing = false;  // a flush is on its way
  bool closed = false;

  void complete(LogEntry& entry) const {
    entry.text = wire::toValidUtf8(entry.text);
    if (entry.at == Time{}) entry.at = clock.now();
    if (const auto builder = builders.find(entry.instance); builder != builders.end()) entry.image = builder->second;
    auto build = builds.find(entry.image);
    if (build != builds.end() && entry.app.empty()) entry.app = build->second;
    if (entry.instance.empty()) return;
    if (std::optional<Instance> instance = fleet.find(entry.instance)) {
      if (entry.app.empty()) entry.app = instance->app;
      if (entry.function.empty()) entry.function = instance->function;
    }
    if (!entry.input.empty()) return;
    if (const auto its = runs.find(entry.instance); its != runs.end()) its->second.own(entry);
    if (!entry.input.empty()) return;
    if (std::optional<Input> input = calls.currentInput(entry.instance)) {  // it began before control did
      entry.input = input->id;
      entry.call = input->call;
    }
  }

  Result<void> flush() {
    if (pending.empty()) return {};
    std::set<AppId> apps;
    std::set<ImageId> images;
    for (const LogEntry& entry : pending) apps.insert(entry.app);
    for (const LogEntry& entry : pending) images.insert(entry.image);
    Batch batch;
    batch.append(pending);
    Result<void> written = store.apply(batch);
    if (!written.ok()) {
      if (pending.size() > kMostKept) pending.erase(pending.begin(), pending.end() - kMostKept);
      return written;
    }
    pending.clear();
    for (const AppId& app : apps) wakes.ring(Wake::logs(app));
    for (const ImageId& image : images) wakes.ring(Wake::logs(image));
    return {};
  }
};

namespace {
template <class State>
Task<void> flushSoon(std::shared_ptr<State> state) {
  co_await sleepFor(state->io, kGather);
  state->flushing = false;
  if (!state->closed) (void)state->flush();
}
}  // namespace

LogHub::LogHub(asio::io_context& io, Store& store, const Calls& calls, const Fleet& fleet, Wakes& wakes,
               const Clock& clock)
    : state_(std::make_shared<State>(State{io, store, calls, fleet, wakes, clock, {}, {}, {}, {}, false, false})) {}

LogHub::~LogHub() {
  (void)state_->flush();
  state_->closed = true;
}

void LogHub::append(std::vector<LogEntry> entries) {
  for (LogEntry& entry : entries) {
    state_->complete(entry);
    state_->pending.push_back(std::move(entry));
  }
  if (state_->flushing || state_->pending.empty()) return;
  state_->flushing = true;
  spawn(state_->io, flushSoon(state_));
}

void LogHub::append(const link::LogLines& lines) {
  std::vector<LogEntry> entries;
  for (const link::LogLine& line : lines.lines()) {
    LogEntry entry;
    entry.at = Time{Nanos(line.at_unix_nanos())};
    entry.source = line.file_descriptor() >= 1 && line.file_descriptor() <= 3
                       ? static_cast<LogSource>(line.file_descriptor())
                       : LogSource::system;
    entry.text = line.data();
    entry.instance = InstanceId{lines.task_id()};
    entry.image = ImageId{lines.image_id()};
    entries.push_back(std::move(entry));
  }
  append(std::move(entries));
}

void LogHub::buildingFor(const ImageId& image, const AppId& app) { state_->builds[image] = app; }

void LogHub::buildingIn(const InstanceId& instance, const ImageId& image) {
  if (image.empty()) {
    state_->builders.erase(instance);
  } else {
    state_->builders[instance] = image;
  }
}

Result<void> LogHub::flush() { return state_->flush(); }

void LogHub::note(const Function& function, const std::string& text) {
  LogEntry entry;
  entry.source = LogSource::system;
  entry.text = text + "\n";
  entry.app = function.app;
  entry.function = function.id;
  std::vector<LogEntry> entries;
  entries.push_back(std::move(entry));
  append(std::move(entries));
}

void LogHub::inputStarted(const Input& input) { state_->runs[input.instance].start(input); }

void LogHub::inputEnded(const Input& input, const Outcome&, bool) {
  const auto its = state_->runs.find(input.instance);
  if (its != state_->runs.end()) its->second.end(input.id, state_->clock.now());
}

void LogHub::instanceChanged(const Instance& instance) {
  if (instance.state == InstanceState::gone) state_->runs.erase(instance.id);
}

void LogHub::notice(const Instance& instance, const std::string& text) {
  LogEntry entry;
  entry.source = LogSource::system;
  entry.text = text.ends_with('\n') ? text : text + "\n";
  entry.app = instance.app;
  entry.function = instance.function;
  entry.instance = instance.id;
  std::vector<LogEntry> entries;
  entries.push_back(std::move(entry));
  append(std::move(entries));
}

}  // namespace gridiron::edge
