// Crons and periods: whatever is accepted runs later than now, and finding out when takes no time to speak of.
#include "plan/schedule.h"

#include "tests/fuzz/fuzz.h"

FUZZ(schedule) {
  using namespace gridiron;
  plan::Schedule schedule;
  const unsigned what = fuzz::choice(bytes);
  const Time now{std::chrono::seconds(1'700'000'000 + 86'400 * static_cast<std::int64_t>(fuzz::choice(bytes)))};
  if (what % 4 == 0) {
    for (const char c : bytes.substr(0, 8)) schedule.interval = schedule.interval * 61 + Nanos(c);
    schedule.months = static_cast<int>(what / 4) - 8;
  } else {
    const auto end = bytes.find('\n');
    schedule.cron = bytes.substr(0, end);
    if (end != std::string_view::npos) schedule.timezone = bytes.substr(end + 1);
  }
  const auto checked = plan::checkSchedule(schedule);
  const auto next = plan::nextRun(schedule, now - std::chrono::hours(5), now);
  if (next) fuzz::require(checked.ok() && *next > now, "the next run is later, and of a schedule that is right");
}
