#include "plan/schedule.h"

#include <date/tz.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cctype>
#include <charconv>
#include <string_view>
#include <vector>

namespace gridiron::plan {

namespace {

using std::chrono::minutes;

constexpr int kDaysAhead = 366 * 8 + 2;  // from one February 29th to the next over the turn of a century
constexpr std::array kMonths = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array kDays = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

struct Cron {
  std::bitset<60> minute;
  std::bitset<24> hour;
  std::bitset<32> day;
  std::bitset<13> month;
  std::bitset<7> weekday;
  bool anyDay = false, anyWeekday = false;  // the field begins with '*'
  bool byTheClock = false;                  // minute or hour begins with '*'
};

struct Field {
  const char* what;
  int low, high;
};

std::string lower(std::string_view text) {
  std::string out;
  for (const char c : text) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::optional<int> numberIn(const Field& field, std::string_view text) {
  int number = -1;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ec == std::errc() && read.ptr == text.data() + text.size())
    return number >= field.low && number <= field.high ? std::optional(number) : std::nullopt;
  const std::string name = lower(text);
  for (std::size_t i = 0; field.high == 12 && i < kMonths.size(); ++i) {
    if (name == kMonths[i]) return static_cast<int>(i) + 1;
  }
  for (std::size_t i = 0; field.high == 7 && i < kDays.size(); ++i) {
    if (name == kDays[i]) return static_cast<int>(i);
  }
  return std::nullopt;
}

// One of the parts between commas: "*", "5", "1-5", each maybe with "/step".
Result<std::vector<int>> valuesOf(const Field& field, std::string_view part) {
  const Error bad =
      makeError(Code::invalidArgument, "cron: '{}' is no {} ({} to {})", part, field.what, field.low, field.high);
  const std::size_t slash = part.find('/');
  const std::string_view range = part.substr(0, slash);
  int step = 1;
  if (slash != std::string_view::npos) {
    const std::string_view text = part.substr(slash + 1);
    const auto read = std::from_chars(text.data(), text.data() + text.size(), step);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() || step < 1) return bad;
  }
  std::optional<int> from = field.low, to = field.high;
  if (range != "*") {
    const std::size_t dash = range.find('-');
    from = numberIn(field, range.substr(0, dash));
    to = dash == std::string_view::npos ? (slash == std::string_view::npos ? from : std::optional(field.high))
                                        : numberIn(field, range.substr(dash + 1));
  }
  if (!from || !to || *from > *to) return bad;
  std::vector<int> values;
  for (int value = *from; value <= *to; value += step) values.push_back(value);
  return values;
}

template <std::size_t N>
Result<void> readField(const Field& field, std::string_view text, std::bitset<N>& out) {
  while (true) {
    const std::size_t comma = text.find(',');
    ASSIGN_OR_RETURN(const std::vector<int> values, valuesOf(field, text.substr(0, comma)));
    for (const int value : values) out.set(static_cast<std::size_t>(value) % (field.high == 7 ? 7 : N));
    if (comma == std::string_view::npos) return {};
    text.remove_prefix(comma + 1);
  }
}

std::vector<std::string> fieldsOf(const std::string& text) {
  if (text == "@hourly") return {"0", "*", "*", "*", "*"};
  if (text == "@daily" || text == "@midnight") return {"0", "0", "*", "*", "*"};
  if (text == "@weekly") return {"0", "0", "*", "*", "0"};
  if (text == "@monthly") return {"0", "0", "1", "*", "*"};
  if (text == "@yearly" || text == "@annually") return {"0", "0", "1", "1", "*"};
  std::vector<std::string> fields;
  std::string field;
  for (const char c : text + " ") {
    if (c != ' ' && c != '\t') {
      field += c;
    } else if (!field.empty()) {
      fields.push_back(std::exchange(field, ""));
    }
  }
  return fields;
}

Result<Cron> readCron(const std::string& text) {
  const std::vector<std::string> fields = fieldsOf(text);
  if (fields.size() != 5)
    return makeError(Code::invalidArgument, "cron: '{}' has {} fields instead of 5 (minute hour day month weekday)",
                     text, fields.size());
  Cron cron;
  RETURN_IF_ERROR(readField({"minute", 0, 59}, fields[0], cron.minute));
  RETURN_IF_ERROR(readField({"hour", 0, 23}, fields[1], cron.hour));
  RETURN_IF_ERROR(readField({"day of the month", 1, 31}, fields[2], cron.day));
  RETURN_IF_ERROR(readField({"month", 1, 12}, fields[3], cron.month));
  RETURN_IF_ERROR(readField({"day of the week", 0, 7}, fields[4], cron.weekday));
  cron.byTheClock = fields[0].starts_with('*') || fields[1].starts_with('*');
  cron.anyDay = fields[2].starts_with('*');
  cron.anyWeekday = fields[4].starts_with('*');
  return cron;
}

Result<const date::time_zone*> zoneOf(const std::string& name) {
  try {
    return date::locate_zone(name.empty() ? "Etc/UTC" : name);
  } catch (const std::exception&) {  // the library's own way to say so
    return makeError(Code::invalidArgument, "cron: this machine knows no time zone '{}'", name);
  }
}

bool isOn(const Cron& cron, date::local_days day) {
  const date::year_month_day ymd{day};
  if (!cron.month.test(static_cast<unsigned>(ymd.month()))) return false;
  const bool byDay = cron.day.test(static_cast<unsigned>(ymd.day()));
  const bool byWeekday = cron.weekday.test(date::weekday{day}.c_encoding());
  // When both are said, either will do.
  return cron.anyDay || cron.anyWeekday ? byDay && byWeekday : byDay || byWeekday;
}

// The moments at which clocks show (or, if none do, would have shown) this local time and the cron runs.
void addMoments(const Cron& cron, const date::time_zone& zone, date::local_time<minutes> local,
                std::vector<Time>& moments) {
  const date::local_info info = zone.get_info(local);
  const auto at = [&](std::chrono::seconds offset) { return Time{(local.time_since_epoch() - offset)}; };
  switch (info.result) {
    case date::local_info::unique:
      moments.push_back(at(info.first.offset));
      break;
    case date::local_info::nonexistent:
      if (!cron.byTheClock) moments.push_back(Time{info.first.end.time_since_epoch()});
      break;
    case date::local_info::ambiguous:
      moments.push_back(at(info.first.offset));
      if (cron.byTheClock) moments.push_back(at(info.second.offset));
      break;
  }
}

std::optional<Time> firstOnDay(const Cron& cron, const date::time_zone& zone, date::local_days day, Time after) {
  if (!isOn(cron, day)) return std::nullopt;
  std::vector<Time> moments;
  for (int hour = 0; hour < 24; ++hour) {
    if (!cron.hour.test(static_cast<std::size_t>(hour))) continue;
    for (int minute = 0; minute < 60; ++minute) {
      if (cron.minute.test(static_cast<std::size_t>(minute)))
        addMoments(cron, zone, day + std::chrono::hours(hour) + minutes(minute), moments);
    }
  }
  std::optional<Time> first;
  for (const Time moment : moments) {
    if (moment > after && (!first || moment < *first)) first = moment;
  }
  return first;
}

std::optional<Time> nextCron(const Schedule& schedule, Time after) {
  const Result<Cron> cron = readCron(schedule.cron);
  const Result<const date::time_zone*> zone = zoneOf(schedule.timezone);
  if (!cron.ok() || !zone.ok()) return std::nullopt;
  const auto localNow = (*zone)->to_local(std::chrono::time_point_cast<std::chrono::seconds>(after));
  date::local_days day = date::floor<date::days>(localNow) - date::days(1);
  for (int i = 0; i < kDaysAhead; ++i, day += date::days(1)) {
    std::optional<Time> found = firstOnDay(*cron, **zone, day, after);
    if (!found) continue;
    // Where clocks are put back over midnight, the next day's first may come before this day's second.
    const auto next = firstOnDay(*cron, **zone, day + date::days(1), after);
    return next ? std::min(*found, *next) : found;
  }
  return std::nullopt;
}

Time afterMonths(Time base, std::int64_t months) {
  const auto day = date::floor<date::days>(base);
  const Nanos within = base - day;
  date::year_month_day ymd{day};
  ymd += date::months(static_cast<int>(months));
  if (!ymd.ok()) ymd = ymd.year() / ymd.month() / date::last;
  return Time{date::sys_days(ymd)} + within;
}

std::optional<Time> nextPeriod(const Schedule& schedule, Time base, Time after) {
  // About how many are over; then exactly.
  const Nanos about = std::chrono::hours(24 * 28) * schedule.months + schedule.interval;
  const auto nth = [&](std::int64_t n) { return afterMonths(base, schedule.months * n) + schedule.interval * n; };
  std::int64_t n = 1;
  if (schedule.months == 0 && after > base) n = (after - base) / about + 1;
  while (nth(n) <= after) ++n;
  return nth(n);
}

}  // namespace

Result<void> checkSchedule(const Schedule& schedule) {
  if (schedule.cron.empty()) {
    const bool good = schedule.months >= 0 && schedule.interval >= Nanos::zero() &&
                      (schedule.months > 0 || schedule.interval >= std::chrono::seconds(1));
    if (good) return {};
    return Error{Code::invalidArgument, "a schedule's period is at least one second"};
  }
  if (const auto cron = readCron(schedule.cron); !cron.ok()) return cron.error();
  if (const auto zone = zoneOf(schedule.timezone); !zone.ok()) return zone.error();
  return {};
}

std::optional<Time> nextRun(const Schedule& schedule, Time base, Time after) {
  if (!checkSchedule(schedule).ok()) return std::nullopt;
  return schedule.cron.empty() ? nextPeriod(schedule, base, after) : nextCron(schedule, after);
}

}  // namespace gridiron::plan
