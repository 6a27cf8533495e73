#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/call.h"
#include "model/instance.h"
#include "model/log.h"
#include "model/usage.h"

namespace gridiron {

// A durable thing that the store keeps without looking into it: an app, a function, a secret, a volume, a token…
struct Object {
  std::string kind;  // "app", "function", "secret"
  std::string id;    // unique in its kind
  std::string workspace;
  std::string environment;
  std::string name;  // not "": at most one live object of (kind, workspace, environment) has it
  bool live = true;  // false: kept for history, its name is free
  Time createdAt{};
  std::string body;
  bool operator==(const Object&) const = default;
};

struct ObjectQuery {
  std::string kind;
  std::optional<std::string> workspace;
  std::optional<std::string> environment;
  std::optional<std::string> idPrefix;  // ids that begin so: children of "<parent>/"
  bool liveOnly = true;
  std::optional<Time> createdBefore;
  int limit = 0;  // 0: all
};

struct LogQuery {  // empty ids do not restrict
  AppId app;
  FunctionId function;
  InstanceId instance;
  CallId call;
  InputId input;
  ImageId image;
  LogSource source = LogSource::unspecified;
  std::optional<Time> since;                               // included
  std::optional<Time> until;                               // not included
  std::string text;                                        // entries that contain it
  std::int64_t after = 0;                                  // only sequences above it
  int limit = 0;                                           // 0: all
  enum class Keep { newest, oldest } keep = Keep::newest;  // which ones, when there are more than `limit`
};

struct LogBucket {
  Time start{};
  std::int64_t stdoutLines = 0, stderrLines = 0, systemLines = 0;
  bool operator==(const LogBucket&) const = default;
};

struct UsageQuery {
  AppId app;
  FunctionId function;
  std::optional<UsageKind> kind;
  std::optional<Time> since;                                  // ended (or not yet ended) at or after it
  std::optional<Time> until;                                  // started before it
  enum class Order { oldest, newest } order = Order::oldest;  // by when they started
  int limit = 0;                                              // 0: all
};

// A call with all that belongs to it; inputs by index, outputs by sequence.
struct StoredCall {
  Call call;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  bool operator==(const StoredCall&) const = default;
};

// Changes that are made all together or not at all, in the order they were added.
class Batch {
 public:
  struct EraseObject {
    std::string kind, id;
  };
  struct EraseCall {
    CallId call;
  };
  using Change =
      std::variant<Object, EraseObject, Call, Input, Output, EraseCall, Instance, UsageRecord, std::vector<LogEntry>>;

  Batch& put(Object object) { return add(std::move(object)); }  // inserts, or replaces the one of this kind and id
  Batch& erase(std::string kind, std::string id) { return add(EraseObject{std::move(kind), std::move(id)}); }
  Batch& put(Call call) { return add(std::move(call)); }
  Batch& put(Input input) { return add(std::move(input)); }  // the one of this call and index
  // Also settles the input of that call and index, which must be there and open: a second output of an input, or one in
  // a place that is taken, is alreadyExists.
  Batch& put(Output output) { return add(std::move(output)); }
  // Forgotten at once, with all that belongs to it; the room comes back by prune(). Its id may not be used again.
  Batch& eraseCall(CallId call) { return add(EraseCall{std::move(call)}); }
  Batch& put(Instance instance) { return add(std::move(instance)); }
  Batch& put(UsageRecord record) { return add(std::move(record)); }
  Batch& append(std::vector<LogEntry> entries) { return add(std::move(entries)); }  // sequences are given by the store

  const std::vector<Change>& changes() const { return changes_; }
  bool empty() const { return changes_.empty(); }
  std::vector<Change> take() && { return std::move(changes_); }

 private:
  Batch& add(Change change) {
    changes_.push_back(std::move(change));
    return *this;
  }
  std::vector<Change> changes_;
};

// How many changes of the store were made before a point in time.
using Mark = std::uint64_t;

// The durable facts. Control's thread only; calls block for a write to the disk's cache at most. A failure (disk full,
// damage) is an Error of code exhausted, unavailable or dataLoss, and has changed nothing.
//
// A change is seen by every read at once, and is on disk soon after: many share one sync, which begins within 20 ms, or
// at once when somebody waits. What the loss of power takes
// is always the newest changes, never one without those after it. So nobody outside may be told of a change before
// durable() has reached the mark that written() gave after it; whoever answers waits for that (edge/rpc/server does, in
// one place).
class Store {
 public:
  virtual ~Store() = default;

  // All of it, visible when it returns, and one more in written(). A name that is taken: alreadyExists, and nothing of
  // the batch is done. An empty batch is no change.
  virtual Result<void> apply(const Batch& batch) = 0;

  virtual Mark written() const = 0;  // since it was opened
  virtual Mark durable() const = 0;  // these are on disk; any thread
  // `advanced` is called after durable() has grown, on any thread, from then on: it may post, and must not block or
  // call the store. One at a time; an empty one ends it, and none runs any more when this returns.
  virtual void onDurable(std::function<void()> advanced) = 0;
  // Somebody waits until durable() has reached the mark, which written() has.
  virtual void hurry(Mark mark) = 0;
  // Blocks until everything written is on disk.
  virtual void flush() = 0;
  // How often the disk was asked, since it was opened.
  virtual std::uint64_t syncs() const = 0;

  virtual Result<std::optional<Object>> get(const std::string& kind, const std::string& id) = 0;
  // The live one of that name.
  virtual Result<std::optional<Object>> find(const std::string& kind, const std::string& workspace,
                                             const std::string& environment, const std::string& name) = 0;
  // Newest first.
  virtual Result<std::vector<Object>> list(const ObjectQuery& query) = 0;

  virtual Result<std::optional<StoredCall>> call(const CallId& id) = 0;
  // Calls that name the input as their parent, oldest first.
  virtual Result<std::vector<CallId>> callsBy(const InputId& parent) = 0;
  // Calls with an input that is not settled, oldest first.
  virtual Result<std::vector<CallId>> unfinishedCalls() = 0;

  // In order of time; with Keep::oldest in order of sequence, to go on after the last one.
  virtual Result<std::vector<LogEntry>> logs(const LogQuery& query) = 0;
  // Buckets aligned to `width` since the epoch, oldest first, empty ones left out. Limit and keep are ignored.
  virtual Result<std::vector<LogBucket>> countLogs(const LogQuery& query, Nanos width) = 0;

  virtual Result<std::optional<Instance>> instance(const InstanceId& id) = 0;
  // Newest first. Of every app when `app` is empty.
  virtual Result<std::vector<Instance>> instances(const AppId& app, bool liveOnly, int limit) = 0;
  virtual Result<std::vector<UsageRecord>> usage(const UsageQuery& query) = 0;

  // Forgets calls made before `calls` that are finished, and log entries from before `logs`, and gives back the room of
  // what was erased: some milliseconds of it. True: there is more, call it again.
  virtual Result<bool> prune(Time calls, Time logs) = 0;
};

// Keeps everything in memory: for tests, and for a grid that may forget. What is written counts as durable at once.
std::unique_ptr<Store> openMemoryStore();

// A memory store with a disk that obeys the test: a change is durable when sync() says so, and crash() forgets the
// others, as the loss of power does.
class CrashingStore : public Store {
 public:
  // The first `upTo` changes are durable (all that are written, if it is more).
  virtual void sync(Mark upTo) = 0;
  // Everything is as it was at durable(), which is then written() too.
  virtual void crash() = 0;
  // While it is full, changes are refused with `exhausted`.
  virtual void fill(bool full) = 0;
};
std::unique_ptr<CrashingStore> openCrashingStore();

// One SQLite file (with its -wal and -shm neighbours). Makes it and its directory, or brings an older one up to date; a
// file made by a newer Gridiron is refused. One process at a time.
Result<std::unique_ptr<Store>> openSqliteStore(const std::string& path);

}  // namespace gridiron
