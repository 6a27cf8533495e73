#include "catalog/collections.h"

#include <algorithm>

#include "base/id.h"
#include "catalog/names.h"
#include "catalog/records.h"

namespace gridiron {

CollectionBook::CollectionBook(Store& store, const Clock& clock, std::string workspace, std::string kind,
                               std::string title, std::string prefix)
    : store_(store),
      clock_(clock),
      workspace_(std::move(workspace)),
      kind_(std::move(kind)),
      title_(std::move(title)),
      prefix_(std::move(prefix)) {}

Result<void> CollectionBook::load() {
  ASSIGN_OR_RETURN(auto objects, store_.list(records::all(kind_)));
  for (const Object& object : objects) {
    Collection known{object.id, object.name, object.environment, object.createdAt, "", clock_.now()};
    RETURN_IF_ERROR(records::parse(
        object, [&](const records::Json& json) { known.createdBy = json.at("created_by").get<std::string>(); }));
    all_.emplace(known.id, std::move(known));
  }
  return {};
}

Result<Collection> CollectionBook::keep(Collection made) {
  made.id = randomId(prefix_);
  made.createdAt = made.seenAt = clock_.now();
  Batch batch;
  batch.put(Object{kind_, made.id, workspace_, made.environment, made.name, true, made.createdAt,
                   records::dump({{"created_by", made.createdBy}})});
  RETURN_IF_ERROR(store_.apply(batch));
  all_[made.id] = made;
  return made;
}

const Collection* CollectionBook::named(const std::string& environment, const std::string& name) const {
  for (const auto& [id, collection] : all_) {
    if (collection.name == name && collection.environment == environment) return &collection;
  }
  return nullptr;
}

Result<Collection> CollectionBook::create(const std::string& environment, const std::string& name, IfExists ifExists,
                                          const std::string& by) {
  RETURN_IF_ERROR(checkObjectName(title_, name));
  if (const Collection* found = named(environment, name)) {
    if (ifExists == IfExists::keep) return *found;
    return makeError(Code::alreadyExists, "{} '{}' already exists in environment '{}'", title_, name, environment);
  }
  return keep({.id = "", .name = name, .environment = environment, .createdBy = by});
}

Result<Collection> CollectionBook::ephemeral(const std::string& environment, const std::string& by) {
  return keep({.id = "", .name = "", .environment = environment, .createdBy = by});
}

Result<Collection> CollectionBook::find(const std::string& environment, const std::string& name) const {
  if (const Collection* found = named(environment, name); found && !name.empty()) return *found;
  std::vector<std::string> names;
  for (const Collection& other : list(environment)) names.push_back(other.name);
  return notFoundIn(title_, name, environment, names);
}

Result<Collection> CollectionBook::get(const std::string& id) const {
  const auto found = all_.find(id);
  if (found == all_.end()) return makeError(Code::notFound, "{} '{}' not found", title_, id);
  return found->second;
}

std::vector<Collection> CollectionBook::list(const std::string& environment) const {
  std::vector<Collection> found;
  for (const auto& [id, collection] : all_) {
    if (!collection.ephemeral() && collection.environment == environment) found.push_back(collection);
  }
  std::sort(found.begin(), found.end(), [](const Collection& a, const Collection& b) {
    return std::pair(a.createdAt, a.name) > std::pair(b.createdAt, b.name);
  });
  return found;
}

Result<void> CollectionBook::heartbeat(const std::string& id) {
  const auto found = all_.find(id);
  if (found == all_.end()) return makeError(Code::notFound, "{} '{}' not found", title_, id);
  found->second.seenAt = clock_.now();
  return {};
}

std::vector<std::string> CollectionBook::ids() const {
  std::vector<std::string> found;
  for (const auto& [id, collection] : all_) found.push_back(id);
  return found;
}

std::vector<std::string> CollectionBook::silent() const {
  std::vector<std::string> gone;
  for (const auto& [id, collection] : all_) {
    if (collection.ephemeral() && clock_.now() - collection.seenAt > kCollectionSilence) gone.push_back(id);
  }
  return gone;
}

}  // namespace gridiron
