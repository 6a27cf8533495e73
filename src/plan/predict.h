#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"

namespace gridiron::plan {

// When a function is needed next, learnt from when it was: a container can be started shortly before, and go again soon
// after if nothing came.
//
// What counts is the first request of each stretch of use: one that found no container, or one that had been started
// for it. Requests of a stretch are served by what is there. Two rules, each of which a person could follow with a list
// of these times:
//
//   regular   The median of the last eight gaps is taken for the period. It is one if there are at least four gaps and
//             at least three of four are within a tenth of the period from it, or from two or three periods (a request
//             was missed, or found a container by chance). Due: a whole number of periods after the last.
//   the same  A time of the hour, the day or the week: there was an arrival one, two and three cycles ago, as close to
//   time      each other as below, and by chance, at the rate of the arrivals, that would be so once in a thousand.
//
// `early` and `late` are how far arrivals have been off lately (twice the median of it), at most a tenth of the period.
// Periods below kShortest and above a week are none. Random arrivals (exponential gaps) pass the first rule about once
// in a thousand, and what they cost is bounded: after two periods without an arrival there is no forecast until there
// were more. The median is used because it does not mind a few odd gaps (Tukey, Exploratory Data Analysis, 1977; the
// median of deviations from it is the usual robust spread). That keep-alive decisions follow the idle times of each
// function was proposed and measured by Shahrad et al., Serverless in the Wild (USENIX ATC 2020); histograms as there
// would need more arrivals than a nightly job has in a year.
struct Forecast {
  Time due{};
  Nanos early{}, late{};  // it may come so much before or after
  double confidence = 0;  // the part of the gaps, or of the cycles looked at, that agree
  std::string why;        // "every 60 s", "at this time of the day"
  bool operator==(const Forecast&) const = default;

  Time from() const { return due - early; }
  Time until() const { return due + late; }
};

constexpr Nanos kShortest = std::chrono::seconds(2);
constexpr std::size_t kArrivalsKept = 64;

// The last arrivals of a function, oldest first. What comes less than a second after the one before, or before it, is
// the same one.
class Arrivals {
 public:
  void note(Time at);
  std::span<const Time> all() const { return {times_.data(), times_.size()}; }

 private:
  std::vector<Time> times_;
};

// The next arrival whose until() is not over at `now`, of the rule that fits (of both, the earlier). `arrivals` are in
// order. Nothing: no rule fits, or they have stopped coming. A pure function; some microseconds.
std::optional<Forecast> forecast(std::span<const Time> arrivals, Time now);

// How long starts have taken lately.
class StartTimes {
 public:
  void note(Nanos took);
  Nanos p90() const;  // of the last 16; two seconds when there was none

 private:
  std::deque<Nanos> last_;
};

}  // namespace gridiron::plan
