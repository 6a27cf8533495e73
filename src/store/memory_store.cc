#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <tuple>

#include "store/store.h"

namespace gridiron {
namespace {

template <class Tag>
bool fits(const Id<Tag>& wanted, const Id<Tag>& is) {
  return wanted.empty() || wanted == is;
}

bool fits(const LogQuery& q, const LogEntry& e) {
  return fits(q.app, e.app) && fits(q.function, e.function) && fits(q.instance, e.instance) && fits(q.call, e.call) &&
         fits(q.input, e.input) && fits(q.image, e.image) &&
         (q.source == LogSource::unspecified || q.source == e.source) && (!q.since || e.at >= *q.since) &&
         (!q.until || e.at < *q.until) && (q.text.empty() || e.text.find(q.text) != std::string::npos) &&
         e.sequence > q.after;
}

bool earlier(const LogEntry& a, const LogEntry& b) { return std::tie(a.at, a.sequence) < std::tie(b.at, b.sequence); }

bool fits(const UsageQuery& q, const UsageRecord& r) {
  return fits(q.app, r.app) && fits(q.function, r.function) && (!q.kind || *q.kind == r.kind) &&
         (!q.since || r.endedAt == Time{} || r.endedAt >= *q.since) && (!q.until || r.startedAt < *q.until);
}

struct KeptCall {
  Call call;
  std::map<int, Input> inputs;  // by index
  std::map<std::int64_t, Output> outputs;

  bool unsettled() const {
    return std::any_of(inputs.begin(), inputs.end(),
                       [](const auto& input) { return input.second.state != InputState::settled; });
  }
};

// What the store holds.
struct Facts {
  struct Kept {
    Object object;
    std::int64_t order;
  };
  std::map<std::pair<std::string, std::string>, Kept> objects;
  std::map<CallId, KeptCall> calls;
  std::map<InstanceId, Instance> instances;
  std::map<std::string, UsageRecord> usage;
  std::vector<LogEntry> logs;
  std::int64_t sequence = 0;
  std::int64_t order = 0;
};

using Undo = std::vector<std::function<void()>>;  // run from the last to the first

// Every change leaves behind how it is undone, until nothing can want that any more.
class MemoryStore final : public CrashingStore {
 public:
  explicit MemoryStore(bool durableAtOnce) : durableAtOnce_(durableAtOnce) {}

  Result<void> apply(const Batch& batch) override {
    if (batch.empty()) return {};
    if (full_) return Error{Code::exhausted, "store: the disk is full"};
    Undo undo;
    for (const auto& change : batch.changes()) {
      auto made = std::visit([&](const auto& c) { return make(c, undo); }, change);
      if (made.ok()) continue;
      goBack(undo);
      return made;
    }
    noteWritten(std::move(undo));
    return {};
  }

  Mark written() const override { return written_; }
  Mark durable() const override { return durable_; }
  void onDurable(std::function<void()> advanced) override { advanced_ = std::move(advanced); }
  void hurry(Mark) override {}
  void flush() override { sync(written_); }
  std::uint64_t syncs() const override { return syncs_; }

  void sync(Mark upTo) override {
    ++syncs_;
    upTo = std::min(upTo, written_);
    if (upTo <= durable_) return;
    for (; durable_ < upTo; ++durable_) undo_.pop_front();
    if (advanced_) advanced_();
  }
  void crash() override {
    for (; written_ > durable_; --written_) {
      goBack(undo_.back());
      undo_.pop_back();
    }
  }
  void fill(bool full) override { full_ = full; }

  Result<std::optional<Object>> get(const std::string& kind, const std::string& id) override {
    const auto it = facts_.objects.find({kind, id});
    if (it == facts_.objects.end()) return std::optional<Object>{};
    return std::optional<Object>(it->second.object);
  }

  Result<std::optional<Object>> find(const std::string& kind, const std::string& workspace,
                                     const std::string& environment, const std::string& name) override {
    if (name.empty()) return std::optional<Object>{};
    for (const auto& [key, kept] : facts_.objects) {
      const auto& o = kept.object;
      if (o.live && o.kind == kind && o.workspace == workspace && o.environment == environment && o.name == name) {
        return std::optional<Object>(o);
      }
    }
    return std::optional<Object>{};
  }

  Result<std::vector<Object>> list(const ObjectQuery& q) override {
    std::vector<Facts::Kept> found;
    for (const auto& [key, kept] : facts_.objects) {
      const auto& o = kept.object;
      if (o.kind == q.kind && (!q.workspace || o.workspace == *q.workspace) &&
          (!q.environment || o.environment == *q.environment) && (!q.idPrefix || o.id.starts_with(*q.idPrefix)) &&
          (!q.liveOnly || o.live) && (!q.createdBefore || o.createdAt < *q.createdBefore)) {
        found.push_back(kept);
      }
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
      return std::tie(a.object.createdAt, a.order) > std::tie(b.object.createdAt, b.order);
    });
    if (q.limit > 0 && found.size() > static_cast<std::size_t>(q.limit))
      found.resize(static_cast<std::size_t>(q.limit));
    std::vector<Object> objects;
    for (auto& kept : found) objects.push_back(std::move(kept.object));
    return objects;
  }

  Result<std::optional<StoredCall>> call(const CallId& id) override {
    const auto it = facts_.calls.find(id);
    if (it == facts_.calls.end()) return std::optional<StoredCall>{};
    StoredCall stored{it->second.call, {}, {}};
    for (const auto& [index, input] : it->second.inputs) stored.inputs.push_back(input);
    for (const auto& [sequence, output] : it->second.outputs) stored.outputs.push_back(output);
    return std::optional<StoredCall>(std::move(stored));
  }

  Result<std::vector<CallId>> callsBy(const InputId& parent) override {
    std::vector<const Call*> calls;
    for (const auto& [id, kept] : facts_.calls) {
      if (!parent.empty() && kept.call.parent == parent) calls.push_back(&kept.call);
    }
    std::stable_sort(calls.begin(), calls.end(), [](auto* a, auto* b) { return a->createdAt < b->createdAt; });
    std::vector<CallId> ids;
    for (const Call* call : calls) ids.push_back(call->id);
    return ids;
  }

  Result<std::vector<CallId>> unfinishedCalls() override {
    std::vector<const KeptCall*> calls;
    for (const auto& [id, kept] : facts_.calls) {
      if (kept.unsettled()) calls.push_back(&kept);
    }
    std::stable_sort(calls.begin(), calls.end(),
                     [](const auto* a, const auto* b) { return a->call.createdAt < b->call.createdAt; });
    std::vector<CallId> ids;
    for (const auto* kept : calls) ids.push_back(kept->call.id);
    return ids;
  }

  Result<std::vector<LogEntry>> logs(const LogQuery& q) override {
    std::vector<LogEntry> entries;
    for (const auto& e : facts_.logs) {
      if (fits(q, e)) entries.push_back(e);
    }
    const bool newest = q.keep == LogQuery::Keep::newest;
    if (newest) std::sort(entries.begin(), entries.end(), earlier);
    const auto limit = static_cast<std::ptrdiff_t>(q.limit);
    if (limit > 0 && std::ssize(entries) > limit) {
      if (newest) {
        entries.erase(entries.begin(), entries.end() - limit);
      } else {
        entries.resize(static_cast<std::size_t>(limit));
      }
    }
    return entries;
  }

  Result<std::vector<LogBucket>> countLogs(const LogQuery& q, Nanos width) override {
    if (width.count() <= 0) return makeError(Code::invalidArgument, "log buckets of {} ns", width.count());
    std::map<Time, LogBucket> buckets;
    for (const auto& e : facts_.logs) {
      if (!fits(q, e)) continue;
      const Time start{Nanos(e.at.time_since_epoch().count() / width.count() * width.count())};
      auto& bucket = buckets[start];
      bucket.start = start;
      bucket.stdoutLines += e.source == LogSource::stdoutLine;
      bucket.stderrLines += e.source == LogSource::stderrLine;
      bucket.systemLines += e.source == LogSource::system;
    }
    std::vector<LogBucket> list;
    for (const auto& [start, bucket] : buckets) list.push_back(bucket);
    return list;
  }

  Result<std::optional<Instance>> instance(const InstanceId& id) override {
    const auto it = facts_.instances.find(id);
    return it == facts_.instances.end() ? std::optional<Instance>{} : std::optional<Instance>(it->second);
  }

  Result<std::vector<Instance>> instances(const AppId& app, bool liveOnly, int limit) override {
    std::vector<Instance> found;
    for (const auto& [id, i] : facts_.instances) {
      if (fits(app, i.app) && (!liveOnly || i.state != InstanceState::gone)) found.push_back(i);
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.wantedAt > b.wantedAt; });
    if (limit > 0 && std::ssize(found) > limit) found.resize(static_cast<std::size_t>(limit));
    return found;
  }

  Result<std::vector<UsageRecord>> usage(const UsageQuery& q) override {
    std::vector<UsageRecord> records;
    for (const auto& [id, record] : facts_.usage) {
      if (fits(q, record)) records.push_back(record);
    }
    std::stable_sort(records.begin(), records.end(),
                     [](const auto& a, const auto& b) { return a.startedAt < b.startedAt; });
    if (q.order == UsageQuery::Order::newest) std::reverse(records.begin(), records.end());
    if (q.limit > 0 && std::ssize(records) > q.limit) records.resize(static_cast<std::size_t>(q.limit));
    return records;
  }

  Result<bool> prune(Time calls, Time logs) override {
    if (full_) return Error{Code::exhausted, "store: the disk is full"};
    std::vector<CallId> old;
    for (const auto& [id, kept] : facts_.calls) {
      if (kept.call.createdAt < calls && !kept.unsettled()) old.push_back(id);
    }
    Undo undo;
    for (const auto& id : old) RETURN_IF_ERROR(make(Batch::EraseCall{id}, undo));
    keep(facts_.logs, undo);
    std::erase_if(facts_.logs, [&](const LogEntry& e) { return e.at < logs; });
    noteWritten(std::move(undo));
    return false;
  }

 private:
  void noteWritten(Undo undo) {
    ++written_;
    if (durableAtOnce_) {
      durable_ = written_;
      if (advanced_) advanced_();
    } else {
      undo_.push_back(std::move(undo));
    }
  }

  static void goBack(Undo& undo) {
    for (auto step = undo.rbegin(); step != undo.rend(); ++step) (*step)();
    undo.clear();
  }
  template <class T>
  static void keep(T& place, Undo& undo) {
    undo.push_back([&place, before = place] { place = before; });
  }
  // The same for one entry of a map, which may not be there.
  template <class Map>
  static void keepEntry(Map& map, const typename Map::key_type& key, Undo& undo) {
    const auto it = map.find(key);
    if (it == map.end()) {
      undo.push_back([&map, key] { map.erase(key); });
    } else {
      undo.push_back([&map, key, before = it->second] { map.insert_or_assign(key, before); });
    }
  }

  Result<void> make(const Object& o, Undo& undo) {
    const auto key = std::pair(o.kind, o.id);
    if (o.live && !o.name.empty()) {
      const auto named = find(o.kind, o.workspace, o.environment, o.name);
      if (named.ok() && *named && (*named)->id != o.id) {
        return makeError(Code::alreadyExists, "{} '{}' already exists in environment '{}'", o.kind, o.name,
                         o.environment);
      }
    }
    keepEntry(facts_.objects, key, undo);
    const auto it = facts_.objects.find(key);
    if (it == facts_.objects.end()) {
      facts_.objects.emplace(key, Facts::Kept{o, ++facts_.order});
    } else {
      it->second.object = o;
    }
    return {};
  }
  Result<void> make(const Batch::EraseObject& e, Undo& undo) {
    keepEntry(facts_.objects, {e.kind, e.id}, undo);
    facts_.objects.erase({e.kind, e.id});
    return {};
  }
  Result<void> make(const Call& c, Undo& undo) {
    const auto it = facts_.calls.find(c.id);
    if (it == facts_.calls.end()) {
      keepEntry(facts_.calls, c.id, undo);
    } else {
      undo.push_back([this, before = it->second.call] { facts_.calls[before.id].call = before; });
    }
    facts_.calls[c.id].call = c;
    return {};
  }
  Result<void> make(const Input& i, Undo& undo) {
    if (!facts_.calls.contains(i.call)) keepEntry(facts_.calls, i.call, undo);
    auto& inputs = facts_.calls[i.call].inputs;
    const auto same = inputs.find(i.index);
    if (same != inputs.end()) {
      undo.push_back([this, before = same->second] { inputOf(before.call, before.index) = before; });
    } else {
      undo.push_back([this, call = i.call, index = i.index] { facts_.calls[call].inputs.erase(index); });
    }
    inputs[i.index] = i;
    return {};
  }
  Result<void> make(const Output& o, Undo& undo) {
    const auto call = facts_.calls.find(o.call);
    const auto known =
        call == facts_.calls.end() ? std::map<int, Input>::iterator{} : call->second.inputs.find(o.index);
    const bool open = call != facts_.calls.end() && known != call->second.inputs.end() &&
                      known->second.state != InputState::settled && !call->second.outputs.contains(o.sequence);
    if (!open) {
      return makeError(Code::alreadyExists, "store: output {} of {} is there", o.sequence, o.call.value);
    }
    undo.push_back([this, id = o.call, index = o.index, sequence = o.sequence, state = known->second.state] {
      facts_.calls[id].outputs.erase(sequence);
      inputOf(id, index).state = state;
    });
    call->second.outputs.emplace(o.sequence, o);
    known->second.state = InputState::settled;
    return {};
  }
  Input& inputOf(const CallId& call, int index) { return facts_.calls.at(call).inputs.at(index); }
  Result<void> make(const Batch::EraseCall& e, Undo& undo) {
    keepEntry(facts_.calls, e.call, undo);
    facts_.calls.erase(e.call);
    return {};
  }
  Result<void> make(const Instance& i, Undo& undo) {
    keepEntry(facts_.instances, i.id, undo);
    facts_.instances[i.id] = i;
    return {};
  }
  Result<void> make(const UsageRecord& u, Undo& undo) {
    keepEntry(facts_.usage, u.id, undo);
    facts_.usage[u.id] = u;
    return {};
  }
  Result<void> make(const std::vector<LogEntry>& entries, Undo& undo) {
    undo.push_back([this, before = facts_.logs.size()] { facts_.logs.resize(before); });
    for (auto entry : entries) {
      entry.sequence = ++facts_.sequence;
      facts_.logs.push_back(std::move(entry));
    }
    return {};
  }

  const bool durableAtOnce_;
  Facts facts_;
  Mark written_ = 0, durable_ = 0;
  std::uint64_t syncs_ = 0;
  std::deque<Undo> undo_;  // of the changes that are not durable, oldest first
  bool full_ = false;
  std::function<void()> advanced_;
};

}  // namespace

std::unique_ptr<Store> openMemoryStore() { return std::make_unique<MemoryStore>(true); }
std::unique_ptr<CrashingStore> openCrashingStore() { return std::make_unique<MemoryStore>(false); }

}  // namespace gridiron
