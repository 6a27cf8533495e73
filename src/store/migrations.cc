#include "store/migrations.h"

#include <array>
#include <string>

namespace gridiron {
namespace {

// Steps are only ever added. Times are nanoseconds since 1970; body columns hold model/codec.h's bytes.
constexpr std::array kSteps = {
    R"sql(
CREATE TABLE objects (
  kind TEXT NOT NULL, id TEXT NOT NULL, workspace TEXT NOT NULL, environment TEXT NOT NULL, name TEXT NOT NULL,
  live INTEGER NOT NULL, created INTEGER NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX objects_by_id ON objects (kind, id);
CREATE UNIQUE INDEX objects_by_name ON objects (kind, workspace, environment, name) WHERE live = 1 AND name <> '';
CREATE TABLE calls (id TEXT NOT NULL PRIMARY KEY, created INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX calls_by_time ON calls (created);
CREATE TABLE inputs (
  id TEXT NOT NULL PRIMARY KEY, call TEXT NOT NULL, position INTEGER NOT NULL, state INTEGER NOT NULL,
  body BLOB NOT NULL);
CREATE INDEX inputs_by_call ON inputs (call, position);
CREATE INDEX inputs_unsettled ON inputs (call) WHERE state <> 4;
CREATE TABLE outputs (
  call TEXT NOT NULL, sequence INTEGER NOT NULL, input TEXT NOT NULL UNIQUE, body BLOB NOT NULL,
  PRIMARY KEY (call, sequence));
CREATE TABLE instances (
  id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL, live INTEGER NOT NULL, wanted INTEGER NOT NULL,
  body BLOB NOT NULL);
CREATE INDEX instances_by_app ON instances (app, wanted);
CREATE INDEX instances_live ON instances (wanted) WHERE live = 1;
CREATE TABLE usage (
  id TEXT NOT NULL PRIMARY KEY, kind INTEGER NOT NULL, app TEXT NOT NULL, function TEXT NOT NULL,
  started INTEGER NOT NULL, ended INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX usage_by_app ON usage (app, started);
CREATE INDEX usage_by_time ON usage (started);
CREATE TABLE logs (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, source INTEGER NOT NULL, text TEXT NOT NULL,
  app TEXT NOT NULL, function TEXT NOT NULL, instance TEXT NOT NULL, call TEXT NOT NULL, input TEXT NOT NULL,
  image TEXT NOT NULL);
CREATE INDEX logs_by_app ON logs (app, at);
CREATE INDEX logs_by_time ON logs (at);
CREATE INDEX logs_by_instance ON logs (instance, at) WHERE instance <> '';
CREATE INDEX logs_by_call ON logs (call, at) WHERE call <> '';
CREATE INDEX logs_by_image ON logs (image, at) WHERE image <> '';
)sql",
    // Calls made before this step have no parent here.
    R"sql(
ALTER TABLE calls ADD COLUMN parent TEXT NOT NULL DEFAULT '';
CREATE INDEX calls_by_parent ON calls (parent, created) WHERE parent <> '';
)sql",
    // Inputs and outputs in the order of their calls, without indexes beside: a write touches one place each. What is
    // not settled is a list of its own, so that an end writes no input again. Erased calls go in slices.
    R"sql(
CREATE TABLE open_inputs (call TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (call, position)) WITHOUT ROWID;
INSERT INTO open_inputs SELECT call, position FROM inputs WHERE state <> 4;
ALTER TABLE inputs RENAME TO old_inputs;
CREATE TABLE inputs (
  call TEXT NOT NULL, position INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (call, position)) WITHOUT ROWID;
INSERT INTO inputs SELECT call, position, body FROM old_inputs ORDER BY call, position;
DROP TABLE old_inputs;
ALTER TABLE outputs RENAME TO old_outputs;
CREATE TABLE outputs (
  call TEXT NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (call, sequence)) WITHOUT ROWID;
INSERT INTO outputs SELECT call, sequence, body FROM old_outputs ORDER BY call, sequence;
DROP TABLE old_outputs;
ALTER TABLE calls ADD COLUMN function TEXT NOT NULL DEFAULT '';
DROP INDEX calls_by_time;
CREATE INDEX calls_by_function ON calls (function, created);
CREATE TABLE erased_calls (id TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;
)sql",
};

}  // namespace

Result<void> migrate(Database& db) {
  std::int64_t done = 0;
  {
    ASSIGN_OR_RETURN(auto statement, db.prepare("PRAGMA user_version"));
    ASSIGN_OR_RETURN(bool row, statement.step());
    if (row) done = statement.number(0);
  }
  const auto known = static_cast<std::int64_t>(kSteps.size());
  if (done > known) {
    return makeError(Code::failedPrecondition,
                     "the database has schema {}, this program knows up to {}: use the newer gridiron", done, known);
  }
  for (auto step = done; step < known; ++step) {
    ASSIGN_OR_RETURN(auto transaction, Transaction::begin(db));
    RETURN_IF_ERROR(db.execute(kSteps[static_cast<std::size_t>(step)]));
    RETURN_IF_ERROR(db.execute(fmt::format("PRAGMA user_version = {}", step + 1).c_str()));
    RETURN_IF_ERROR(transaction.commit());
  }
  return {};
}

}  // namespace gridiron
