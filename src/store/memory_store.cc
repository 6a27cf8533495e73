#include <algorithm>
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

// All facts, as one value: a batch is made on what it touches and rolled back by putting the old parts back.
struct Facts {
  struct Kept {
    Object object;
    std::int64_t order;
  };
  std::map<std::pair<std::string, std::string>, Kept> objects;
  std::map<CallId, StoredCall> calls;
  std::map<InstanceId, Instance> instances;
  std::map<std::string, UsageRecord> usage;
  std::vector<LogEntry> logs;
  std::int64_t sequence = 0;
  std::int64_t order = 0;
};

class MemoryStore final : public Store {
 public:
  Result<void> apply(const Batch& batch) override {
    // Only these kinds of change can fail, so only for them is the state kept to go back to.
    const bool mayFail = std::any_of(batch.changes().begin(), batch.changes().end(), [](const auto& change) {
      return std::holds_alternative<Object>(change) || std::holds_alternative<Output>(change);
    });
    const auto before = mayFail && batch.changes().size() > 1 ? std::optional<Facts>(facts_) : std::nullopt;
    for (const auto& change : batch.changes()) {
      auto made = std::visit([this](const auto& c) { return make(c); }, change);
      if (made.ok()) continue;
      if (before) facts_ = *before;
      return made;
    }
    return {};
  }

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
    return std::optional<StoredCall>(it->second);
  }

  Result<std::vector<StoredCall>> unfinishedCalls() override {
    std::vector<StoredCall> calls;
    for (const auto& [id, stored] : facts_.calls) {
      if (unsettled(stored)) calls.push_back(stored);
    }
    std::stable_sort(calls.begin(), calls.end(),
                     [](const auto& a, const auto& b) { return a.call.createdAt < b.call.createdAt; });
    return calls;
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
    return records;
  }

  Result<void> prune(Time calls, Time logs) override {
    std::vector<CallId> old;
    for (const auto& [id, stored] : facts_.calls) {
      if (stored.call.createdAt < calls && !unsettled(stored)) old.push_back(id);
    }
    for (const auto& id : old) RETURN_IF_ERROR(make(Batch::EraseCall{id}));
    std::erase_if(facts_.logs, [&](const LogEntry& e) { return e.at < logs; });
    return {};
  }

 private:
  static bool unsettled(const StoredCall& stored) {
    return std::any_of(stored.inputs.begin(), stored.inputs.end(),
                       [](const Input& i) { return i.state != InputState::settled; });
  }

  Result<void> make(const Object& o) {
    const auto key = std::pair(o.kind, o.id);
    if (o.live && !o.name.empty()) {
      const auto named = find(o.kind, o.workspace, o.environment, o.name);
      if (named.ok() && *named && (*named)->id != o.id) {
        return makeError(Code::alreadyExists, "{} '{}' already exists in environment '{}'", o.kind, o.name,
                         o.environment);
      }
    }
    const auto it = facts_.objects.find(key);
    if (it == facts_.objects.end()) {
      facts_.objects.emplace(key, Facts::Kept{o, ++facts_.order});
    } else {
      it->second.object = o;
    }
    return {};
  }
  Result<void> make(const Batch::EraseObject& e) {
    facts_.objects.erase({e.kind, e.id});
    return {};
  }
  Result<void> make(const Call& c) {
    facts_.calls[c.id].call = c;
    return {};
  }
  Result<void> make(const Input& i) {
    auto& inputs = facts_.calls[i.call].inputs;
    const auto same = std::find_if(inputs.begin(), inputs.end(), [&](const Input& x) { return x.id == i.id; });
    if (same != inputs.end()) {
      *same = i;
    } else {
      inputs.insert(std::upper_bound(inputs.begin(), inputs.end(), i,
                                     [](const Input& a, const Input& b) { return a.index < b.index; }),
                    i);
    }
    return {};
  }
  Result<void> make(const Output& o) {
    auto& stored = facts_.calls[o.call];
    for (const auto& other : stored.outputs) {
      if (other.sequence == o.sequence || other.input == o.input) {
        return makeError(Code::alreadyExists, "store: output {} of {} is there", o.sequence, o.call.value);
      }
    }
    stored.outputs.insert(std::upper_bound(stored.outputs.begin(), stored.outputs.end(), o,
                                           [](const Output& a, const Output& b) { return a.sequence < b.sequence; }),
                          o);
    for (auto& i : stored.inputs) {
      if (i.id == o.input) i.state = InputState::settled;
    }
    return {};
  }
  Result<void> make(const Batch::EraseCall& e) {
    facts_.calls.erase(e.call);
    return {};
  }
  Result<void> make(const Instance& i) {
    facts_.instances[i.id] = i;
    return {};
  }
  Result<void> make(const UsageRecord& u) {
    facts_.usage[u.id] = u;
    return {};
  }
  Result<void> make(const std::vector<LogEntry>& entries) {
    for (auto entry : entries) {
      entry.sequence = ++facts_.sequence;
      facts_.logs.push_back(std::move(entry));
    }
    return {};
  }

  Facts facts_;
};

}  // namespace

std::unique_ptr<Store> openMemoryStore() { return std::make_unique<MemoryStore>(); }

}  // namespace gridiron
