#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/host_settings.h"
#include "image/image.h"

namespace gridiron::image {

// Python packages fetched by an image's own interpreter (so that they fit its ABI and its .pyc are its own) and kept
// under the cache directory. Each is fetched once, appears by rename, and is made by one process at a time.
class Packages {
 public:
  // `host` is asked only when something has to be fetched.
  using Host = std::function<Result<const HostSettings*>()>;
  Packages(std::string cacheDirectory, const StepRunner& run, Host host)
      : cache_(std::move(cacheDirectory)), run_(run), host_(std::move(host)) {}

  Result<Images::ClientPackage> client(const std::string& version, const Built& image, bool needsFastapi,
                                       const BuildLog& log);
  // A directory holding /uv and /uvx. "" or "latest" = the newest the index has.
  Result<std::string> uv(const std::string& version, const Built& over, const BuildLog& log);

 private:
  // Runs the shell script over the image; what it leaves at `inside` becomes `target`. Its output is added to `output`.
  Result<void> fetch(const Built& image, const std::string& script, const std::string& inside,
                     const std::string& target, std::string& output, const BuildLog& log);
  Result<std::string> package(const std::string& version, const Built& image, const BuildLog& log);
  Result<std::string> dependencies(const std::string& list, const Built& image, const BuildLog& log);
  Result<std::string> extras(const std::string& list, const Built& image, const BuildLog& log);

  std::string cache_;
  const StepRunner& run_;
  Host host_;
};

// The requirement list in a client package's modal/builder for a builder version and a Python: its own, or of the
// newest builder that the package knows. "" when it has none.
std::string requirementFile(const std::vector<std::string>& files, const std::string& builderVersion,
                            const std::string& python);

// What pip said it has no distribution for ("certifi==2026.10.19"), "" when it ended for another reason.
std::string missingRequirement(const std::string& pipOutput);

// The list without the pin of `requirement`.
std::string withoutPin(const std::string& list, const std::string& requirement);

// What extras for FastAPI must fit: of the packages that it brings, those that come earlier on sys.path.
std::string extrasConstraints(const std::map<std::string, std::string>& installed, const std::string& list);

}  // namespace gridiron::image
