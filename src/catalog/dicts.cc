#include "catalog/dicts.h"

#include <algorithm>
#include <charconv>

#include "catalog/records.h"

namespace gridiron {

namespace {

// <dict>/<sequence, hex>, created when last used; body: the key's size in decimal, a colon, the key, the value.
constexpr const char* kEntry = "dict_entry";

std::string entryId(const DictId& dict, std::int64_t sequence) {
  return fmt::format("{}/{:016x}", dict.str(), sequence);
}

Result<DictEntry> readBody(const Object& object) {
  std::size_t size = 0;
  const char* const end = object.body.data() + object.body.size();
  const auto read = std::from_chars(object.body.data(), end, size);
  if (read.ec != std::errc() || read.ptr == end || static_cast<std::size_t>(end - read.ptr - 1) < size)
    return makeError(Code::dataLoss, "the dict's entry {} in the store is damaged", object.id);
  const char* const key = read.ptr + 1;
  return DictEntry(std::string(key, size), std::string(key + size, end));
}

}  // namespace

Dicts::Dicts(Store& store, const Clock& clock, std::string workspace)
    : Dicts(store, clock, std::move(workspace), Limits{}) {}
Dicts::Dicts(Store& store, const Clock& clock, std::string workspace, Limits limits)
    : store_(store),
      clock_(clock),
      workspace_(std::move(workspace)),
      limits_(limits),
      book_(store, clock, workspace_, "dict", "Dict", DictTag::prefix) {}

Result<void> Dicts::load() {
  RETURN_IF_ERROR(book_.load());
  for (const std::string& id : book_.ids()) RETURN_IF_ERROR(loadOne(id));
  return {};
}

Result<void> Dicts::loadOne(const std::string& dict) {
  Entries& entries = dicts_[DictId{dict}];
  ASSIGN_OR_RETURN(auto objects, store_.list(records::childrenOf(kEntry, dict)));
  for (const Object& object : objects) {
    ASSIGN_OR_RETURN(DictEntry kept, readBody(object));
    Entry entry{0, object.createdAt, object.createdAt};
    const std::string_view sequence = std::string_view(object.id).substr(dict.size() + 1);
    std::from_chars(sequence.data(), sequence.data() + sequence.size(), entry.sequence, 16);
    lastSequence_ = std::max(lastSequence_, entry.sequence);
    entries.emplace(std::move(kept.first), entry);
  }
  return {};
}

Result<Dicts::Entries*> Dicts::entriesOf(const DictId& dict) {
  ASSIGN_OR_RETURN(Collection known, book_.get(dict.str()));
  return &dicts_[DictId{known.id}];
}

Result<Dicts::Entry*> Dicts::entryAt(const DictId& dict, const std::string& key) {
  ASSIGN_OR_RETURN(Entries * entries, entriesOf(dict));
  const auto found = entries->find(key);
  if (found == entries->end()) return static_cast<Entry*>(nullptr);
  if (!over(found->second)) return &found->second;
  Batch batch;
  batch.erase(kEntry, entryId(dict, found->second.sequence));
  RETURN_IF_ERROR(store_.apply(batch));
  entries->erase(found);
  return static_cast<Entry*>(nullptr);
}

Object Dicts::objectOf(const DictId& dict, const std::string& key, const std::string& value,
                       std::int64_t sequence) const {
  return {kEntry,       entryId(dict, sequence),
          workspace_,   "",
          "",           true,
          clock_.now(), fmt::format("{}:", key.size()) + key + value};
}

Result<std::string> Dicts::valueOf(const DictId& dict, const Entry& entry) {
  const std::string id = entryId(dict, entry.sequence);
  ASSIGN_OR_RETURN(auto object, store_.get(kEntry, id));
  if (!object) return makeError(Code::dataLoss, "the dict's entry {} is not in the store", id);
  ASSIGN_OR_RETURN(DictEntry kept, readBody(*object));
  return std::move(kept.second);
}

Result<void> Dicts::used(const DictId& dict, const std::string& key, Entry& entry) {
  entry.usedAt = clock_.now();
  if (entry.usedAt - entry.notedAt < limits_.noteReads) return {};
  ASSIGN_OR_RETURN(std::string value, valueOf(dict, entry));
  Batch batch;
  batch.put(objectOf(dict, key, value, entry.sequence));
  RETURN_IF_ERROR(store_.apply(batch));
  entry.notedAt = entry.usedAt;
  return {};
}

Result<std::size_t> Dicts::update(const DictId& dict, const std::vector<DictEntry>& updates, IfExists ifExists) {
  ASSIGN_OR_RETURN(Entries * entries, entriesOf(dict));
  if (updates.size() > limits_.entriesAnUpdate)
    return makeError(Code::invalidArgument, "a dict takes at most {} entries at once, not {} (status = '413')",
                     limits_.entriesAnUpdate, updates.size());
  Batch batch;
  std::unordered_map<std::string, Entry> changed;
  std::size_t made = 0;
  for (const auto& [key, value] : updates) {
    if (key.size() + value.size() > limits_.entryBytes)
      return makeError(Code::invalidArgument, "a dict's entry has at most {} bytes, not {} (status = '413')",
                       limits_.entryBytes, key.size() + value.size());
    ASSIGN_OR_RETURN(Entry * known, entryAt(dict, key));
    if (known && ifExists == IfExists::fail) return Error{Code::alreadyExists, "the dict has this key"};
    if (known && ifExists == IfExists::keep) continue;
    const auto [at, first] = changed.try_emplace(key, Entry{0, clock_.now(), clock_.now()});
    if (first) at->second.sequence = known ? known->sequence : ++lastSequence_;
    made += first && !known;
    batch.put(objectOf(dict, key, value, at->second.sequence));
  }
  RETURN_IF_ERROR(store_.apply(batch));
  for (const auto& [key, entry] : changed) (*entries)[key] = entry;
  return made;
}

Result<std::optional<std::string>> Dicts::get(const DictId& dict, const std::string& key) {
  ASSIGN_OR_RETURN(Entry * entry, entryAt(dict, key));
  if (!entry) return std::optional<std::string>();
  ASSIGN_OR_RETURN(std::string value, valueOf(dict, *entry));
  RETURN_IF_ERROR(used(dict, key, *entry));
  return std::optional(std::move(value));
}

Result<bool> Dicts::contains(const DictId& dict, const std::string& key) {
  ASSIGN_OR_RETURN(Entry * entry, entryAt(dict, key));
  if (entry) RETURN_IF_ERROR(used(dict, key, *entry));
  return entry != nullptr;
}

Result<std::optional<std::string>> Dicts::pop(const DictId& dict, const std::string& key) {
  ASSIGN_OR_RETURN(Entry * entry, entryAt(dict, key));
  if (!entry) return std::optional<std::string>();
  ASSIGN_OR_RETURN(std::string value, valueOf(dict, *entry));
  Batch batch;
  batch.erase(kEntry, entryId(dict, entry->sequence));
  RETURN_IF_ERROR(store_.apply(batch));
  dicts_[dict].erase(key);
  return std::optional(std::move(value));
}

Result<std::size_t> Dicts::length(const DictId& dict) {
  ASSIGN_OR_RETURN(Entries * entries, entriesOf(dict));
  return static_cast<std::size_t>(
      std::count_if(entries->begin(), entries->end(), [&](const auto& entry) { return !over(entry.second); }));
}

Result<std::vector<std::string>> Dicts::keys(const DictId& dict) {
  ASSIGN_OR_RETURN(Entries * entries, entriesOf(dict));
  std::vector<std::pair<std::int64_t, std::string>> ordered;
  for (const auto& [key, entry] : *entries) {
    if (!over(entry)) ordered.emplace_back(entry.sequence, key);
  }
  std::sort(ordered.begin(), ordered.end());
  std::vector<std::string> keys;
  for (auto& [sequence, key] : ordered) keys.push_back(std::move(key));
  return keys;
}

Result<void> Dicts::clear(const DictId& dict) {
  ASSIGN_OR_RETURN(Entries * entries, entriesOf(dict));
  Batch batch;
  for (const auto& [key, entry] : *entries) batch.erase(kEntry, entryId(dict, entry.sequence));
  RETURN_IF_ERROR(store_.apply(batch));
  entries->clear();
  return {};
}

Result<void> Dicts::erase(const DictId& dict) {
  ASSIGN_OR_RETURN(Entries * entries, entriesOf(dict));
  Batch batch;
  for (const auto& [key, entry] : *entries) batch.erase(kEntry, entryId(dict, entry.sequence));
  book_.eraseIn(batch, dict.str());
  RETURN_IF_ERROR(store_.apply(batch));
  dicts_.erase(dict);
  book_.forget(dict.str());
  return {};
}

void Dicts::expire() {
  for (const std::string& id : book_.silent())
    [[maybe_unused]] const Result<void> tried = erase(DictId{id});  // a failure: tried again next time
  for (auto& [dict, entries] : dicts_) {
    std::vector<std::string> ended;
    for (const auto& [key, entry] : entries) {
      if (over(entry)) ended.push_back(key);
    }
    for (const std::string& key : ended) [[maybe_unused]] const auto tried = entryAt(dict, key);
  }
}

}  // namespace gridiron
