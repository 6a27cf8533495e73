#include "worker/snapshots.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"

namespace gridiron::worker {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int kMostFailures = 3;              // in a row
constexpr std::size_t kMostTroubled = 1'000;  // that failures are counted of
constexpr const char* kRecord = "/record.json";
constexpr const char* kUnfinished = ".making-";

std::string folderName(const std::string& key) { return sha256(key).hex().substr(0, 32); }

void removeFolder(const std::string& path) {
  std::error_code failed;
  fs::remove_all(path, failed);
  if (failed) spdlog::warn("snapshots: remove {}: {}", path, failed.message());
}

// Sizes of the images by name: criu waits for what was cut short.
json sizesOf(const std::string& images) {
  json sizes = json::object();
  std::error_code failed;
  for (const auto& file : fs::directory_iterator(images, failed)) {
    sizes[file.path().filename().string()] = file.file_size(failed);
  }
  return sizes;
}

// All files that it was kept with are as long as they were; criu adds some of its own when it restores.
bool isWhole(const std::string& images, const json& sizes) {
  const json now = sizesOf(images);
  for (const auto& [file, size] : sizes.items()) {
    if (!now.contains(file) || now[file] != size) return false;
  }
  return true;
}

std::int64_t bytesOf(const std::string& folder) {
  std::int64_t all = 0;
  std::error_code failed;
  for (auto file = fs::recursive_directory_iterator(folder, failed); file != fs::end(file); file.increment(failed)) {
    struct stat facts {};
    if (failed) break;
    if (::lstat(file->path().c_str(), &facts) == 0) all += facts.st_blocks * 512;
  }
  return all;
}

std::string textOf(const json& record, const char* name) {
  const auto found = record.find(name);
  return found != record.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

struct Snapshots::Impl {
  struct Entry {
    std::shared_ptr<Kept> kept;
    std::int64_t bytes = 0;
    json sizes;
    std::int64_t used = 0;  // in their order
  };
  struct Trouble {
    int failures = 0;
    bool retired = false;
  };

  explicit Impl(Options given) : options(std::move(given)) {}

  const Options options;
  mutable std::mutex mutex;
  std::map<std::string, Entry> entries;     // by key
  std::map<std::string, Trouble> troubled;  // by key
  struct Begun {
    Name name;
    bool wanted = true;
  };
  std::map<std::string, Begun> making;  // by key
  std::int64_t uses = 0, failures = 0;

  // Those of an earlier process, in the order of their last use.
  void load() {
    std::vector<std::pair<fs::file_time_type, fs::path>> found;
    std::error_code failed;
    for (const auto& folder : fs::directory_iterator(options.directory, failed)) {
      std::error_code none;
      const auto at = fs::last_write_time(folder.path().string() + kRecord, none);
      if (none || options.spaceBytes <= 0) {
        removeFolder(folder.path());
      } else {
        found.emplace_back(at, folder.path());
      }
    }
    std::sort(found.begin(), found.end());
    for (const auto& [at, folder] : found) load(folder.string());
    makeRoom();
  }

  void load(const std::string& folder) {
    const auto text = readFile(folder + kRecord);
    const json record = text.ok() ? json::parse(*text, nullptr, false) : json();
    const std::string key = record.is_object() ? textOf(record, "key") : "";
    const auto sizes = key.empty() ? record.end() : record.find("images");
    if (key.empty() || sizes == record.end() || !fs::path(folder).filename().string().starts_with(folderName(key)))
      return removeFolder(folder);
    Name name{textOf(record, "app"), textOf(record, "function"), textOf(record, "definition"), key};
    entries[key] = Entry{std::make_shared<Kept>(folder, std::move(name)), bytesOf(folder), *sizes, ++uses};
  }

  // Nobody is given it any more, also after a kill.
  void drop(std::map<std::string, Entry>::iterator at) {
    (void)::unlink((at->second.kept->folder_ + kRecord).c_str());
    at->second.kept->gone_ = true;
    entries.erase(at);
  }

  template <class Which>
  void dropAll(Which which) {
    for (auto at = entries.begin(); at != entries.end();) {
      const auto next = std::next(at);
      if (which(at->second.kept->name())) drop(at);
      at = next;
    }
    for (auto& [key, begun] : making) begun.wanted = begun.wanted && !which(begun.name);
  }

  void makeRoom() {
    for (;;) {
      std::int64_t all = 0;
      auto least = entries.end();
      for (auto at = entries.begin(); at != entries.end(); ++at) {
        all += at->second.bytes;
        if (least == entries.end() || at->second.used < least->second.used) least = at;
      }
      if (all <= options.spaceBytes || least == entries.end()) return;
      drop(least);
    }
  }

  std::unique_ptr<Making> begin(std::shared_ptr<Impl> all, const Name& name) {
    const std::string folder = options.directory + "/" + kUnfinished + randomAlnum(12);
    for (const char* part : {"", "/images", "/changes"}) {
      const Result<void> made = makeDirectories(folder + part, part[0] == '\0' ? 0700 : 0755);
      if (made.ok()) continue;
      spdlog::warn("snapshots: {}", made.error().message);
      removeFolder(folder);
      return nullptr;
    }
    making[name.key] = {name};
    return std::make_unique<Making>(std::move(all), name, folder);
  }

  Result<void> write(const Making& done) const {
    const json sizes = sizesOf(done.images());
    const Name& name = done.name();
    const json record = {{"app", name.app},
                         {"function", name.function},
                         {"definition", name.definition},
                         {"key", name.key},
                         {"images", sizes}};
    // What is found after a power cut is whole.
    const Fd folder(::open(done.folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid() || ::syncfs(folder.get()) != 0) return errnoError("write " + done.folder_);
    return writeFileAtomic(done.folder_ + kRecord, record.dump(), 0600, Durable::yes);
  }
};

Snapshots::Kept::~Kept() {
  if (gone_) removeFolder(folder_);
}

Snapshots::Making::~Making() {
  removeFolder(folder_);
  const std::lock_guard lock(all_->mutex);
  all_->making.erase(name_.key);
}

Snapshots::Snapshots(Options options) : impl_(std::make_shared<Impl>(std::move(options))) {
  const Result<void> made = makeDirectories(impl_->options.directory, 0700);
  if (!made.ok()) spdlog::warn("there are no memory snapshots: {}", made.error().message);
  impl_->load();
}

Snapshots::~Snapshots() = default;

Snapshots::Offer Snapshots::offer(const Name& name) {
  Offer out;
  if (impl_->options.spaceBytes <= 0) return out;
  if (impl_->options.ready && !impl_->options.ready()) return out;
  const std::lock_guard lock(impl_->mutex);
  const auto trouble = impl_->troubled.find(name.key);
  if (trouble != impl_->troubled.end() && trouble->second.retired) return out;
  auto found = impl_->entries.find(name.key);
  if (found != impl_->entries.end() && !isWhole(found->second.kept->images(), found->second.sizes)) {
    spdlog::warn("snapshots: {} is not what it was and is made anew", found->second.kept->images());
    ++impl_->failures;
    impl_->drop(found);
    found = impl_->entries.end();
  }
  if (found == impl_->entries.end()) {
    if (!impl_->making.contains(name.key)) out.making = impl_->begin(impl_, name);
    return out;
  }
  Impl::Entry& entry = found->second;
  entry.used = ++impl_->uses;
  (void)::utimensat(AT_FDCWD, (entry.kept->folder_ + kRecord).c_str(), nullptr, 0);
  out.kept = entry.kept;
  return out;
}

Result<void> Snapshots::keep(std::unique_ptr<Making> making) {
  RETURN_IF_ERROR(impl_->write(*making));
  const std::int64_t bytes = bytesOf(making->folder_);
  const Name& name = making->name();
  const std::string folder = impl_->options.directory + "/" + folderName(name.key) + "-" + randomAlnum(8);
  const std::lock_guard lock(impl_->mutex);
  if (!impl_->making[name.key].wanted) return makeError(Code::cancelled, "it is no longer wanted");
  if (bytes > impl_->options.spaceBytes) {
    return makeError(Code::exhausted, "its {} MiB are more than snapshot_space, {} MiB", bytes >> 20,
                     impl_->options.spaceBytes >> 20);
  }
  if (::rename(making->folder_.c_str(), folder.c_str()) != 0) return errnoError("rename " + making->folder_);
  impl_->entries[name.key] =
      Impl::Entry{std::make_shared<Kept>(folder, name), bytes, sizesOf(folder + "/images"), ++impl_->uses};
  impl_->makeRoom();
  return {};
}

std::optional<std::string> Snapshots::failed(const Name& name, const std::string& why) {
  const std::lock_guard lock(impl_->mutex);
  ++impl_->failures;
  if (impl_->troubled.size() >= kMostTroubled) impl_->troubled.erase(impl_->troubled.begin());
  Impl::Trouble& trouble = impl_->troubled[name.key];
  if (++trouble.failures < kMostFailures || trouble.retired) return std::nullopt;
  trouble.retired = true;
  if (const auto found = impl_->entries.find(name.key); found != impl_->entries.end()) impl_->drop(found);
  return fmt::format("the memory snapshot failed {} times in a row and is not tried any more: {}", kMostFailures, why);
}

void Snapshots::worked(const Name& name) {
  const std::lock_guard lock(impl_->mutex);
  impl_->troubled.erase(name.key);
}

void Snapshots::forgetApp(const std::string& app) {
  const std::lock_guard lock(impl_->mutex);
  impl_->dropAll([&](const Name& name) { return name.app == app; });
}

void Snapshots::forgetOlder(const std::string& function, const std::string& definition) {
  const std::lock_guard lock(impl_->mutex);
  impl_->dropAll([&](const Name& name) { return name.function == function && name.definition != definition; });
}

std::vector<std::string> Snapshots::apps() const {
  const std::lock_guard lock(impl_->mutex);
  std::set<std::string> all;
  for (const auto& [key, entry] : impl_->entries) all.insert(entry.kept->name().app);
  return {all.begin(), all.end()};
}

Snapshots::View Snapshots::view() const {
  const std::lock_guard lock(impl_->mutex);
  View out;
  out.failures = impl_->failures;
  for (const auto& [key, entry] : impl_->entries) {
    ++out.kept;
    out.bytes += entry.bytes;
  }
  return out;
}

std::string machineMarks() {
  utsname names{};
  (void)::uname(&names);
  std::string marks = std::string(names.release) + " " + names.version;
  const auto processors = readFile("/proc/cpuinfo");
  if (!processors.ok()) return marks;
  for (const char* field : {"model name", "flags"}) {
    const auto at = processors->find(field);
    if (at != std::string::npos) marks += processors->substr(at, processors->find('\n', at) - at);
  }
  return marks;
}

}  // namespace gridiron::worker
