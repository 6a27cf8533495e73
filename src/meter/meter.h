#pragma once

#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/call.h"
#include "model/instance.h"
#include "model/usage.h"
#include "store/store.h"

namespace gridiron {

// What an app or a function has used in a period.
struct UsageSum {
  AppId app;
  FunctionId function;
  std::int64_t containers = 0;       // that were ready
  std::int64_t containerMillis = 0;  // from ready to gone, cut to the period
  std::int64_t inputs = 0;
  std::int64_t inputMillis = 0;
  std::int64_t failedInputs = 0;
  double cpuSeconds = 0;  // reserved cores · time
  double memoryGibSeconds = 0;
  std::map<std::string, double> gpuSeconds;  // by type
  std::int64_t aheadContainers = 0;          // of `containers`, those that were started ahead
  std::int64_t aheadHits = 0;                // of them, those that an input found
  std::int64_t aheadUnusedMillis = 0;        // of all of them, before their first input
  bool operator==(const UsageSum&) const = default;
};

enum class UsageBy { app, function };

// Writes down who used what and when, to the millisecond, and adds it up. Records have ids, so that the same fact told
// twice counts once. Input records are gathered and written by flush(). Loop thread only.
class Meter {
 public:
  Meter(Store& store, const Clock& clock) : store_(store), clock_(clock) {}

  // A container that became ready or is gone; one that never was ready costs nothing.
  void container(const Instance& instance);
  void input(UsageRecord record);
  // After a restart: containers whose records are open in the store and that are no more, but for `alive`. Nobody saw
  // how long they ran after they were ready.
  Result<void> closeOpen(const std::set<InstanceId>& alive);
  // Writes what was gathered, or so many of it, each record's turn before the next of one that was written. On failure
  // all is kept for the next time.
  Result<void> flush(std::size_t most = std::numeric_limits<std::size_t>::max());
  bool isPending() const { return !pending_.empty(); }

  // What was used in [since, until), containers that still run counted up to now.
  Result<std::vector<UsageSum>> sum(Time since, Time until, UsageBy by);

 private:
  Store& store_;
  const Clock& clock_;
  std::map<std::string, UsageRecord> pending_;
  std::string written_;  // the id of the last
};

}  // namespace gridiron
