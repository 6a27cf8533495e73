#pragma once

#include "base/result.h"
#include "store/sqlite_db.h"

namespace gridiron {

// Brings the file to this program's schema, one transaction a step; PRAGMA user_version counts the steps done.
// failedPrecondition when a newer program made it.
Result<void> migrate(Database& db);

}  // namespace gridiron
