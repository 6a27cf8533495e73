#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/id.h"
#include "catalog/collections.h"

namespace gridiron {

struct DictTag {
  static constexpr const char* prefix = "di";
};
using DictId = Id<DictTag>;

using DictEntry = std::pair<std::string, std::string>;  // key, value: opaque

// Dicts of opaque keys and values. A change is in the store when it returns, as one write of the entries it touches.
// Values are read from the store when somebody asks for them; keys are in memory. An entry that was neither read nor
// written for 7 days is gone (a read is noted in the store at most once an hour, so after a crash an entry may go that
// hour earlier). Loop thread only.
class Dicts {
 public:
  struct Limits {
    std::size_t entryBytes = 100u << 20;  // key and value
    std::size_t entriesAnUpdate = 10'000;
    Nanos idle = std::chrono::hours(7 * 24);
    Nanos noteReads = std::chrono::hours(1);
  };
  Dicts(Store& store, const Clock& clock, std::string workspace, Limits limits);
  Dicts(Store& store, const Clock& clock, std::string workspace);
  Result<void> load();

  CollectionBook& book() { return book_; }
  const CollectionBook& book() const { return book_; }

  // The number of keys that were not there before. With IfExists::keep those that are there stay as they are; with
  // IfExists::fail one that is there is alreadyExists and nothing is changed. All or none. invalidArgument: too large;
  // the text has "status = '413'", by which clients know. notFound: no such dict.
  Result<std::size_t> update(const DictId& dict, const std::vector<DictEntry>& entries, IfExists ifExists);
  Result<std::optional<std::string>> get(const DictId& dict, const std::string& key);
  Result<bool> contains(const DictId& dict, const std::string& key);  // counts as a read
  Result<std::optional<std::string>> pop(const DictId& dict, const std::string& key);
  Result<std::size_t> length(const DictId& dict);
  Result<std::vector<std::string>> keys(const DictId& dict);  // in the order of their first write
  Result<void> clear(const DictId& dict);
  Result<void> erase(const DictId& dict);
  // Ends entries that nobody used, and ephemeral dicts whose client is gone. Now and then; what has expired is never
  // given out, however seldom.
  void expire();

 private:
  struct Entry {
    std::int64_t sequence = 0;  // names it in the store
    Time usedAt{};
    Time notedAt{};  // usedAt as the store has it
  };
  using Entries = std::unordered_map<std::string, Entry>;

  Result<Entries*> entriesOf(const DictId& dict);
  // Null when it is not there, or no more.
  Result<Entry*> entryAt(const DictId& dict, const std::string& key);
  Result<void> loadOne(const std::string& dict);
  Result<std::string> valueOf(const DictId& dict, const Entry& entry);
  Result<void> used(const DictId& dict, const std::string& key, Entry& entry);
  Object objectOf(const DictId& dict, const std::string& key, const std::string& value, std::int64_t sequence) const;
  bool over(const Entry& entry) const { return clock_.now() - entry.usedAt > limits_.idle; }

  Store& store_;
  const Clock& clock_;
  const std::string workspace_;
  const Limits limits_;
  CollectionBook book_;
  std::unordered_map<DictId, Entries> dicts_;
  std::int64_t lastSequence_ = 0;
};

}  // namespace gridiron
