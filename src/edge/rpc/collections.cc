#include "edge/rpc/collections.h"

namespace gridiron::edge {

namespace api = ::modal::client;

Result<Collection> getOrCreate(const ObjectParts& parts, const Caller& caller, CollectionBook& book,
                               const std::string& environmentName, const std::string& name,
                               api::ObjectCreationType how) {
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, environmentName));
  switch (how) {
    case api::OBJECT_CREATION_TYPE_UNSPECIFIED:
      return book.find(environment.name, name);
    case api::OBJECT_CREATION_TYPE_EPHEMERAL:
      return book.ephemeral(environment.name, caller.username);
    case api::OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
      return book.create(environment.name, name, IfExists::keep, caller.username);
    case api::OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
      return book.create(environment.name, name, IfExists::fail, caller.username);
    default:
      return makeError(Code::invalidArgument, "it cannot be created in the way {}", static_cast<int>(how));
  }
}

std::vector<Collection> pageOf(const CollectionBook& book, const std::string& environment,
                               const api::ListPagination& page) {
  std::vector<Collection> found;
  for (const Collection& collection : book.list(environment)) {
    if (page.created_before() > 0 && toSeconds(collection.createdAt) >= page.created_before()) continue;
    if (page.max_objects() > 0 && found.size() >= static_cast<std::size_t>(page.max_objects())) break;
    found.push_back(collection);
  }
  return found;
}

}  // namespace gridiron::edge
