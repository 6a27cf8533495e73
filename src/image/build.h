#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "image/base.h"
#include "image/dockerfile.h"
#include "image/host_settings.h"
#include "image/image.h"
#include "image/layers.h"

namespace gridiron::image {

// What one build works with. Everything outlives it.
struct BuildTools {
  Layers& layers;
  const StepRunner& run;
  const HostSettings& host;
  // An image by its tag: a finished one of the recipe, a registry's, one made from a mirror.
  std::function<Result<Base>(const std::string& tag)> base;
  // The uv program as a directory holding /uv and /uvx, for when the image that carries it cannot be had; fetched by
  // the Python of `over`.
  std::function<Result<std::string>(const std::string& version, const Base& over)> uv;
  const BuildLog& log;
};

// Carries out the recipe's Dockerfile; gives its last stage. Fails with the step, its exit code and its last output.
Result<Base> buildRecipe(const Recipe& recipe, const BuildTools& tools);

// The environment of a step: the host's settings under `environment`, and what every program expects.
std::vector<std::pair<std::string, std::string>> stepEnvironment(
    const HostSettings& host, const std::vector<std::pair<std::string, std::string>>& environment);

// Takes out of a step's changes what is there only because something was bound over it.
void removeBuildFiles(const std::string& upper);

}  // namespace gridiron::image
