#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace gridiron::plan {

// When a function runs by itself. Exactly one of the two is used: `cron` when it is not "".
struct Schedule {
  std::string cron;      // "0 9 * * 1-5", or @hourly, @daily, @weekly, @monthly, @yearly
  std::string timezone;  // of `cron`: a name of the machine's tzdata; "" = UTC
  int months = 0;        // of a period; calendar months, the day cut to the month's last
  Nanos interval{};      // of a period, beside the months

  bool operator==(const Schedule&) const = default;
};

// invalidArgument that says what is wrong: a field of the cron, the time zone, a period that is not positive.
Result<void> checkSchedule(const Schedule& schedule);

// The first run after `after`. A period counts from `base` (its first run is one period later); a cron has no base.
// Nothing: the schedule is wrong, or it never comes (February 30th).
//
// Daylight saving, as vixie cron: when a time does not exist because clocks were put forward, it runs at the moment
// they were; when it comes twice because they were put back, it runs the first time only. A cron whose minute or hour
// begins with '*' runs by what the clock shows instead: not in an hour that does not exist, twice in one that comes
// twice.
std::optional<Time> nextRun(const Schedule& schedule, Time base, Time after);

}  // namespace gridiron::plan
