#include "plan/predict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace gridiron::plan {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kGaps = 8, kFewestGaps = 4;
constexpr std::int64_t kMostSkipped = 3;  // periods that a gap may have
constexpr std::int64_t kMostMissed = 2;   // periods without an arrival, then there is no forecast
constexpr int kCycles = 3;                // in which there has to be one at the same time
constexpr double kChance = 0.001;
constexpr Nanos kLongest = 7 * 24h;
constexpr Nanos kLeastOff = 1s;

struct Cycle {
  Nanos length, off;  // `off`: how far apart arrivals at the same time may be
  const char* name;
};
constexpr Cycle kSameTime[] = {{1h, 1min, "hour"}, {24h, 3min, "day"}, {7 * 24h, 10min, "week"}};

Nanos medianOf(std::vector<Nanos> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

Nanos distance(Nanos a, Nanos b) { return a > b ? a - b : b - a; }

std::string inWords(Nanos period) {
  const double seconds = std::chrono::duration<double>(period).count();
  if (seconds < 120) return fmt::format("every {:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("every {:.0f} min", seconds / 60);
  return fmt::format("every {:.1f} h", seconds / 3600);
}

std::optional<Forecast> regular(std::span<const Time> arrivals, Time now) {
  std::vector<Nanos> gaps;
  const std::size_t first = arrivals.size() > kGaps ? arrivals.size() - kGaps : 1;
  for (std::size_t i = first; i < arrivals.size(); ++i) gaps.push_back(arrivals[i] - arrivals[i - 1]);
  if (gaps.size() < kFewestGaps) return std::nullopt;
  const Nanos period = medianOf(gaps);
  if (period < kShortest || period > kLongest) return std::nullopt;
  std::vector<Nanos> off;
  std::size_t agree = 0;
  for (const Nanos gap : gaps) {
    const auto periods = std::clamp<std::int64_t>((gap + period / 2) / period, 1, kMostSkipped);
    off.push_back(distance(gap, period * periods));
    agree += off.back() <= period / 10;
  }
  if (4 * agree < 3 * gaps.size()) return std::nullopt;
  Forecast out;
  out.early = out.late = std::clamp<Nanos>(2 * medianOf(off), std::min<Nanos>(kLeastOff, period / 10), period / 10);
  out.confidence = static_cast<double>(agree) / static_cast<double>(gaps.size());
  out.why = inWords(period);
  for (std::int64_t n = 1; n <= kMostMissed + 1; ++n) {
    out.due = arrivals.back() + n * period;
    if (now <= out.until()) return out;
  }
  return std::nullopt;
}

bool anyAt(std::span<const Time> arrivals, Time at, Nanos off) {
  const auto found = std::lower_bound(arrivals.begin(), arrivals.end(), at - off);
  return found != arrivals.end() && *found <= at + off;
}

// Would any of the arrivals of a cycle, at such a rate, be at the same time in so many cycles by chance?
bool byChance(std::span<const Time> arrivals, const Cycle& cycle) {
  const double span = static_cast<double>((arrivals.back() - arrivals.front()).count());
  const double within = 2 * static_cast<double>(cycle.off.count());
  const double each = 1 - std::exp(-static_cast<double>(arrivals.size()) * within / std::max(span, within));
  const double ofACycle = static_cast<double>(arrivals.size()) * static_cast<double>(cycle.length.count()) / span;
  return !(std::pow(each, kCycles - 1) * std::max(ofACycle, 1.0) < kChance);
}

std::optional<Forecast> sameTime(std::span<const Time> arrivals, Time now, const Cycle& cycle) {
  if (arrivals.size() < static_cast<std::size_t>(kCycles) || byChance(arrivals, cycle)) return std::nullopt;
  for (const Time at : arrivals) {
    const Time due = at + cycle.length;
    if (now > due + cycle.off || now < due - cycle.length) continue;
    bool every = true;
    for (int back = 1; back < kCycles; ++back) every = every && anyAt(arrivals, at - back * cycle.length, cycle.off);
    if (every) return Forecast{due, cycle.off, cycle.off, 1, fmt::format("at this time of the {}", cycle.name)};
  }
  return std::nullopt;
}

}  // namespace

void Arrivals::note(Time at) {
  if (!times_.empty() && at < times_.back() + 1s) return;
  if (times_.size() >= kArrivalsKept) times_.erase(times_.begin());
  times_.push_back(at);
}

std::optional<Forecast> forecast(std::span<const Time> arrivals, Time now) {
  if (arrivals.empty()) return std::nullopt;
  auto best = regular(arrivals, now);
  if (best) return best;
  for (const Cycle& cycle : kSameTime) {
    auto other = sameTime(arrivals, now, cycle);
    if (other && (!best || other->due < best->due)) best = std::move(other);
  }
  return best;
}

void StartTimes::note(Nanos took) {
  if (last_.size() >= 16) last_.pop_front();
  last_.push_back(std::max(took, Nanos{0}));
}

Nanos StartTimes::p90() const {
  if (last_.empty()) return 2s;
  std::vector<Nanos> sorted(last_.begin(), last_.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted[(sorted.size() * 9 + 9) / 10 - 1];
}

}  // namespace gridiron::plan
