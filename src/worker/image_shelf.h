#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/image.h"
#include "sandbox/sandbox.h"

namespace gridiron::worker {

// The images of this machine, as starts and builds need them. All functions block; any thread.
class ImageShelf {
 public:
  virtual ~ImageShelf() = default;

  virtual std::vector<std::string> finished() const = 0;  // ids
  virtual std::optional<image::Built> find(const std::string& imageId) const = 0;
  // A stop ends the running step; the build then fails as cancelled.
  virtual Result<image::Built> build(const std::string& imageId, const image::Recipe& recipe,
                                     const image::BuildLog& log, std::stop_token stop) = 0;
  virtual Result<image::Images::ClientPackage> clientPackage(const std::string& clientVersion,
                                                             const image::Built& image, bool needsFastapi,
                                                             const image::BuildLog& log) = 0;
  // What memory snapshots are made with (image::criuTree).
  virtual Result<void> fetchCriu(const image::BuildLog& /*log*/) {
    return makeError(Code::unimplemented, "there is no criu here");
  }
  // Makes the changes of a container on `baseImageId` the image `imageId`. Takes the directory `changes`.
  virtual Result<image::Built> commit(const std::string& imageId, const std::string& baseImageId,
                                      const std::string& changes) = 0;
};

// Images kept by image/, whose build steps run in `sandboxes` with the host's network. `sandboxes` outlives it.
std::unique_ptr<ImageShelf> openImageShelf(image::Images::Options options, sandbox::Sandboxes& sandboxes);

}  // namespace gridiron::worker
