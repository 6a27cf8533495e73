#include "catalog/images.h"

#include <algorithm>

#include "base/id.h"
#include "catalog/records.h"

namespace gridiron {

namespace {

records::Json write(const Image& image) {
  return {{"builder_version", image.builderVersion},
          {"recipe", base64Encode(image.recipe)},
          {"builder", image.builder.str()},
          {"base", image.base.str()},
          {"app", image.app.str()},
          {"state", static_cast<int>(image.state)},
          {"error", image.error},
          {"finished_at", records::nanosOf(image.finishedAt)},
          {"python", image.facts.pythonVersion},
          {"libc", image.facts.libcVersion},
          {"workdir", image.facts.workdir},
          {"packages", image.facts.pythonPackages},
          {"entrypoint", image.facts.entrypoint},
          {"command", image.facts.command}};
}

Image read(const Object& object, const records::Json& json) {
  Image image;
  image.id = {object.id};
  image.createdAt = object.createdAt;
  json.at("builder_version").get_to(image.builderVersion);
  image.recipe = records::bytesOf(json.at("recipe").get<std::string>());
  json.at("builder").get_to(image.builder.value);
  json.at("base").get_to(image.base.value);
  json.at("app").get_to(image.app.value);
  image.state = static_cast<ImageState>(json.at("state").get<int>());
  json.at("error").get_to(image.error);
  image.finishedAt = records::timeOf(json.at("finished_at").get<std::int64_t>());
  json.at("python").get_to(image.facts.pythonVersion);
  json.at("libc").get_to(image.facts.libcVersion);
  json.at("workdir").get_to(image.facts.workdir);
  json.at("packages").get_to(image.facts.pythonPackages);
  json.at("entrypoint").get_to(image.facts.entrypoint);
  json.at("command").get_to(image.facts.command);
  return image;
}

}  // namespace

ImageBook::ImageBook(Store& store, const Clock& clock, std::string workspace)
    : store_(store), clock_(clock), workspace_(std::move(workspace)) {}

Result<void> ImageBook::load() {
  ASSIGN_OR_RETURN(auto objects, store_.list(records::all("image")));
  for (const Object& object : objects) {
    RETURN_IF_ERROR(records::parse(
        object, [&](const records::Json& json) { images_.emplace(ImageId{object.id}, read(object, json)); }));
  }
  return {};
}

Result<void> ImageBook::keep(const Image& image) {
  Batch batch;
  batch.put(Object{"image", image.id.str(), workspace_, "", "", true, image.createdAt, records::dump(write(image))});
  RETURN_IF_ERROR(store_.apply(batch));
  images_[image.id] = image;
  return {};
}

Result<ImageBook::Answer> ImageBook::ask(Ask ask) {
  const ImageId id{contentId(ImageTag::prefix, ask.content)};
  const auto found = images_.find(id);
  const bool known = found != images_.end();
  if (known && found->second.state == ImageState::building) return Answer{found->second, false};
  if (known && found->second.state == ImageState::ready && !ask.force) return Answer{found->second, false};
  Image image = std::move(ask.image);
  image.id = id;
  image.state = ImageState::building;
  image.error.clear();
  image.createdAt = clock_.now();
  image.finishedAt = {};
  RETURN_IF_ERROR(keep(image));
  return Answer{image, true};
}

Result<Image> ImageBook::get(const ImageId& id) const {
  const auto found = images_.find(id);
  if (found == images_.end()) return makeError(Code::notFound, "Could not find image with ID {}", id.str());
  return found->second;
}

Result<void> ImageBook::finish(const ImageId& id, const std::string& error, ImageFacts facts) {
  const auto found = images_.find(id);
  if (found == images_.end() || found->second.state != ImageState::building) return {};
  Image image = found->second;
  image.state = error.empty() ? ImageState::ready : ImageState::failed;
  image.error = error;
  image.facts = std::move(facts);
  image.finishedAt = clock_.now();
  return keep(image);
}

std::vector<Image> ImageBook::unfinished() const {
  std::vector<Image> all;
  for (const auto& [id, image] : images_) {
    if (image.state == ImageState::building) all.push_back(image);
  }
  return all;
}

std::vector<Image> ImageBook::list() const {
  std::vector<Image> all;
  for (const auto& [id, image] : images_) all.push_back(image);
  std::sort(all.begin(), all.end(), [](const Image& a, const Image& b) { return a.createdAt > b.createdAt; });
  return all;
}

Result<void> ImageBook::erase(const ImageId& id) {
  if (!images_.contains(id)) return makeError(Code::notFound, "No Image with ID {}", id.str());
  Batch batch;
  batch.erase("image", id.str());
  RETURN_IF_ERROR(store_.apply(batch));
  images_.erase(id);
  return {};
}

}  // namespace gridiron
