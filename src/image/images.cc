#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <sstream>

#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"
#include "image/base.h"
#include "image/build.h"
#include "image/host_settings.h"
#include "image/image.h"
#include "image/layers.h"
#include "image/packages.h"
#include "image/records.h"
#include "image/registry.h"
#include "image/stack.h"

namespace gridiron::image {

namespace fs = std::filesystem;

namespace {

bool plainId(const std::string& id) {
  const auto plain = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_'; };
  return !id.empty() && std::all_of(id.begin(), id.end(), plain);
}

// The first `python` or `python3` along the image's PATH.
std::string pythonOf(const Stack& view, const std::map<std::string, std::string>& environment) {
  const auto path = environment.find("PATH");
  std::istringstream folders(path == environment.end() ? "/usr/local/bin:/usr/bin:/bin" : path->second);
  for (std::string folder; std::getline(folders, folder, ':');) {
    for (const char* name : {"python", "python3"}) {
      const auto entry = view.find(folder + "/" + name);
      if (entry && S_ISREG(entry->status.st_mode) && (entry->status.st_mode & 0111) != 0) return folder + "/" + name;
    }
  }
  return "";
}

// Layers are named in mounts, which are made elsewhere.
Images::Options withAbsolutePaths(Images::Options options) {
  options.directory = fs::absolute(options.directory).string();
  options.cacheDirectory = fs::absolute(options.cacheDirectory).string();
  return options;
}

}  // namespace

struct Images::Impl {
  Impl(Options given, StepRunner runner)
      : options(withAbsolutePaths(std::move(given))),
        run(std::move(runner)),
        layers(options.directory),
        registry(options.directory, options.mirrors, layers, curlFetch()) {}

  const Options options;
  const StepRunner run;
  Layers layers;
  Registry registry;
  std::mutex mutex;  // of what follows
  std::optional<HostSettings> settings;

  std::string recordPath(const std::string& id) const { return options.directory + "/images/" + id + ".json"; }

  Result<const HostSettings*> host() {
    const std::lock_guard held(mutex);
    if (!settings) {
      if (!options.inheritHostSettings) {
        settings.emplace();
        settings->aptSources = debianMirrors(readAptSources());
      } else {
        ASSIGN_OR_RETURN(settings, hostSettings(readHostTexts(), options.directory + "/host"));
      }
    }
    return &*settings;
  }

  std::optional<Record> record(const std::string& id) const {
    if (!plainId(id)) return std::nullopt;
    const auto text = readFile(recordPath(id));
    if (!text.ok()) return std::nullopt;
    auto record = readRecord(*text);
    if (!record) return std::nullopt;
    const auto there = [](const std::string& layer) { return ::access(layer.c_str(), F_OK) == 0; };
    const auto& paths = record->built.layers;
    return std::all_of(paths.begin(), paths.end(), there) ? std::move(record) : std::nullopt;
  }

  Result<void> keep(const Record& record) const {
    RETURN_IF_ERROR(makeDirectories(options.directory + "/images"));
    return writeFileAtomic(recordPath(record.built.imageId), writeRecord(record), 0644, Durable::yes);
  }

  Packages packages() {
    return Packages(options.cacheDirectory, run, [this] { return host(); });
  }

  // FROM scratch: nothing but the places where the container's own file systems go.
  Result<Base> scratch() {
    Base base;
    base.key = "scratch";
    ASSIGN_OR_RETURN(const auto made, layers.make(layerKey({"scratch"}), [](const std::string& layer) -> Result<void> {
      for (const char* name : {"/dev", "/proc", "/sys", "/run", "/etc", "/root"}) {
        RETURN_IF_ERROR(makeDirectories(layer + name));
      }
      RETURN_IF_ERROR(makeDirectories(layer + "/tmp"));
      if (::chmod((layer + "/tmp").c_str(), 01777) != 0) return errnoError("chmod " + layer + "/tmp");
      return {};
    }));
    base.layers = {made.path};
    return base;
  }

  Result<Base> base(const std::string& tag, const Recipe& recipe, const BuildLog& log) {
    if (const auto given = recipe.bases.find(tag); given != recipe.bases.end()) {
      auto found = record(given->second);
      if (!found) return makeError(Code::failedPrecondition, "image {} ('{}') is not built here", given->second, tag);
      const Built& b = found->built;
      return Base{found->key, b.layers, b.environment, b.workdir, b.entrypoint, b.command, b.shell};
    }
    if (tag == "scratch") return scratch();
    auto pulled = registry.pull(tag, recipe.registry, log);
    if (pulled.ok() || !bootstrappable(tag).ok()) {
      if (pulled.ok() || pulled.error().code != Code::unavailable) return pulled;
      return Error{Code::unavailable, pulled.error().message + "; " + bootstrappable(tag).error().message};
    }
    log(fmt::format("no registry gave {} ({})\n", tag, pulled.error().message));
    ASSIGN_OR_RETURN(const HostSettings* settings, host());
    return bootstrap(tag, options.cacheDirectory, *settings, log);
  }

  // What only the image itself can tell: its Python and that one's packages.
  Result<void> probe(Built& built) {
    const Stack view(built.layers);
    for (const std::string& loader : view.glob("/lib/ld-musl-*.so.1")) built.libc = loader.empty() ? "" : "musl 1.2";
    const std::string python = pythonOf(view, built.environment);
    if (python.empty()) return {};
    ASSIGN_OR_RETURN(const WorkDirectory work, WorkDirectory::make(options.directory + "/layers"));
    Step step;
    step.lowers = built.layers;
    step.upper = work.path() + "/upper";
    RETURN_IF_ERROR(makeDirectories(step.upper));
    step.argv = probeArgv(python);
    step.environment = stepEnvironment({}, {built.environment.begin(), built.environment.end()});
    step.workdir = "/";
    std::string output;
    ASSIGN_OR_RETURN(const int exitCode, run(step, [&](std::string_view piece) { output += piece; }));
    if (exitCode == 0 && readProbe(output, built)) built.pythonPath = python;
    return {};
  }

  Result<Built> finish(const std::string& id, const Base& base, const std::string& builderVersion) {
    Record record;
    record.key = base.key;
    Built& built = record.built;
    built.imageId = id;
    built.layers = base.layers;
    built.environment = base.environment;
    built.workdir = base.workdir;
    built.entrypoint = base.entrypoint;
    built.command = base.command;
    built.shell = base.shell;
    built.builderVersion = builderVersion;
    if (auto probed = probe(built); !probed.ok()) return probed.error().within("look at the image's Python");
    RETURN_IF_ERROR(keep(record));
    return built;
  }
};

Images::Images(Options options, StepRunner run) : impl_(std::make_unique<Impl>(std::move(options), std::move(run))) {}
Images::~Images() = default;

std::optional<Built> Images::find(const std::string& imageId) const {
  auto record = impl_->record(imageId);
  if (!record) return std::nullopt;
  return std::move(record->built);
}

Result<Built> Images::build(const std::string& imageId, const Recipe& recipe, const BuildLog& log) {
  if (!plainId(imageId)) return makeError(Code::invalidArgument, "'{}' is no image id", imageId);
  if (auto done = find(imageId)) return std::move(*done);
  ASSIGN_OR_RETURN(const HostSettings* settings, impl_->host());
  const auto base = [&](const std::string& tag) { return impl_->base(tag, recipe, log); };
  const auto uv = [&](const std::string& version, const Base& over) -> Result<std::string> {
    Built image;
    image.layers = over.layers;
    image.environment = over.environment;
    RETURN_IF_ERROR(impl_->probe(image));
    return impl_->packages().uv(version, image, log);
  };
  const BuildTools tools{impl_->layers, impl_->run, *settings, base, uv, log};
  ASSIGN_OR_RETURN(const Base built, buildRecipe(recipe, tools));
  return impl_->finish(imageId, built, recipe.builderVersion);
}

Result<Built> Images::commit(const std::string& imageId, const std::string& baseImageId, const std::string& changes) {
  if (!plainId(imageId)) return makeError(Code::invalidArgument, "'{}' is no image id", imageId);
  const auto below = impl_->record(baseImageId);
  if (!below) return makeError(Code::failedPrecondition, "image {} is not here", baseImageId);
  const std::string key = layerKey({below->key, "commit", imageId});
  ASSIGN_OR_RETURN(const std::string layer, impl_->layers.adopt(key, changes));
  const Built& b = below->built;
  Base base{key, b.layers, b.environment, b.workdir, b.entrypoint, b.command, b.shell};
  base.layers.insert(base.layers.begin(), layer);
  return impl_->finish(imageId, base, b.builderVersion);
}

Result<void> Images::fetchCriu(const BuildLog& log) {
  ASSIGN_OR_RETURN(const HostSettings* host, impl_->host());
  return bootstrapCriu(impl_->options.cacheDirectory, *host, log);
}

Result<Images::ClientPackage> Images::clientPackage(const std::string& clientVersion, const Built& image,
                                                    bool needsFastapi, const BuildLog& log) {
  return impl_->packages().client(clientVersion, image, needsFastapi, log);
}

}  // namespace gridiron::image
