#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "catalog/secrets.h"
#include "store/store.h"

namespace gridiron {

// A queue or a dict without what is in it.
struct Collection {
  std::string id;
  std::string name;  // "" for ephemeral ones
  std::string environment;
  Time createdAt{};
  std::string createdBy;
  Time seenAt{};  // of ephemeral ones: the last heartbeat; not kept over a restart, which counts as one

  bool ephemeral() const { return name.empty(); }
};

// An ephemeral collection goes when its client has not been heard of for this long (clients beat every 300 s).
inline constexpr Nanos kCollectionSilence = std::chrono::minutes(15);

// The collections of one kind: which there are and what they are called, one record each in the store. What is in them
// is another record's matter (Queues, Dicts). Loop thread only.
class CollectionBook {
 public:
  // `kind` is the store's ("queue"), `title` ("Queue") is for messages, `prefix` ("qu") begins the ids.
  CollectionBook(Store& store, const Clock& clock, std::string workspace, std::string kind, std::string title,
                 std::string prefix);
  Result<void> load();

  // alreadyExists (with IfExists::fail), invalidArgument. IfExists::replace is not for collections: as fail.
  Result<Collection> create(const std::string& environment, const std::string& name, IfExists ifExists,
                            const std::string& by);
  Result<Collection> ephemeral(const std::string& environment, const std::string& by);
  Result<Collection> find(const std::string& environment, const std::string& name) const;  // notFound names the nearest
  Result<Collection> get(const std::string& id) const;                                     // notFound
  std::vector<Collection> list(const std::string& environment) const;                      // named ones, newest first
  Result<void> heartbeat(const std::string& id);
  std::vector<std::string> ids() const;
  std::vector<std::string> silent() const;  // ephemeral ones whose client is gone

  // The record's end goes into `batch`; forget() once the batch is applied.
  void eraseIn(Batch& batch, const std::string& id) const { batch.erase(kind_, id); }
  void forget(const std::string& id) { all_.erase(id); }

 private:
  Result<Collection> keep(Collection made);
  const Collection* named(const std::string& environment, const std::string& name) const;

  Store& store_;
  const Clock& clock_;
  const std::string workspace_, kind_, title_, prefix_;
  std::map<std::string, Collection> all_;
};

}  // namespace gridiron
