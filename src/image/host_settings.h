#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/image.h"

namespace gridiron::image {

// What of the host's package settings goes into builds (Options::inheritHostSettings): proxies, indexes of pip, uv and
// npm, the CA bundle, apt's Acquire options. The bundle and the apt options are bound in under /run/gridiron, never
// over files of the image.
struct HostSettings {
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<StepBind> binds;
  std::vector<std::string> aptOptions;  // lines of apt.conf
  std::vector<std::string> aptSources;  // URIs of Debian mirrors of the host: the archive's, then the security one's
};

inline constexpr const char* kBuildFiles = "/run/gridiron";

using Lookup = std::function<std::optional<std::string>(const std::string&)>;  // an environment variable

// The texts that the settings are read from; a test supplies its own.
struct HostTexts {
  Lookup environment;
  std::string aptConfigDump;            // of `apt-config dump`
  std::string pipConfigList;            // of `pip config list`
  std::string npmrc;                    // the user's .npmrc
  std::vector<std::string> aptSources;  // sources.list, *.list and *.sources
  std::string systemBundle;             // path of the system's CA bundle or ""
};
HostTexts readHostTexts();
std::vector<std::string> readAptSources();

// `directory` gets the files to be bound.
Result<HostSettings> hostSettings(const HostTexts& texts, const std::string& directory);

// The Acquire options that a build may have: none that name programs or files of the host.
std::vector<std::string> acquireOptions(const std::string& aptConfigDump);
// URIs of Debian's archive and security archive among sources of either format.
std::vector<std::string> debianMirrors(const std::vector<std::string>& sources);

}  // namespace gridiron::image
