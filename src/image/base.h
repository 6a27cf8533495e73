#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "image/host_settings.h"
#include "image/image.h"

namespace gridiron::image {

// What a build starts from: the layers and settings of an image that was not made by a Recipe.
struct Base {
  std::string key;                  // of its content, for the keys of layers upon it
  std::vector<std::string> layers;  // topmost first
  std::map<std::string, std::string> environment;
  std::string workdir;
  std::vector<std::string> entrypoint, command, shell;
};

// "python:3.11.12-slim-bookworm" → the Debian suite whose Python is that series; "debian:12-slim" → its suite.
struct Wanted {
  std::string suite;   // "bookworm"
  std::string python;  // "3.11", "" = plain Debian
};
// An image that cannot be made from a Debian mirror gives an Error that lists those that can.
Result<Wanted> bootstrappable(const std::string& tag);

// The base for `tag` made from the host's Debian mirror by mmdebstrap, or the one made earlier, in
// <cacheDirectory>/bases. One process makes a base at a time, the others wait for it.
Result<Base> bootstrap(const std::string& tag, const std::string& cacheDirectory, const HostSettings& host,
                       const BuildLog& log);

// Where bootstrapCriu() puts it: a tree with usr/sbin/criu and its libraries, of a Debian whose criu suits the kernels
// of today.
std::string criuTree(const std::string& cacheDirectory);
// Makes it from the host's Debian mirror unless it is there: some seconds, 30 MB.
Result<void> bootstrapCriu(const std::string& cacheDirectory, const HostSettings& host, const BuildLog& log);

}  // namespace gridiron::image
