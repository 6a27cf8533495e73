#pragma once

#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {

// What the RPCs of queues and dicts have in common: how one is made or found, and how it is told.

Result<Collection> getOrCreate(const ObjectParts& parts, const Caller& caller, CollectionBook& book,
                               const std::string& environment, const std::string& name,
                               modal::client::ObjectCreationType how);

template <class Metadata>
void writeMetadata(const Collection& collection, Metadata& out) {
  out.set_name(collection.name);
  out.mutable_creation_info()->set_created_at(toSeconds(collection.createdAt));
  out.mutable_creation_info()->set_created_by(collection.createdBy);
}

// One page of the named ones, newest first.
std::vector<Collection> pageOf(const CollectionBook& book, const std::string& environment,
                               const modal::client::ListPagination& page);

}  // namespace gridiron::edge
