#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace gridiron::image {

// What a client asks to be built: one layer of modal.Image (protocol.md §3.1). Plain values; wire/ fills it.
struct Recipe {
  std::vector<std::string> dockerfile;                            // joined with "\n" gives the Dockerfile
  std::map<std::string, std::string> bases;                       // docker tag ("base") → image id
  std::vector<std::pair<std::string, std::string>> contextFiles;  // absolute name → bytes
  std::string contextDirectory;  // host directory with the context mount laid out, or ""
  std::vector<std::pair<std::string, std::string>> buildArgs;
  std::vector<std::pair<std::string, std::string>> secrets;  // environment of each RUN, not kept
  std::string builderVersion;                                // "2025.06"
  struct Registry {
    std::string username, password;
  } registry;  // empty = anonymous
};

// A finished image: what a container needs to run it.
struct Built {
  std::string imageId;
  std::vector<std::string> layers;  // directories, topmost first
  std::map<std::string, std::string> environment;
  std::string workdir;  // "" = not set
  std::vector<std::string> entrypoint, command, shell;
  std::string pythonVersion;                          // "3.11.2", "" = none
  std::string pythonPath;                             // "/usr/local/bin/python"
  std::string libc;                                   // "glibc 2.36" or "musl 1.2"
  std::map<std::string, std::string> pythonPackages;  // distribution → version
  std::string builderVersion;
};

// A host file laid into a step, read-only; its target is no part of the layer that comes out.
struct StepBind {
  std::string source, target;
};

// Runs one RUN step: `argv` over `lowers` with changes going to `upper`, as root, with the host's network. Supplied by
// the worker (sandbox/); the fake in tests writes files. Output pieces go to `log`. Gives the exit code.
struct Step {
  std::vector<std::string> lowers;
  std::string upper;
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> environment;
  std::string workdir;
  std::vector<StepBind> binds;  // the CA bundle at its own path, the apt settings of the host
};
using StepRunner = std::function<Result<int>(const Step& step, const std::function<void(std::string_view)>& log)>;
using BuildLog = std::function<void(std::string_view)>;

// Builds and keeps images under a directory: layers/<content key>/, images/<image id>.json, bases. Blocking; calls for
// different images may come from different threads. Nothing half-built stays: a layer appears by rename.
class Images {
 public:
  struct Options {
    std::string directory;             // the worker's store
    std::string cacheDirectory;        // bases, wheels: outside the checkout, shared, kept
    std::vector<std::string> mirrors;  // registries tried before the image's own
    bool inheritHostSettings = true;   // apt, pip, proxies, CA bundle into builds
  };
  Images(Options options, StepRunner run);
  ~Images();

  // Already finished, with all its layers on disk.
  std::optional<Built> find(const std::string& imageId) const;
  // Builds `recipe` as `imageId`; its bases must have been built. Failure: the step, its exit code and last output.
  Result<Built> build(const std::string& imageId, const Recipe& recipe, const BuildLog& log);

  // Makes what a container changed on `baseImageId` into the image `imageId` (Image.run_function): the directory
  // `changes`, an overlay upper of the same file system, becomes its topmost layer by rename; the rest is the base's.
  Result<Built> commit(const std::string& imageId, const std::string& baseImageId, const std::string& changes);

  // What memory snapshots are made with, at criuTree(cacheDirectory), unless it is there.
  Result<void> fetchCriu(const BuildLog& log);

  // Directories to be mounted for a client version on an image (protocol.md §3.6): the client package (→ /pkg) and the
  // dependencies for the image's Python and builder version (→ /__modal/deps), from wheels, .pyc compiled, fetched
  // once.
  struct ClientPackage {
    std::string pkg;
    std::string dependencies;
    std::string extras;
  };
  // `needsFastapi`: also FastAPI in `extras`, to come after the user's own packages on sys.path.
  Result<ClientPackage> clientPackage(const std::string& clientVersion, const Built& image, bool needsFastapi,
                                      const BuildLog& log);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gridiron::image
