#include "worker/zygotes.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"

namespace gridiron::worker {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr Nanos kPatience = 60s;   // of a zygote's imports
constexpr Nanos kLife = 24h;       // children share a hash seed: not for ever
constexpr Nanos kRest = 10min;     // after as many failures as below
constexpr int kMostFailures = 3;   // in a row
constexpr int kMostRenewals = 16;  // for something new that was learnt
constexpr std::size_t kMostNames = 4000;
constexpr std::int64_t kPids = 64;
constexpr std::size_t kMostKinds = 64;   // that something is known of
constexpr std::size_t kMostFiles = 256;  // of what was learnt, of kinds of earlier days too
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kSmallestZygote = 96 * kMiB;  // the client and FastAPI are 75 to 85
// The whole program is one expression: nothing of it stays in __main__, which becomes the container's.
constexpr const char* kBootstrap =
    "exec(compile(open('/__modal/zygote.py').read(), '/__modal/zygote.py', 'exec'), {'__name__': 'gridiron_zygote'})";
constexpr const char* kProgram = "/__modal/zygote.py";
constexpr const char* kHelper = "/__modal/zygote.so";
constexpr const char* kPreload[] = {"modal._container_entrypoint",
                                    "modal._runtime.asgi",
                                    "modal._utils.blob_utils",
                                    "modal._utils.http_utils",
                                    "modal._vendor.cloudpickle",
                                    "modal.experimental",
                                    "multiprocessing",
                                    "concurrent.futures.thread",
                                    "urllib.request",
                                    "tempfile",
                                    "uuid",
                                    "fastapi",
                                    "fastapi.middleware.cors",
                                    "starlette.concurrency",
                                    "anyio._backends._asyncio"};
// Known to hold threads, locks or devices from their import on, or to take over the interpreter's own.
constexpr const char* kDenied[] = {"grpc",    "tensorflow", "jax",      "jaxlib",  "ray",      "pyspark", "jpype",
                                   "mpi4py",  "cupy",       "pycuda",   "gevent",  "eventlet", "faiss",   "pymongo",
                                   "ddtrace", "sentry_sdk", "newrelic", "debugpy", "pydevd"};

// One kind's. Guarded by the mutex of Impl.
struct Entry {
  Zygotes::Kind kind;
  std::shared_ptr<sandbox::Zygote> zygote;
  std::vector<std::string> names;  // to be imported, in their order
  std::set<std::string> known;
  bool starting = false, outdated = false;
  bool ahead = false;  // it is begun for containers that are expected
  int failures = 0, renewals = 0;
  std::int64_t starts = 0;
  Nanos begunAt{}, usedAt{}, restUntil{};
  std::string problem;
};

std::string wishOf(const std::vector<std::string>& names) {
  json wish;
  wish["preload"] = std::vector<std::string>(std::begin(kPreload), std::end(kPreload));
  wish["denied"] = std::vector<std::string>(std::begin(kDenied), std::end(kDenied));
  wish["learnt"] = names;
  return wish.dump(-1, ' ', false, json::error_handler_t::replace);
}

// "grpc (known not to survive a fork)", …
std::vector<std::string> leftOutOf(const sandbox::Zygote& zygote) {
  std::vector<std::string> out;
  const json report = json::parse(zygote.report(), nullptr, false);
  if (!report.is_object()) return out;
  const json leftOut = report.value("left_out", json::object());
  for (const auto& [name, why] : leftOut.items()) {
    if (why.is_string()) out.push_back(fmt::format("{} ({})", name, why.get<std::string>()));
  }
  return out;
}

// "300 modules, 71 MiB; left out: grpc (known not to survive a fork)".
std::string summary(const sandbox::Zygote& zygote) {
  const json report = json::parse(zygote.report(), nullptr, false);
  if (!report.is_object()) return "a report that is none";
  std::string out = fmt::format("{} modules, {} of them learnt, {} MiB", report.value("modules", 0),
                                report.value("learnt", json::array()).size(), zygote.residentBytes() / kMiB);
  std::string left;
  for (const std::string& one : leftOutOf(zygote)) left += (left.empty() ? "; left out: " : ", ") + one;
  return out + left;
}

}  // namespace

std::string Zygotes::Kind::key() const {
  std::string out = image.imageId + " " + clientVersion;
  for (const sandbox::Bind& bind : packages) out += " " + bind.source;
  return out;
}

struct Zygotes::Impl {
  Impl(sandbox::Sandboxes& all, const Clock& time, Options given)
      : sandboxes(all), clock(time), options(std::move(given)) {}

  sandbox::Sandboxes& sandboxes;
  const Clock& clock;
  const Options options;
  mutable std::mutex mutex;
  std::condition_variable settled;
  std::map<std::string, Entry> entries;
  std::size_t pending = 0;  // of the background's work
  std::stop_source stop;
  asio::thread_pool background{1};  // last: its work uses the others

  Nanos now() const { return clock.now().time_since_epoch(); }
  std::string fileOf(const std::string& key) const {
    return options.directory + "/" + sha256(key).hex().substr(0, 24) + ".json";
  }

  // What is known of the kind, which is wanted now.
  Entry& entryOf(const Kind& kind) {
    const auto [at, added] = entries.try_emplace(kind.key());
    Entry& entry = at->second;
    entry.usedAt = now();
    if (!added) return entry;
    forgetOne(at->first);
    entry.kind = kind;
    const auto text = readFile(fileOf(at->first));
    const json kept = text.ok() ? json::parse(*text, nullptr, false) : json();
    if (!kept.is_object() || !kept.contains("names")) return entry;
    for (const json& name : kept["names"]) {
      if (name.is_string() && entry.known.insert(name).second) entry.names.push_back(name);
    }
    return entry;
  }

  // Keeps the number of kinds: the one that was used least lately and has no zygote, else the one of the least worth.
  void forgetOne(const std::string& except) {
    if (entries.size() <= kMostKinds) return;
    auto least = entries.end();
    const auto rank = [this](const Entry& entry) {
      return std::pair(entry.zygote ? worth(entry, now()) : 0.0, entry.usedAt);
    };
    for (auto at = entries.begin(); at != entries.end(); ++at) {
      if (at->first == except || at->second.starting) continue;
      if (least == entries.end() || rank(at->second) < rank(least->second)) least = at;
    }
    if (least == entries.end()) return;
    if (least->second.zygote) dismiss(std::move(least->second.zygote));
    entries.erase(least);
  }

  // Ends it: in the background, as it may wait for the kernel.
  void dismiss(std::shared_ptr<sandbox::Zygote> zygote) {
    ++pending;
    asio::post(background, [this, gone = std::move(zygote)]() mutable {
      gone->retire();
      gone.reset();
      done();
    });
  }

  void done() {
    const std::lock_guard lock(mutex);
    --pending;
    settled.notify_all();
  }

  // Files of kinds that nothing was learnt of for the longest time go.
  void prune() const {
    std::vector<std::pair<fs::file_time_type, fs::path>> files;
    std::error_code ignored;
    for (const auto& file : fs::directory_iterator(options.directory, ignored))
      files.emplace_back(file.last_write_time(ignored), file.path());
    std::sort(files.rbegin(), files.rend());
    for (std::size_t i = kMostFiles; i < files.size(); ++i) fs::remove(files[i].second, ignored);
  }

  void save(const Entry& entry) const {
    json kept;
    kept["image"] = entry.kind.image.imageId;
    kept["names"] = entry.names;
    const auto saved = writeFileAtomic(fileOf(entry.kind.key()),
                                       kept.dump(1, ' ', false, json::error_handler_t::replace), 0600, Durable::no);
    if (!saved.ok()) spdlog::warn("zygotes: {}", saved.error().message);
  }

  // True when one of them is new.
  static bool learn(Entry& entry, std::string_view imports) {
    bool any = false;
    std::istringstream lines{std::string(imports)};
    for (std::string name; std::getline(lines, name);) {
      if (name.empty() || name.find(' ') != std::string::npos || name.size() > 200 || entry.names.size() >= kMostNames)
        continue;
      if (!entry.known.insert(name).second) continue;
      entry.names.push_back(std::move(name));
      any = true;
    }
    return any;
  }

  void begin(Entry& entry, bool ahead = false) {
    if (entry.starting || stop.stop_requested() || now() < entry.restUntil) return;
    entry.starting = true;
    entry.ahead = ahead;
    ++pending;
    asio::post(background, [this, key = entry.kind.key()] { make(key); });
  }

  sandbox::Spec specOf(const Kind& kind) const {
    sandbox::Spec spec;
    spec.name = "zygote-" + randomAlnum(12);
    spec.lowers = kind.image.layers;
    spec.binds = kind.packages;
    spec.binds.push_back({options.program, kProgram, true});
    spec.binds.push_back({options.helper, kHelper, true});
    spec.argv = {kind.image.pythonPath, "-c", kBootstrap};
    spec.environment = kind.environment;
    spec.hostname = "modal";
    spec.limits.memoryBytes = options.memoryBytes;
    spec.limits.pids = kPids;
    return spec;
  }

  // On the background's thread.
  void make(const std::string& key) {
    std::unique_lock lock(mutex);
    const Kind kind = entries.at(key).kind;
    const std::string wish = wishOf(entries.at(key).names);
    entries.at(key).outdated = false;
    if (entries.at(key).ahead && residentBytes() + kSmallestZygote > options.memoryBytes) {
      entries.at(key).starting = false;
      lock.unlock();
      return done();
    }
    lock.unlock();
    Result<std::shared_ptr<sandbox::Zygote>> made = Error{Code::cancelled, "it is no longer wanted"};
    if (!stop.stop_requested()) made = sandboxes.startZygote(specOf(kind), wish, kPatience, stop.get_token());
    if (made.ok())
      spdlog::info("zygote of image {}, client {}: {}", kind.image.imageId, kind.clientVersion, summary(**made));
    lock.lock();
    Entry& entry = entries.at(key);
    entry.starting = false;
    if (made.ok())
      take(entry, std::move(*made));
    else
      fail(entry, made.error());
    lock.unlock();
    done();
  }

  std::int64_t residentBytes() const {
    std::int64_t total = 0;
    for (const auto& [key, each] : entries) total += each.zygote ? each.zygote->residentBytes() : 0;
    return total;
  }

  void take(Entry& entry, std::shared_ptr<sandbox::Zygote> made) {
    if (entry.zygote) dismiss(std::move(entry.zygote));
    entry.zygote = std::move(made);
    entry.failures = 0;
    entry.problem.clear();
    entry.begunAt = entry.usedAt = now();
    entry.restUntil = {};
    std::int64_t total = residentBytes();
    while (total > options.memoryBytes) {
      Entry& least = leastWorth();
      total -= least.zygote->residentBytes();
      least.problem = "its zygote gave way to others: their memory is limited";
      least.restUntil = now() + kRest;
      spdlog::info("zygote of image {} gives way: all together are limited to {} MiB", least.kind.image.imageId,
                   options.memoryBytes / kMiB);
      dismiss(std::move(least.zygote));
    }
  }

  // Starts served for each MiB, less with the hours since the last.
  static double worth(const Entry& entry, Nanos now) {
    const double hours = std::chrono::duration<double, std::ratio<3600>>(now - entry.usedAt).count();
    const double mib = static_cast<double>(std::max<std::int64_t>(1, entry.zygote->residentBytes() / kMiB));
    return static_cast<double>(1 + entry.starts) / mib / (1 + hours);
  }
  Entry& leastWorth() {
    Entry* least = nullptr;
    for (auto& [key, entry] : entries) {
      if (entry.zygote && (least == nullptr || worth(entry, now()) < worth(*least, now()))) least = &entry;
    }
    return *least;
  }

  void fail(Entry& entry, const Error& error) {
    entry.problem = error.message;
    if (error.code == Code::cancelled) return;
    spdlog::warn("zygote of image {}: {}", entry.kind.image.imageId, error.message);
    if (++entry.failures >= kMostFailures || error.code == Code::unimplemented) {
      entry.failures = 0;
      entry.restUntil = now() + kRest;
    }
  }

  // Lets a dead one go.
  void look(Entry& entry) {
    if (!entry.zygote || entry.zygote->alive()) return;
    dismiss(std::move(entry.zygote));
    fail(entry, Error{Code::unavailable, "its zygote has ended"});
  }
};

Zygotes::Zygotes(sandbox::Sandboxes& sandboxes, const Clock& clock, Options options)
    : impl_(std::make_unique<Impl>(sandboxes, clock, std::move(options))) {
  if (impl_->options.program.empty()) return;
  const auto made = makeDirectories(impl_->options.directory);
  if (!made.ok()) spdlog::warn("zygotes: {}", made.error().message);
  impl_->prune();
}

Zygotes::~Zygotes() {
  impl_->stop.request_stop();
  impl_->background.join();
}

Zygotes::Offer Zygotes::offer(const Kind& kind) {
  if (impl_->options.program.empty() || impl_->options.memoryBytes <= 0) return {nullptr, ""};
  const std::lock_guard lock(impl_->mutex);
  Entry& entry = impl_->entryOf(kind);
  impl_->look(entry);
  if (!entry.zygote) return {nullptr, entry.problem.empty() ? "no zygote of the image is ready yet" : entry.problem};
  ++entry.starts;
  return {entry.zygote, ""};
}

void Zygotes::ready(const Kind& kind, std::string_view imports) {
  if (impl_->options.program.empty() || impl_->options.memoryBytes <= 0) return;
  const std::lock_guard lock(impl_->mutex);
  Entry& entry = impl_->entryOf(kind);
  impl_->look(entry);
  if (Impl::learn(entry, imports)) {
    impl_->save(entry);
    if (entry.renewals++ < kMostRenewals) entry.outdated = true;
  }
  const bool old = entry.zygote && impl_->now() - entry.begunAt > kLife;
  if (!entry.zygote || entry.outdated || old) impl_->begin(entry);
}

void Zygotes::expect(const Kind& kind) {
  if (impl_->options.program.empty() || impl_->options.memoryBytes <= 0) return;
  const std::lock_guard lock(impl_->mutex);
  Entry& entry = impl_->entryOf(kind);
  impl_->look(entry);
  if (!entry.zygote) impl_->begin(entry, true);
}

std::vector<Zygotes::View> Zygotes::all() const {
  const std::lock_guard lock(impl_->mutex);
  std::vector<View> out;
  for (const auto& [key, entry] : impl_->entries) {
    if (!entry.zygote || !entry.zygote->alive()) continue;
    out.push_back({key, entry.kind.image.imageId, entry.kind.clientVersion, entry.zygote->residentBytes(), entry.starts,
                   Time(entry.begunAt), 0, 0, leftOutOf(*entry.zygote)});
  }
  return out;
}

Zygotes::Current Zygotes::current(const Kind& kind) const {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->entries.find(kind.key());
  if (found == impl_->entries.end()) return {};
  const Entry& entry = found->second;
  if (!entry.zygote || !entry.zygote->alive()) return {};
  return {entry.zygote, !entry.starting && !entry.outdated};
}

std::int64_t Zygotes::residentBytes() const {
  std::int64_t all = 0;
  for (const View& view : this->all()) all += view.residentBytes;
  return all;
}

void Zygotes::tend() {
  const std::lock_guard lock(impl_->mutex);
  for (auto& [key, entry] : impl_->entries) {
    impl_->look(entry);
    if (entry.zygote && impl_->now() - entry.usedAt > kLife) impl_->dismiss(std::move(entry.zygote));
  }
}

std::int64_t Zygotes::memoryFor(std::int64_t machineBytes) {
  const std::int64_t share = std::min(machineBytes / 16, 1024 * kMiB);
  return share < kSmallestZygote ? 0 : share;
}

void Zygotes::settle() {
  std::unique_lock lock(impl_->mutex);
  impl_->settled.wait(lock, [&] { return impl_->pending == 0; });
}

}  // namespace gridiron::worker
