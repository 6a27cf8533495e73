#include <fcntl.h>

#include <algorithm>
#include <filesystem>

#include "base/fd.h"
#include "model/codec.h"
#include "store/checkpointer.h"
#include "store/migrations.h"
#include "store/sqlite_db.h"
#include "store/store.h"
#include "store/syncer.h"

namespace gridiron {
namespace {

std::int64_t nanos(Time t) { return t.time_since_epoch().count(); }
Time fromNanos(std::int64_t n) { return Time{Nanos(n)}; }

// A WHERE clause that grows with its values.
class Where {
 public:
  void add(const std::string& condition, std::string value) {
    sql_ += (sql_.empty() ? " WHERE " : " AND ") + condition;
    values_.emplace_back(std::move(value));
  }
  void add(const std::string& condition, std::int64_t value) {
    sql_ += (sql_.empty() ? " WHERE " : " AND ") + condition;
    values_.emplace_back(value);
  }
  template <class Tag>
  void addId(const std::string& column, const Id<Tag>& id) {
    // The second condition lets SQLite use the partial index of the column.
    if (!id.empty()) add(column + " <> '' AND " + column + " = ?", id.value);
  }
  const std::string& sql() const { return sql_; }
  void bindTo(Statement& statement) const {
    for (const auto& value : values_) {
      if (const auto* text = std::get_if<std::string>(&value)) {
        statement.bind(*text);
      } else {
        statement.bind(std::get<std::int64_t>(value));
      }
    }
  }

 private:
  std::string sql_;
  std::vector<std::variant<std::string, std::int64_t>> values_;
};

Where whereOf(const LogQuery& q) {
  Where where;
  where.addId("app", q.app);
  where.addId("function", q.function);
  where.addId("instance", q.instance);
  where.addId("call", q.call);
  where.addId("input", q.input);
  where.addId("image", q.image);
  if (q.source != LogSource::unspecified) where.add("source = ?", static_cast<std::int64_t>(q.source));
  if (q.since) where.add("at >= ?", nanos(*q.since));
  if (q.until) where.add("at < ?", nanos(*q.until));
  if (!q.text.empty()) where.add("instr(text, ?) > 0", q.text);
  if (q.after > 0) where.add("sequence > ?", q.after);
  return where;
}

constexpr std::int64_t kSlice = 1000;  // rows of a table that prune() deletes at most

constexpr const char* kObjectColumns =
    "SELECT kind, id, workspace, environment, name, live, created, body FROM objects";

Object readObject(const Statement& row) {
  return Object{
      row.text(0), row.text(1), row.text(2), row.text(3), row.text(4), row.number(5) != 0, fromNanos(row.number(6)),
      row.text(7)};
}

class SqliteStore final : public Store {
 public:
  SqliteStore(std::unique_ptr<Database> db, std::unique_ptr<Database> copier, Fd log)
      : db_(std::move(db)), checkpointer_(std::move(copier), {}), syncer_(std::move(log)) {
    db_->onCommit([this](int pages) { checkpointer_.wrote(pages); });
  }

  Result<void> apply(const Batch& batch) override {
    if (batch.empty()) return {};
    const std::lock_guard writing(checkpointer_.writing());
    ASSIGN_OR_RETURN(auto transaction, Transaction::begin(*db_));
    for (const auto& change : batch.changes()) {
      RETURN_IF_ERROR(std::visit([this](const auto& c) { return make(c); }, change));
    }
    return commit(transaction);
  }

  Mark written() const override { return written_; }
  Mark durable() const override { return syncer_.durable(); }
  void onDurable(std::function<void()> advanced) override { syncer_.onDurable(std::move(advanced)); }
  void hurry(Mark mark) override { syncer_.hurry(mark); }
  void flush() override { syncer_.wait(written_); }
  std::uint64_t syncs() const override { return syncer_.syncs(); }

  Result<std::optional<Object>> get(const std::string& kind, const std::string& id) override {
    ASSIGN_OR_RETURN(auto row, db_->prepare(std::string(kObjectColumns) + " WHERE kind = ? AND id = ?"));
    row.bind(kind).bind(id);
    return oneObject(row);
  }

  Result<std::optional<Object>> find(const std::string& kind, const std::string& workspace,
                                     const std::string& environment, const std::string& name) override {
    if (name.empty()) return std::optional<Object>{};
    ASSIGN_OR_RETURN(auto row, db_->prepare(std::string(kObjectColumns) +
                                            " WHERE kind = ? AND workspace = ? AND environment = ? AND name = ?"
                                            " AND live = 1 AND name <> ''"));
    row.bind(kind).bind(workspace).bind(environment).bind(name);
    return oneObject(row);
  }

  Result<std::vector<Object>> list(const ObjectQuery& q) override {
    Where where;
    where.add("kind = ?", q.kind);
    if (q.workspace) where.add("workspace = ?", *q.workspace);
    if (q.environment) where.add("environment = ?", *q.environment);
    if (q.idPrefix) {
      where.add("id >= ?", *q.idPrefix);
      where.add("id < ? || char(1114111)", *q.idPrefix);
    }
    if (q.liveOnly) where.add("live = ?", std::int64_t{1});
    if (q.createdBefore) where.add("created < ?", nanos(*q.createdBefore));
    auto sql = std::string(kObjectColumns) + where.sql() + " ORDER BY created DESC, rowid DESC LIMIT ?";
    ASSIGN_OR_RETURN(auto row, db_->prepare(sql));
    where.bindTo(row);
    row.bind(std::int64_t{q.limit > 0 ? q.limit : -1});
    std::vector<Object> objects;
    for (;;) {
      ASSIGN_OR_RETURN(bool more, row.step());
      if (!more) return objects;
      objects.push_back(readObject(row));
    }
  }

  Result<std::optional<StoredCall>> call(const CallId& id) override {
    StoredCall stored;
    {
      ASSIGN_OR_RETURN(auto row, db_->prepare("SELECT body FROM calls WHERE id = ?"));
      row.bind(id.value);
      ASSIGN_OR_RETURN(bool found, row.step());
      if (!found) return std::optional<StoredCall>{};
      ASSIGN_OR_RETURN(stored.call, decode<Call>(row.text(0)));
    }
    ASSIGN_OR_RETURN(auto inputs,
                     db_->prepare("SELECT body, EXISTS (SELECT 1 FROM open_inputs o WHERE o.call = i.call AND "
                                  "o.position = i.position) FROM inputs i WHERE call = ? ORDER BY position"));
    inputs.bind(id.value);
    for (;;) {
      ASSIGN_OR_RETURN(bool more, inputs.step());
      if (!more) break;
      ASSIGN_OR_RETURN(auto input, decode<Input>(inputs.text(0)));
      if (inputs.number(1) == 0) input.state = InputState::settled;
      stored.inputs.push_back(std::move(input));
    }
    ASSIGN_OR_RETURN(auto outputs, db_->prepare("SELECT body FROM outputs WHERE call = ? ORDER BY sequence"));
    outputs.bind(id.value);
    ASSIGN_OR_RETURN(stored.outputs, bodies<Output>(outputs));
    return std::optional<StoredCall>(std::move(stored));
  }

  Result<std::vector<CallId>> callsBy(const InputId& parent) override {
    ASSIGN_OR_RETURN(auto row,
                     db_->prepare("SELECT id FROM calls WHERE parent <> '' AND parent = ? ORDER BY created, id"));
    return callIds(row.bind(parent.value));
  }

  Result<std::vector<CallId>> unfinishedCalls() override {
    ASSIGN_OR_RETURN(
        auto row,
        db_->prepare("SELECT id FROM calls WHERE id IN (SELECT DISTINCT call FROM open_inputs) ORDER BY created, id"));
    return callIds(row);
  }

  Result<std::vector<LogEntry>> logs(const LogQuery& q) override {
    const bool newest = q.keep == LogQuery::Keep::newest;
    const auto where = whereOf(q);
    ASSIGN_OR_RETURN(
        auto row,
        db_->prepare("SELECT sequence, at, source, text, app, function, instance, call, input, image FROM "
                     "logs" +
                     where.sql() + (newest ? " ORDER BY at DESC, sequence DESC" : " ORDER BY sequence") + " LIMIT ?"));
    where.bindTo(row);
    row.bind(std::int64_t{q.limit > 0 ? q.limit : -1});
    std::vector<LogEntry> entries;
    for (;;) {
      ASSIGN_OR_RETURN(bool more, row.step());
      if (!more) break;
      entries.push_back(LogEntry{row.number(0), fromNanos(row.number(1)), static_cast<LogSource>(row.number(2)),
                                 row.text(3), AppId{row.text(4)}, FunctionId{row.text(5)}, InstanceId{row.text(6)},
                                 CallId{row.text(7)}, InputId{row.text(8)}, ImageId{row.text(9)}});
    }
    if (newest) std::reverse(entries.begin(), entries.end());
    return entries;
  }

  Result<std::vector<LogBucket>> countLogs(const LogQuery& q, Nanos width) override {
    if (width.count() <= 0) return makeError(Code::invalidArgument, "log buckets of {} ns", width.count());
    const auto where = whereOf(q);
    const auto start = fmt::format("at / {0} * {0}", width.count());
    ASSIGN_OR_RETURN(auto row,
                     db_->prepare("SELECT " + start + ", sum(source = 1), sum(source = 2), sum(source = 3) FROM logs" +
                                  where.sql() + " GROUP BY 1 ORDER BY 1"));
    where.bindTo(row);
    std::vector<LogBucket> buckets;
    for (;;) {
      ASSIGN_OR_RETURN(bool more, row.step());
      if (!more) return buckets;
      buckets.push_back(LogBucket{fromNanos(row.number(0)), row.number(1), row.number(2), row.number(3)});
    }
  }

  Result<std::optional<Instance>> instance(const InstanceId& id) override {
    ASSIGN_OR_RETURN(auto row, db_->prepare("SELECT body FROM instances WHERE id = ?"));
    row.bind(id.value);
    ASSIGN_OR_RETURN(bool found, row.step());
    if (!found) return std::optional<Instance>{};
    ASSIGN_OR_RETURN(auto value, decode<Instance>(row.text(0)));
    return std::optional<Instance>(std::move(value));
  }

  Result<std::vector<Instance>> instances(const AppId& app, bool liveOnly, int limit) override {
    Where where;
    if (!app.empty()) where.add("app = ?", app.value);
    const std::string live = where.sql().empty() ? " WHERE live = 1" : " AND live = 1";
    ASSIGN_OR_RETURN(auto row, db_->prepare("SELECT body FROM instances" + where.sql() + (liveOnly ? live : "") +
                                            " ORDER BY wanted DESC, id LIMIT ?"));
    where.bindTo(row);
    row.bind(std::int64_t{limit > 0 ? limit : -1});
    return bodies<Instance>(row);
  }

  Result<std::vector<UsageRecord>> usage(const UsageQuery& q) override {
    Where where;
    where.addId("app", q.app);
    where.addId("function", q.function);
    if (q.kind) where.add("kind = ?", static_cast<std::int64_t>(*q.kind));
    if (q.since) where.add("(ended = 0 OR ended >= ?)", nanos(*q.since));
    if (q.until) where.add("started < ?", nanos(*q.until));
    ASSIGN_OR_RETURN(auto row, db_->prepare("SELECT body FROM usage" + where.sql() +
                                            (q.order == UsageQuery::Order::newest ? " ORDER BY started DESC, id DESC"
                                                                                  : " ORDER BY started, id") +
                                            " LIMIT ?"));
    where.bindTo(row);
    row.bind(std::int64_t{q.limit > 0 ? q.limit : -1});
    return bodies<UsageRecord>(row);
  }

  Result<bool> prune(Time calls, Time logs) override {
    const std::lock_guard writing(checkpointer_.writing());
    ASSIGN_OR_RETURN(auto transaction, Transaction::begin(*db_));
    ASSIGN_OR_RETURN(const bool moreCalls, eraseOld(calls));
    ASSIGN_OR_RETURN(const bool moreRoom, giveBackRoom());
    ASSIGN_OR_RETURN(auto old,
                     db_->prepare("DELETE FROM logs WHERE sequence IN (SELECT sequence FROM logs WHERE at < ? "
                                  "ORDER BY at LIMIT ?)"));
    RETURN_IF_ERROR(old.bind(nanos(logs)).bind(kSlice).run());
    const bool moreLogs = db_->changes() == kSlice;
    RETURN_IF_ERROR(commit(transaction));
    return moreCalls || moreRoom || moreLogs;
  }

 private:
  Result<void> commit(Transaction& transaction) {
    RETURN_IF_ERROR(transaction.commit());
    syncer_.wrote(++written_);
    return {};
  }

  // Erases some finished calls made before `before`. True: there may be more.
  Result<bool> eraseOld(Time before) {
    std::vector<CallId> old;
    {
      ASSIGN_OR_RETURN(auto row, db_->prepare("WITH RECURSIVE f (id) AS (SELECT min(function) FROM calls UNION ALL "
                                              "SELECT (SELECT min(function) FROM calls WHERE function > f.id) FROM f "
                                              "WHERE f.id IS NOT NULL) SELECT calls.id FROM f JOIN calls ON "
                                              "calls.function = f.id AND created < ? WHERE NOT EXISTS (SELECT 1 FROM "
                                              "open_inputs WHERE call = calls.id) LIMIT ?"));
      ASSIGN_OR_RETURN(old, callIds(row.bind(nanos(before)).bind(kSlice)));
    }
    for (const auto& id : old) RETURN_IF_ERROR(make(Batch::EraseCall{id}));
    return std::ssize(old) == kSlice;
  }

  // Deletes some of what belonged to erased calls. True: there is more.
  Result<bool> giveBackRoom() {
    std::int64_t left = kSlice;
    while (left > 0) {
      CallId id;
      {
        ASSIGN_OR_RETURN(auto row, db_->prepare("SELECT id FROM erased_calls LIMIT 1"));
        ASSIGN_OR_RETURN(const bool found, row.step());
        if (!found) return false;
        id.value = row.text(0);
      }
      const auto before = left;
      for (const char* sql :
           {"DELETE FROM outputs WHERE call = ?1 AND sequence < ?2 + (SELECT min(sequence) FROM outputs "
            "WHERE call = ?1)",
            "DELETE FROM open_inputs WHERE call = ?1 AND position < ?2 + (SELECT min(position) FROM "
            "open_inputs WHERE call = ?1)",
            "DELETE FROM inputs WHERE call = ?1 AND position < ?2 + (SELECT min(position) FROM inputs "
            "WHERE call = ?1)"}) {
        ASSIGN_OR_RETURN(auto s, db_->prepare(sql));
        RETURN_IF_ERROR(s.bind(id.value).bind(kSlice).run());
        left -= db_->changes();
      }
      if (left < before) continue;
      ASSIGN_OR_RETURN(auto s, db_->prepare("DELETE FROM erased_calls WHERE id = ?"));
      RETURN_IF_ERROR(s.bind(id.value).run());
      --left;
    }
    return true;
  }

  static Result<std::vector<CallId>> callIds(Statement& row) {
    std::vector<CallId> ids;
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, row.step());
      if (!more) return ids;
      ids.push_back(CallId{row.text(0)});
    }
  }

  static Result<std::optional<Object>> oneObject(Statement& row) {
    ASSIGN_OR_RETURN(bool found, row.step());
    if (!found) return std::optional<Object>{};
    return std::optional<Object>(readObject(row));
  }

  template <class T>
  static Result<std::vector<T>> bodies(Statement& row) {
    std::vector<T> values;
    for (;;) {
      ASSIGN_OR_RETURN(bool more, row.step());
      if (!more) return values;
      ASSIGN_OR_RETURN(auto value, decode<T>(row.text(0)));
      values.push_back(std::move(value));
    }
  }

  Result<void> make(const Object& o) {
    ASSIGN_OR_RETURN(auto s,
                     db_->prepare("INSERT INTO objects VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (kind, id) DO UPDATE "
                                  "SET workspace = excluded.workspace, environment = excluded.environment, "
                                  "name = excluded.name, live = excluded.live, created = excluded.created, "
                                  "body = excluded.body"));
    s.bind(o.kind).bind(o.id).bind(o.workspace).bind(o.environment).bind(o.name);
    s.bind(std::int64_t{o.live}).bind(nanos(o.createdAt)).bindBytes(o.body);
    auto done = s.run();
    if (!done.ok() && done.error().code == Code::alreadyExists) {
      return makeError(Code::alreadyExists, "{} '{}' already exists in environment '{}'", o.kind, o.name,
                       o.environment);
    }
    return done;
  }

  Result<void> make(const Batch::EraseObject& e) {
    ASSIGN_OR_RETURN(auto s, db_->prepare("DELETE FROM objects WHERE kind = ? AND id = ?"));
    return s.bind(e.kind).bind(e.id).run();
  }

  Result<void> make(const Call& c) {
    const auto body = encode(c);
    ASSIGN_OR_RETURN(auto s, db_->prepare("INSERT INTO calls (id, created, body, function, parent) VALUES (?,?,?,?,?) "
                                          "ON CONFLICT (id) DO UPDATE SET body = excluded.body"));
    return s.bind(c.id.value)
        .bind(nanos(c.createdAt))
        .bindBytes(body)
        .bind(c.function.value)
        .bind(c.parent.value)
        .run();
  }

  Result<void> make(const Input& i) {
    const auto body = encode(i);
    {
      ASSIGN_OR_RETURN(auto s, db_->prepare("INSERT INTO inputs VALUES (?,?,?) ON CONFLICT (call, position) DO UPDATE "
                                            "SET body = excluded.body"));
      RETURN_IF_ERROR(s.bind(i.call.value).bind(std::int64_t{i.index}).bindBytes(body).run());
    }
    if (i.state == InputState::settled) return {};
    ASSIGN_OR_RETURN(auto s, db_->prepare("INSERT OR IGNORE INTO open_inputs VALUES (?,?)"));
    return s.bind(i.call.value).bind(std::int64_t{i.index}).run();
  }

  Result<void> make(const Output& o) {
    const auto body = encode(o);
    {
      ASSIGN_OR_RETURN(auto s, db_->prepare("INSERT INTO outputs VALUES (?,?,?)"));
      RETURN_IF_ERROR(s.bind(o.call.value).bind(o.sequence).bindBytes(body).run());
    }
    ASSIGN_OR_RETURN(auto s, db_->prepare("DELETE FROM open_inputs WHERE call = ? AND position = ?"));
    RETURN_IF_ERROR(s.bind(o.call.value).bind(std::int64_t{o.index}).run());
    if (db_->changes() == 1) return {};
    return makeError(Code::alreadyExists, "store: input {} of {} has an output", o.index, o.call.value);
  }

  Result<void> make(const Batch::EraseCall& e) {
    {
      ASSIGN_OR_RETURN(auto s, db_->prepare("INSERT OR IGNORE INTO erased_calls VALUES (?)"));
      RETURN_IF_ERROR(s.bind(e.call.value).run());
    }
    ASSIGN_OR_RETURN(auto s, db_->prepare("DELETE FROM calls WHERE id = ?"));
    return s.bind(e.call.value).run();
  }

  Result<void> make(const Instance& i) {
    const auto body = encode(i);
    ASSIGN_OR_RETURN(auto s,
                     db_->prepare("INSERT INTO instances VALUES (?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET live "
                                  "= excluded.live, body = excluded.body"));
    s.bind(i.id.value).bind(i.app.value).bind(std::int64_t{i.state != InstanceState::gone});
    return s.bind(nanos(i.wantedAt)).bindBytes(body).run();
  }

  Result<void> make(const UsageRecord& u) {
    const auto body = encode(u);
    ASSIGN_OR_RETURN(auto s, db_->prepare("INSERT INTO usage VALUES (?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET "
                                          "started = excluded.started, ended = excluded.ended, body = excluded.body"));
    s.bind(u.id).bind(static_cast<std::int64_t>(u.kind)).bind(u.app.value).bind(u.function.value);
    return s.bind(nanos(u.startedAt)).bind(nanos(u.endedAt)).bindBytes(body).run();
  }

  Result<void> make(const std::vector<LogEntry>& entries) {
    for (const auto& e : entries) {
      ASSIGN_OR_RETURN(auto s, db_->prepare("INSERT INTO logs (at, source, text, app, function, instance, call, input, "
                                            "image) VALUES (?,?,?,?,?,?,?,?,?)"));
      s.bind(nanos(e.at)).bind(static_cast<std::int64_t>(e.source)).bind(e.text).bind(e.app.value);
      s.bind(e.function.value).bind(e.instance.value).bind(e.call.value).bind(e.input.value).bind(e.image.value);
      RETURN_IF_ERROR(s.run());
    }
    return {};
  }

  std::unique_ptr<Database> db_;
  Mark written_ = 0;
  Checkpointer checkpointer_;  // these end before the database closes
  Syncer syncer_;
};

// SQLite's log, for syncing it beside SQLite (a sync is the file's, whoever asks), with its directory entry on disk.
// Closing it drops no lock: SQLite locks the other two files only.
Result<Fd> openLog(const std::string& path, const std::string& directory) {
  Fd log(::open((path + "-wal").c_str(), O_RDONLY | O_CLOEXEC));
  if (!log.valid()) return errnoError("open " + path + "-wal");
  const Fd folder(::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid() || ::fsync(folder.get()) != 0) return errnoError("sync " + directory);
  return log;
}

}  // namespace

Result<std::unique_ptr<Store>> openSqliteStore(const std::string& path) {
  const auto directory = std::filesystem::path(path).parent_path().string();
  if (!directory.empty()) RETURN_IF_ERROR(makeDirectories(directory, 0700));
  ASSIGN_OR_RETURN(auto db, Database::open(path));
  auto migrated = migrate(*db);
  if (!migrated.ok()) return migrated.error().within("open " + path);
  ASSIGN_OR_RETURN(auto copier, Database::open(path));
  ASSIGN_OR_RETURN(auto log, openLog(path, directory));
  return std::unique_ptr<Store>(std::make_unique<SqliteStore>(std::move(db), std::move(copier), std::move(log)));
}

}  // namespace gridiron
