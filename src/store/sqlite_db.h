#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"

namespace gridiron {

// One prepared statement in use. Bind in order, then step; it is reset when this goes.
class Statement {
 public:
  explicit Statement(sqlite3* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  Statement& bind(std::string_view text);  // the text must live until the last step
  Statement& bind(std::int64_t number);
  Statement& bindBytes(std::string_view bytes);

  // True: there is a row.
  Result<bool> step();
  // For statements that give no rows.
  Result<void> run();

  std::string text(int column) const;  // of the row; also for bytes
  std::int64_t number(int column) const { return sqlite3_column_int64(statement_, column); }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_;
  int bound_ = 0;
};

// A connection that remembers its prepared statements. One thread.
class Database {
 public:
  static Result<std::unique_ptr<Database>> open(const std::string& path);
  ~Database();

  Result<Statement> prepare(const std::string& sql);
  Result<void> execute(const char* sql);
  // Copies what can be copied of the log into the database; writers go on. How many of the log's pages are copied now.
  Result<int> checkpoint();
  bool syncFailed() const { return sqlite3_extended_errcode(db_) == SQLITE_IOERR_FSYNC; }
  // Commits leave the log alone and tell how many pages it has.
  void onCommit(std::function<void(int pages)> told);
  std::int64_t changes() const { return sqlite3_changes64(db_); }

 private:
  explicit Database(sqlite3* db) : db_(db) {}
  sqlite3* db_;
  std::function<void(int)> onCommit_;
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
};

// Everything from begin to commit, or, when it goes without commit, nothing.
class Transaction {
 public:
  static Result<Transaction> begin(Database& db);
  Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Result<void> commit();

 private:
  explicit Transaction(Database& db) : db_(&db) {}
  Database* db_;
};

}  // namespace gridiron
