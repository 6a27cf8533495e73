#include "catalog/mounts.h"

#include <algorithm>
#include <regex>

#include "base/id.h"
#include "catalog/records.h"

namespace gridiron {

namespace {

constexpr std::size_t kCached = 4096;

Result<void> checkPath(const std::string& path) {
  bool good = path.size() > 1 && path.front() == '/' && path.back() != '/' && path.find('\0') == std::string::npos;
  std::size_t at = 0;
  while (good && at != std::string::npos) {
    const std::size_t end = path.find('/', at + 1);
    const std::string part = path.substr(at + 1, end == std::string::npos ? end : end - at - 1);
    good = !part.empty() && part != "." && part != "..";
    at = end;
  }
  if (good) return {};
  return makeError(Code::invalidArgument, "'{}' is no absolute path of a file in a mount", path);
}

// All that makes one mount different from another.
std::string contentOf(const Mount& mount) {
  std::string content = mount.globalName + '\0';
  for (const MountFile& file : mount.files)
    content += fmt::format("{} {:o} {}", file.content.hex(), file.mode, file.path) + '\0';
  return content;
}

bool isGlobalName(const std::string& name) {
  static const std::regex known(R"(modal-client-mount-[A-Za-z0-9.+-]+|python-build-standalone\.[A-Za-z0-9.+-]+)");
  return name.size() < 200 && std::regex_match(name, known);
}

}  // namespace

Mounts::Mounts(Store& store, blob::Blobs& blobs, const Clock& clock, std::string workspace)
    : store_(store), blobs_(blobs), clock_(clock), workspace_(std::move(workspace)) {}

Result<void> Mounts::keep(const Mount& mount) {
  if (get(mount.id).ok()) return {};
  records::Json files = records::Json::array();
  for (const MountFile& file : mount.files) files.push_back({file.path, file.content.hex(), file.mode, file.size});
  records::Json json{{"global_name", mount.globalName}, {"files", files}};
  Batch batch;
  batch.put(Object{"mount", mount.id.str(), workspace_, "", "", true, clock_.now(), records::dump(json)});
  RETURN_IF_ERROR(store_.apply(batch));
  cache_[mount.id] = std::make_shared<const Mount>(mount);
  return {};
}

Result<Mount> Mounts::put(std::vector<MountFile> files) {
  for (MountFile& file : files) {
    RETURN_IF_ERROR(checkPath(file.path));
    const auto size = blobs_.size(file.content);
    if (!size)
      return makeError(Code::failedPrecondition, "the content of {} (sha256 {}) has not been uploaded", file.path,
                       file.content.hex());
    file.size = *size;
    file.mode &= 07777;
    if (file.mode == 0) file.mode = 0644;
  }
  std::sort(files.begin(), files.end(), [](const MountFile& a, const MountFile& b) { return a.path < b.path; });
  for (std::size_t i = 1; i < files.size(); ++i) {
    if (files[i].path == files[i - 1].path && files[i] != files[i - 1])
      return makeError(Code::invalidArgument, "the mount has two files at {}", files[i].path);
  }
  files.erase(std::unique(files.begin(), files.end()), files.end());
  Mount mount{{}, "", std::move(files)};
  mount.id = {contentId(MountTag::prefix, contentOf(mount))};
  RETURN_IF_ERROR(keep(mount));
  return mount;
}

Result<Mount> Mounts::global(const std::string& name) {
  if (!isGlobalName(name)) return makeError(Code::notFound, "Mount '{}' not found", name);
  Mount mount{{}, name, {}};
  mount.id = {contentId(MountTag::prefix, contentOf(mount))};
  RETURN_IF_ERROR(keep(mount));
  return mount;
}

Result<std::shared_ptr<const Mount>> Mounts::get(const MountId& id) {
  if (const auto found = cache_.find(id); found != cache_.end()) return found->second;
  ASSIGN_OR_RETURN(auto object, store_.get("mount", id.str()));
  if (!object) return makeError(Code::notFound, "Mount '{}' not found", id.str());
  auto mount = std::make_shared<Mount>();
  mount->id = id;
  bool good = true;
  RETURN_IF_ERROR(records::parse(*object, [&](const records::Json& json) {
    mount->globalName = json.at("global_name").get<std::string>();
    for (const auto& file : json.at("files")) {
      const auto content = Sha256::fromHex(file.at(1).get<std::string>());
      good = good && content.has_value();
      mount->files.push_back({file.at(0).get<std::string>(), content.value_or(Sha256{}),
                              file.at(2).get<std::uint32_t>(), file.at(3).get<std::uint64_t>()});
    }
  }));
  if (!good) return makeError(Code::dataLoss, "mount {} in the store is damaged", id.str());
  if (cache_.size() >= kCached) cache_.clear();
  cache_[id] = mount;
  return std::shared_ptr<const Mount>(mount);
}

Sha256 checksumOf(const Mount& mount) { return sha256(contentOf(mount)); }

}  // namespace gridiron
