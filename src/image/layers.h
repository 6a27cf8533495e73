#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gridiron::image {

// The name of a layer: a hash of everything that decides its content. Order matters.
std::string layerKey(std::initializer_list<std::string_view> parts);

// Finished layers as directories <directory>/layers/<key>. A layer appears by rename and is never changed.
class Layers {
 public:
  explicit Layers(std::string directory) : directory_(std::move(directory)) {}

  std::string path(const std::string& key) const { return directory_ + "/layers/" + key; }
  bool has(const std::string& key) const;

  // The layer's directory: the one that is there, else what `fill` writes into the empty directory it is given. One
  // caller at a time fills a key, the others wait and find it. A failed fill leaves nothing.
  struct Made {
    std::string path;
    bool cached = false;
  };
  Result<Made> make(const std::string& key, const std::function<Result<void>(const std::string&)>& fill);
  // Moves a finished directory of the same file system into place.
  Result<std::string> adopt(const std::string& key, const std::string& finished);

 private:
  std::string directory_;
};

}  // namespace gridiron::image
