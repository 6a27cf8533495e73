#include "worker/mounts.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"
#include "worker/offload.h"

namespace gridiron::worker {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kFetchesAtOnce = 16;
constexpr mode_t kDefaultMode = 0644;

mode_t modeOf(const link::MountedFile& file) {
  const mode_t mode = file.mode() & 0777;
  return mode == 0 ? kDefaultMode : mode;
}

// "root/app.py" of "/root/app.py"; refuses what would leave the directory.
Result<std::string> insidePath(const std::string& path) {
  const fs::path normal = fs::path("/" + path).lexically_normal();
  std::string inside = normal.relative_path().string();
  for (const fs::path& part : fs::path(path)) {
    if (part == "..") return makeError(Code::invalidArgument, "mounted file {}: '..' in its path", path);
  }
  if (inside.empty() || inside.back() == '/' || path.find('\0') != std::string::npos) {
    return makeError(Code::invalidArgument, "mounted file '{}': not a file's path", path);
  }
  return inside;
}

std::string contentKey(const link::Mount& mount) {
  std::vector<std::string> lines;
  for (const link::MountedFile& file : mount.files()) {
    lines.push_back(file.path() + '\0' + file.sha256_hex() + '\0' + std::to_string(modeOf(file)));
  }
  std::sort(lines.begin(), lines.end());
  Hasher hasher;
  for (const std::string& line : lines) hasher.update(line + '\n');
  return hexEncode(hasher.finish()).substr(0, 40);
}

// Directories that everybody may write to in any image must stay so where a mount adds to them.
mode_t directoryMode(const std::string& inside) { return inside == "tmp" || inside == "var/tmp" ? 01777 : 0755; }

Result<void> makeParents(const std::string& root, const std::string& inside, std::set<std::string>& made) {
  for (std::size_t slash = inside.find('/'); slash != std::string::npos; slash = inside.find('/', slash + 1)) {
    const std::string parent = inside.substr(0, slash);
    if (!made.insert(parent).second) continue;
    const std::string path = root + "/" + parent;
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return errnoError("mkdir " + path);
    if (::chmod(path.c_str(), directoryMode(parent)) != 0) return errnoError("chmod " + path);
  }
  return {};
}

// A link to the kept file where it has the mode asked for, a copy otherwise.
Result<void> place(const std::string& kept, const std::string& target, mode_t mode) {
  ::unlink(target.c_str());
  if (mode == kDefaultMode && ::link(kept.c_str(), target.c_str()) == 0) return {};
  std::error_code failed;
  fs::copy_file(kept, target, fs::copy_options::overwrite_existing, failed);
  if (failed) return errnoError("copy " + kept + " to " + target, failed.value());
  if (::chmod(target.c_str(), mode) != 0) return errnoError("chmod " + target);
  return {};
}

Result<std::string> hashOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Hasher hasher;
  std::string piece(1 << 18, '\0');
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hasher.update(std::string_view(piece).substr(0, static_cast<std::size_t>(file.gcount())));
  }
  if (!file.eof()) return errnoError("read " + path);
  return hexEncode(hasher.finish());
}

Result<void> checkContent(const std::string& path, const std::string& sha256Hex) {
  ASSIGN_OR_RETURN(const std::string found, hashOf(path));
  if (found != sha256Hex) {
    return makeError(Code::dataLoss, "the bytes received for {} are not its content", sha256Hex);
  }
  if (::chmod(path.c_str(), kDefaultMode) != 0) return errnoError("chmod " + path);
  return {};
}

}  // namespace

struct MountCache::Impl : std::enable_shared_from_this<MountCache::Impl> {
  Impl(asio::io_context& context, asio::thread_pool& threads, std::string where, Fetch how)
      : io(context), pool(threads), directory(std::move(where)), fetch(std::move(how)), changed(context) {}

  asio::io_context& io;
  asio::thread_pool& pool;
  const std::string directory;
  Fetch fetch;
  Notifier changed;                                    // something left `busy`, or a fetch ended
  std::unordered_map<std::string, std::string> known;  // mount id → directory
  std::unordered_set<std::string> busy;                // keys and hashes being worked on
  std::size_t fetching = 0;

  std::string filePath(const std::string& hex) const { return directory + "/files/" + hex.substr(0, 2) + "/" + hex; }
  std::string layoutPath(const std::string& key) const { return directory + "/mounts/" + key; }

  struct Fetches {  // of one mount
    std::size_t open = 0;
    std::optional<Error> failed;
  };

  // Hashes of `mount` whose files are not here. Blocks.
  Result<std::vector<std::string>> missing(const link::Mount& mount) const {
    std::set<std::string> wanted;
    for (const link::MountedFile& file : mount.files()) {
      if (!Sha256::fromHex(file.sha256_hex())) {
        return makeError(Code::invalidArgument, "mounted file {}: '{}' is no SHA-256", file.path(), file.sha256_hex());
      }
      wanted.insert(file.sha256_hex());
    }
    std::vector<std::string> absent;
    for (const std::string& hex : wanted) {
      const std::string path = filePath(hex);
      if (::access(path.c_str(), F_OK) == 0) continue;
      RETURN_IF_ERROR(makeDirectories(fs::path(path).parent_path()));
      absent.push_back(hex);
    }
    return absent;
  }

  Result<void> fill(const std::string& work, const link::Mount& mount) const {
    RETURN_IF_ERROR(makeDirectories(work));
    std::set<std::string> made;
    for (const link::MountedFile& file : mount.files()) {
      ASSIGN_OR_RETURN(const std::string inside, insidePath(file.path()));
      RETURN_IF_ERROR(makeParents(work, inside, made));
      RETURN_IF_ERROR(place(filePath(file.sha256_hex()), work + "/" + inside, modeOf(file)));
    }
    return {};
  }

  // Blocks. The layout appears by rename, so that half of one is never used.
  Result<std::string> layOut(const link::Mount& mount, const std::string& key) const {
    const std::string target = layoutPath(key);
    const std::string work = target + ".new-" + randomAlnum(8);
    Result<void> filled = fill(work, mount);
    if (filled.ok() && ::rename(work.c_str(), target.c_str()) != 0) filled = errnoError("rename " + work);
    if (filled.ok()) return target;
    std::error_code ignored;
    fs::remove_all(work, ignored);
    return filled.error();
  }

  // Waits until nobody else works on `name`, then has it.
  static Task<void> claim(std::shared_ptr<Impl> self, std::string name) {
    while (self->busy.contains(name)) co_await self->changed.wait(1h);
    self->busy.insert(name);
  }
  void release(const std::string& name) {
    busy.erase(name);
    changed.notifyAll();
  }

  static Task<Result<void>> bring(std::shared_ptr<Impl> self, std::string hex) {
    const std::string path = self->filePath(hex);
    if (::access(path.c_str(), F_OK) == 0) co_return Result<void>();
    const std::string work = path + ".new-" + randomAlnum(8);
    Result<void> fetched = co_await self->fetch(hex, work);
    if (fetched.ok()) {
      auto check = [work, hex, path]() -> Result<void> {
        RETURN_IF_ERROR(checkContent(work, hex));
        if (::rename(work.c_str(), path.c_str()) != 0) return errnoError("rename " + work);
        return {};
      };
      fetched = co_await offload(self->io, self->pool, std::move(check));
    }
    if (!fetched.ok()) ::unlink(work.c_str());
    co_return fetched;
  }

  static Task<void> bringOne(std::shared_ptr<Impl> self, std::shared_ptr<Fetches> mine, std::string hex) {
    co_await claim(self, hex);
    Result<void> brought = co_await bring(self, hex);
    if (!brought.ok() && !mine->failed) mine->failed = brought.error().within("fetch " + hex);
    --mine->open;
    --self->fetching;
    self->release(hex);
  }

  static Task<Result<void>> bringAll(std::shared_ptr<Impl> self, std::vector<std::string> hashes) {
    auto mine = std::make_shared<Fetches>();
    for (const std::string& hex : hashes) {
      while (self->fetching >= kFetchesAtOnce) co_await self->changed.wait(1h);
      if (mine->failed) break;
      ++mine->open;
      ++self->fetching;
      spawn(self->io, bringOne(self, mine, hex));
    }
    while (mine->open > 0) co_await self->changed.wait(1h);
    if (mine->failed) co_return *mine->failed;
    co_return Result<void>();
  }

  static Task<Result<std::string>> make(std::shared_ptr<Impl> self, std::shared_ptr<const link::Mount> mount,
                                        std::string key) {
    if (::access(self->layoutPath(key).c_str(), F_OK) == 0) co_return self->layoutPath(key);
    auto look = [self, mount] { return self->missing(*mount); };
    Result<std::vector<std::string>> absent = co_await offload(self->io, self->pool, std::move(look));
    if (!absent.ok()) co_return absent.error();
    Result<void> brought = co_await bringAll(self, std::move(*absent));
    if (!brought.ok()) co_return brought.error();
    auto lay = [self, mount, key] { return self->layOut(*mount, key); };
    Result<std::string> laid = co_await offload(self->io, self->pool, std::move(lay));
    co_return laid;
  }
};

MountCache::MountCache(asio::io_context& io, asio::thread_pool& pool, std::string directory, Fetch fetch)
    : impl_(std::make_shared<Impl>(io, pool, std::move(directory), std::move(fetch))) {}

Task<Result<std::string>> MountCache::layout(link::Mount given) {
  const std::shared_ptr<Impl> self = impl_;
  const auto mount = std::make_shared<const link::Mount>(std::move(given));
  if (const auto known = self->known.find(mount->mount_id()); known != self->known.end()) co_return known->second;
  const std::string key = contentKey(*mount);
  co_await Impl::claim(self, key);
  Result<std::string> made = co_await Impl::make(self, mount, key);
  self->release(key);
  if (!made.ok()) co_return made.error().within("mount " + mount->mount_id());
  if (!mount->mount_id().empty()) self->known[mount->mount_id()] = *made;
  co_return made;
}

}  // namespace gridiron::worker
