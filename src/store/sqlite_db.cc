#include "store/sqlite_db.h"

#include <fcntl.h>

#include <utility>

#include "base/fd.h"

namespace gridiron {
namespace {

Error sqliteError(sqlite3* db, const std::string& attempt) {
  const int code = sqlite3_errcode(db) & 0xff;
  const auto text = fmt::format("{}: {}", attempt, sqlite3_errmsg(db));
  switch (code) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
      return Error{Code::exhausted, text};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
      return Error{Code::unavailable, text};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Error{Code::dataLoss, text};
    case SQLITE_CONSTRAINT:
      return Error{Code::alreadyExists, text};
    default:
      return Error{Code::internal, text};
  }
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : db_(other.db_), statement_(std::exchange(other.statement_, nullptr)), bound_(other.bound_) {}

Statement::~Statement() {
  if (!statement_) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Statement& Statement::bind(std::string_view text) {
  const char* data = text.data() ? text.data() : "";
  GRID_CHECK(sqlite3_bind_text64(statement_, ++bound_, data, text.size(), SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK);
  return *this;
}

Statement& Statement::bind(std::int64_t number) {
  GRID_CHECK(sqlite3_bind_int64(statement_, ++bound_, number) == SQLITE_OK);
  return *this;
}

Statement& Statement::bindBytes(std::string_view bytes) {
  const char* data = bytes.data() ? bytes.data() : "";
  GRID_CHECK(sqlite3_bind_blob64(statement_, ++bound_, data, bytes.size(), SQLITE_STATIC) == SQLITE_OK);
  return *this;
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return sqliteError(db_, "store");
}

Result<void> Statement::run() {
  auto row = step();
  if (!row.ok()) return row.error();
  return {};
}

std::string Statement::text(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return data ? std::string(static_cast<const char*>(data), size) : std::string();
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path) {
  // Its owner's only, as are the neighbours that SQLite makes after it.
  Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, "unix-excl");
  std::unique_ptr<Database> db(new Database(raw));
  if (code != SQLITE_OK) return sqliteError(raw, "open " + path);
  sqlite3_busy_timeout(raw, 5000);
  // NORMAL: a commit writes the log and does not wait for the disk; a checkpoint does, before and after it copies.
  for (const char* pragma : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", "PRAGMA temp_store=MEMORY"}) {
    auto done = db->execute(pragma);
    if (!done.ok()) return done.error().within("open " + path);
  }
  return db;
}

Database::~Database() {
  for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(db_);
}

Result<Statement> Database::prepare(const std::string& sql) {
  auto& statement = statements_[sql];
  if (!statement) {
    const int code = sqlite3_prepare_v3(db_, sql.c_str(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                        &statement, nullptr);
    if (code != SQLITE_OK) return sqliteError(db_, "prepare " + sql);
  }
  return Statement(db_, statement);
}

Result<void> Database::execute(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return sqliteError(db_, "store");
  return {};
}

Result<int> Database::checkpoint() {
  int copied = 0;
  const int code = sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, &copied);
  if (code != SQLITE_OK) return sqliteError(db_, "checkpoint");
  return copied;
}

void Database::onCommit(std::function<void(int pages)> told) {
  onCommit_ = std::move(told);
  sqlite3_wal_hook(
      db_,
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<Database*>(self)->onCommit_(pages);
        return SQLITE_OK;
      },
      this);
}

Result<Transaction> Transaction::begin(Database& db) {
  ASSIGN_OR_RETURN(auto statement, db.prepare("BEGIN IMMEDIATE"));
  RETURN_IF_ERROR(statement.run());
  return Transaction(db);
}

Transaction::~Transaction() {
  if (db_) (void)db_->execute("ROLLBACK");
}

Result<void> Transaction::commit() {
  ASSIGN_OR_RETURN(auto statement, db_->prepare("COMMIT"));
  RETURN_IF_ERROR(statement.run());
  db_ = nullptr;
  return {};
}

}  // namespace gridiron
