#pragma once

#include <string>
#include <string_view>

namespace gridiron {

// How the grid is reached from outside, for URLs that clients are given.
struct GridConfig {
  std::string publicUrl = "http://localhost:8400";    // scheme://host:port of the door, no slash at its end
  std::string domain = "localhost";                   // functions answer at <workspace>--<label>.<domain>
  std::string workspace = "gridiron";                 // of a fresh data folder
  std::string builderVersion = "2025.06";             // of images, for environments that do not say
  std::string containerAuthority = "127.0.0.1:8401";  // the grid as every container sees it
};

// "http" and ":8400" of a public URL, for the functions' own addresses.
inline std::string_view schemeOf(std::string_view publicUrl) { return publicUrl.substr(0, publicUrl.find("://")); }
inline std::string_view portOf(std::string_view publicUrl) {
  const auto colon = publicUrl.rfind(':');
  return colon == publicUrl.find("://") || colon == std::string_view::npos ? "" : publicUrl.substr(colon);
}

}  // namespace gridiron
