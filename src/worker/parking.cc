#include "worker/parking.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>

namespace gridiron::worker {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr Nanos kMemory = 10min;  // how long starts count that came together
constexpr Nanos kTogether = 5s;   // in such a time: a hundred take two cores so long
constexpr Nanos kCalm = 1s;       // in which more starts than kFew come together: none is parked meanwhile
constexpr int kFew = 2;
constexpr Nanos kLife = 24h;                  // one is kept so long after the last start, as its zygote is
constexpr Nanos kRest = 1min;                 // after a failure
constexpr int kMostOfAShape = 128;            // parked at once
constexpr std::size_t kMostShapes = 64;       // that are known
constexpr std::size_t kMostFunctions = 256;   // of a shape
constexpr std::int64_t kExpected = 12 << 20;  // of one that was not measured yet

struct Parked {
  Parking::Slot slot;
  std::int64_t bytes = 0;
};

// Guarded by the mutex of Impl.
struct Entry {
  Parking::Shape shape;
  std::set<std::string> functions;  // that containers of it were started for
  std::deque<Nanos> starts;         // of kMemory, the last ones
  std::vector<Parked> parked;
  Nanos usedAt{}, restUntil{};
  bool filling = false;

  // More are coming just now: the processor is theirs, and to park costs more than a start.
  bool isCrowded(Nanos now) const {
    return std::count_if(starts.begin(), starts.end(), [&](Nanos at) { return now - at < kCalm; }) > kFew;
  }

  // As many as came together lately, and one for a day.
  int wanted(Nanos now) const {
    if (now - usedAt > kLife) return 0;
    int most = 1;
    for (std::size_t first = 0, last = 0; last < starts.size(); ++last) {
      while (starts[last] - starts[first] > kTogether) ++first;
      if (now - starts[last] <= kMemory) most = std::max(most, static_cast<int>(last - first + 1));
    }
    return std::min(most, kMostOfAShape);
  }
};

}  // namespace

std::string Parking::Shape::key() const {
  std::string out = kind->key();
  for (const std::string& lower : spec.lowers) out += " " + lower;
  for (const sandbox::Bind& bind : spec.binds) out += " " + bind.source + ":" + bind.target;
  return out;
}

struct Parking::Impl {
  Impl(Zygotes& all, const Clock& time, Options given) : zygotes(all), clock(time), options(std::move(given)) {}

  Zygotes& zygotes;
  const Clock& clock;
  const Options options;
  mutable std::mutex mutex;
  std::condition_variable settled;
  std::map<std::string, Entry> entries;
  std::size_t pending = 0;
  bool stopping = false;
  asio::thread_pool background{1};  // last: its work uses the others

  Nanos now() const { return clock.now().time_since_epoch(); }

  template <class Work>
  void later(Work work) {
    ++pending;
    asio::post(background, [this, work = std::move(work)]() mutable {
      work();
      const std::lock_guard lock(mutex);
      --pending;
      settled.notify_all();
    });
  }

  void discard(Slot slot) {
    later([this, gone = std::make_shared<Slot>(std::move(slot))] { options.discard(std::move(*gone)); });
  }

  std::int64_t bytes() const {
    std::int64_t all = 0;
    for (const auto& [key, entry] : entries) {
      for (const Parked& each : entry.parked) all += each.bytes;
    }
    return all;
  }

  // Those of no use: dead, of a zygote that was replaced, more than are wanted.
  void clear(Entry& entry, const std::shared_ptr<sandbox::Zygote>& zygote) {
    const int wanted = entry.wanted(now());
    for (std::size_t i = 0; i < entry.parked.size();) {
      const Slot& slot = entry.parked[i].slot;
      if (slot.parked->alive() && slot.zygote == zygote && static_cast<int>(i) < wanted) {
        ++i;
        continue;
      }
      discard(std::move(entry.parked[i].slot));
      entry.parked.erase(entry.parked.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  // Room for one more of `entry`, at the cost of shapes that were used less lately. Zygotes go before.
  bool makeRoom(const Entry* entry, std::int64_t more) {
    const std::int64_t limit = options.memoryBytes - zygotes.residentBytes();
    while (bytes() + more > limit) {
      Entry* least = nullptr;
      for (auto& [key, each] : entries) {
        if (each.parked.empty() || (entry != nullptr && each.usedAt >= entry->usedAt)) continue;
        if (least == nullptr || each.usedAt < least->usedAt) least = &each;
      }
      if (least == nullptr) return false;
      discard(std::move(least->parked.back().slot));
      least->parked.pop_back();
    }
    return true;
  }

  void fill(Entry& entry) {
    const Zygotes::Current current = zygotes.current(*entry.shape.kind);
    clear(entry, current.zygote);
    if (!current.stays || stopping || entry.filling || now() < entry.restUntil || entry.isCrowded(now())) return;
    if (static_cast<int>(entry.parked.size()) >= entry.wanted(now()) || !makeRoom(&entry, kExpected)) return;
    entry.filling = true;
    later([this, key = entry.shape.key(), shape = entry.shape, zygote = current.zygote] { make(key, shape, zygote); });
  }

  // On the background's thread.
  void make(const std::string& key, const Shape& shape, const std::shared_ptr<sandbox::Zygote>& zygote) {
    Result<Slot> made = options.make(shape, zygote);
    const std::int64_t size = made.ok() ? made->parked->privateBytes() : 0;
    const std::lock_guard lock(mutex);
    const auto found = entries.find(key);
    if (!made.ok()) {
      spdlog::warn("parking: {}", made.error().message);
      if (found != entries.end()) {
        found->second.restUntil = now() + kRest;
        found->second.filling = false;
      }
      return;
    }
    if (found == entries.end() || stopping) return discard(std::move(*made));
    found->second.filling = false;
    found->second.parked.push_back({std::move(*made), size});
    fill(found->second);
  }

  Entry& entryOf(const Shape& shape) {
    const auto [at, added] = entries.try_emplace(shape.key());
    at->second.shape = shape;
    at->second.usedAt = now();
    if (!added) return at->second;
    while (entries.size() > kMostShapes) {
      auto least = std::min_element(entries.begin(), entries.end(),
                                    [](const auto& a, const auto& b) { return a.second.usedAt < b.second.usedAt; });
      for (Parked& each : least->second.parked) discard(std::move(each.slot));
      entries.erase(least);
    }
    return entries.at(shape.key());
  }
};

Parking::Parking(Zygotes& zygotes, const Clock& clock, Options options)
    : impl_(std::make_unique<Impl>(zygotes, clock, std::move(options))) {}

Parking::~Parking() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    for (auto& [key, entry] : impl_->entries) {
      for (Parked& each : entry.parked) impl_->discard(std::move(each.slot));
      entry.parked.clear();
    }
  }
  impl_->background.join();
}

std::optional<Parking::Slot> Parking::take(const Shape& shape, const std::shared_ptr<sandbox::Zygote>& zygote) {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->entries.find(shape.key());
  if (found == impl_->entries.end()) return std::nullopt;
  impl_->clear(found->second, zygote);
  if (found->second.parked.empty()) return std::nullopt;
  Slot slot = std::move(found->second.parked.front().slot);
  found->second.parked.erase(found->second.parked.begin());
  return slot;
}

void Parking::started(const Shape& shape, const std::string& function) {
  if (impl_->options.memoryBytes <= 0) return;
  const std::lock_guard lock(impl_->mutex);
  Entry& entry = impl_->entryOf(shape);
  if (entry.functions.size() < kMostFunctions) entry.functions.insert(function);
  entry.starts.push_back(entry.usedAt);
  while (entry.starts.size() > kMostOfAShape || entry.starts.front() < entry.usedAt - kMemory) entry.starts.pop_front();
  impl_->fill(entry);
}

void Parking::retire(const std::string& function) {
  const std::lock_guard lock(impl_->mutex);
  for (auto at = impl_->entries.begin(); at != impl_->entries.end();) {
    Entry& entry = at->second;
    if (entry.functions.erase(function) == 0 || !entry.functions.empty()) {
      ++at;
      continue;
    }
    for (Parked& each : entry.parked) impl_->discard(std::move(each.slot));
    at = impl_->entries.erase(at);  // one that is being made finds its shape gone
  }
}

void Parking::tend() {
  const std::lock_guard lock(impl_->mutex);
  (void)impl_->makeRoom(nullptr, 0);
  for (auto& [key, entry] : impl_->entries) impl_->fill(entry);
}

std::vector<Parking::View> Parking::all() const {
  const std::lock_guard lock(impl_->mutex);
  std::map<std::string, View> sums;
  for (const auto& [key, entry] : impl_->entries) {
    const std::string kind = entry.shape.kind->key();
    View& sum = sums.try_emplace(kind, View{kind}).first->second;
    for (const Parked& each : entry.parked) {
      sum.parked += 1;
      sum.bytes += each.bytes;
    }
  }
  std::vector<View> out;
  for (auto& [kind, sum] : sums) out.push_back(std::move(sum));
  return out;
}

void Parking::settle() {
  std::unique_lock lock(impl_->mutex);
  impl_->settled.wait(lock, [&] { return impl_->pending == 0; });
}

}  // namespace gridiron::worker
