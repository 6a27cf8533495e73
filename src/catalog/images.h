#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/ids.h"
#include "store/store.h"

namespace gridiron {

enum class ImageState { building = 1, ready = 2, failed = 3 };

// What is known of a finished image.
struct ImageFacts {
  std::string pythonVersion;  // "Python 3.11.2"
  std::string libcVersion;
  std::string workdir;
  std::map<std::string, std::string> pythonPackages;
  std::vector<std::string> entrypoint, command;
  bool operator==(const ImageFacts&) const = default;
};

struct Image {
  ImageId id;
  std::string builderVersion;
  std::string recipe;  // the client's message as it came, for who builds it
  FunctionId builder;  // Image.run_function: the function that makes it
  ImageId base;        // with `builder`: what that function runs on
  AppId app;           // for whom it was built first
  ImageState state = ImageState::building;
  std::string error;  // of a failed one
  ImageFacts facts;
  Time createdAt{};
  Time finishedAt{};
};

// Images by what they are made of. The build itself is somebody else's: it is asked for and told of. Loop thread only.
class ImageBook {
 public:
  ImageBook(Store& store, const Clock& clock, std::string workspace);
  Result<void> load();

  struct Ask {
    std::string content;  // all that decides the result; equal content, equal image
    Image image;          // its recipe, builder version, app…; id and state are filled in
    bool force = false;   // build again although there is one
  };
  struct Answer {
    Image image;
    bool build = false;  // it has to be built now: nobody does yet, or the last attempt failed
  };
  Result<Answer> ask(Ask ask);
  Result<Image> get(const ImageId& id) const;  // notFound "Could not find image with ID im-…"
  // The end of a build; "" is success. Nothing happens to images that are not being built.
  Result<void> finish(const ImageId& id, const std::string& error, ImageFacts facts);
  // That were being built when the process before this one ended.
  std::vector<Image> unfinished() const;
  std::vector<Image> list() const;
  Result<void> erase(const ImageId& id);

 private:
  Result<void> keep(const Image& image);
  Store& store_;
  const Clock& clock_;
  const std::string workspace_;
  std::unordered_map<ImageId, Image> images_;
};

}  // namespace gridiron
