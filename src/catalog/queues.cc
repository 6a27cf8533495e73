#include "catalog/queues.h"

#include <algorithm>
#include <charconv>

#include "catalog/records.h"

namespace gridiron {

namespace {

constexpr const char* kItem = "queue_item";             // <queue>/<partition, hex>/<sequence, hex>; body: the value
constexpr const char* kPartition = "queue_partition";   // <queue>/<partition, hex>; body: when it ends
constexpr const char* kTaken = "queue_taken";           // <the request>; body: what it was given
constexpr Nanos kKeepTaken = std::chrono::minutes(10);  // as long as the door remembers what it answered
constexpr std::size_t kPeekItems = 100;
constexpr std::size_t kPeekBytes = 4u << 20;

std::string hexOf(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

std::string bytesOfHex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    int value = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    bytes += static_cast<char>(value);
  }
  return bytes;
}

std::string partitionId(const QueueId& queue, const std::string& key) { return queue.str() + "/" + hexOf(key); }
std::string entryOf(std::int64_t sequence) { return fmt::format("{:016x}", sequence); }
std::string itemId(const QueueId& queue, const std::string& key, std::int64_t sequence) {
  return partitionId(queue, key) + "/" + entryOf(sequence);
}
// A list of values as one string, each behind its length, and back.
std::string pack(const std::vector<std::string>& values) {
  std::string packed;
  for (const std::string& value : values) packed += fmt::format("{:x} ", value.size()) + value;
  return packed;
}
std::vector<std::string> unpack(std::string_view packed) {
  std::vector<std::string> values;
  while (!packed.empty()) {
    std::size_t size = 0;
    const auto end = std::from_chars(packed.data(), packed.data() + packed.size(), size, 16).ptr;
    packed.remove_prefix(std::min<std::size_t>(packed.size(), static_cast<std::size_t>(end - packed.data()) + 1));
    values.emplace_back(packed.substr(0, size));
    packed.remove_prefix(std::min(packed.size(), size));
  }
  return values;
}
std::int64_t sequenceOf(std::string_view entry) {
  std::int64_t sequence = 0;
  std::from_chars(entry.data(), entry.data() + entry.size(), sequence, 16);
  return sequence;
}

}  // namespace

Queues::Queues(Store& store, const Clock& clock, std::string workspace)
    : Queues(store, clock, std::move(workspace), Limits{}) {}
Queues::Queues(Store& store, const Clock& clock, std::string workspace, Limits limits)
    : store_(store),
      clock_(clock),
      workspace_(std::move(workspace)),
      limits_(limits),
      book_(store, clock, workspace_, "queue", "Queue", QueueTag::prefix) {}

Result<void> Queues::load() {
  RETURN_IF_ERROR(book_.load());
  for (const std::string& id : book_.ids()) RETURN_IF_ERROR(loadOne(id));
  ObjectQuery query;
  query.kind = kTaken;
  ASSIGN_OR_RETURN(const auto taken, store_.list(query));
  for (auto object = taken.rbegin(); object != taken.rend(); ++object) {
    taken_.emplace_back(object->createdAt, object->id);
  }
  return {};
}

Result<void> Queues::loadOne(const std::string& queue) {
  Partitions& partitions = queues_[QueueId{queue}];
  ASSIGN_OR_RETURN(auto ends, store_.list(records::childrenOf(kPartition, queue)));
  for (const Object& object : ends) {
    Partition& partition = partitions[bytesOfHex(std::string_view(object.id).substr(queue.size() + 1))];
    RETURN_IF_ERROR(records::parse(object, [&](const records::Json& json) {
      partition.expiresAt = records::timeOf(json.at("expires_at").get<std::int64_t>());
    }));
  }
  ASSIGN_OR_RETURN(auto items, store_.list(records::childrenOf(kItem, queue)));
  for (auto object = items.rbegin(); object != items.rend(); ++object) {  // oldest first
    const std::string_view rest = std::string_view(object->id).substr(queue.size() + 1);
    const std::size_t slash = rest.find('/');
    Partition& partition = partitions[bytesOfHex(rest.substr(0, slash))];
    const Item item{sequenceOf(rest.substr(slash + 1)), static_cast<std::uint32_t>(object->body.size())};
    lastSequence_ = std::max(lastSequence_, item.sequence);
    partition.bytes += item.size;
    partition.items.push_back(item);
  }
  for (auto& [key, partition] : partitions) {
    std::sort(partition.items.begin(), partition.items.end(),
              [](const Item& a, const Item& b) { return a.sequence < b.sequence; });
  }
  return {};
}

Result<Queues::Partitions*> Queues::partitionsOf(const QueueId& queue) {
  ASSIGN_OR_RETURN(Collection known, book_.get(queue.str()));
  return &queues_[QueueId{known.id}];
}

void Queues::eraseIn(Batch& batch, const QueueId& queue, const std::string& key, const Partition& partition) const {
  batch.erase(kPartition, partitionId(queue, key));
  for (const Item& item : partition.items) batch.erase(kItem, itemId(queue, key, item.sequence));
}

Result<Queues::Partition*> Queues::partitionAt(const QueueId& queue, const std::string& key) {
  ASSIGN_OR_RETURN(Partitions * partitions, partitionsOf(queue));
  const auto found = partitions->find(key);
  if (found == partitions->end()) return static_cast<Partition*>(nullptr);
  if (found->second.expiresAt > clock_.now()) return &found->second;
  Batch batch;
  eraseIn(batch, queue, key, found->second);
  RETURN_IF_ERROR(store_.apply(batch));
  partitions->erase(found);
  return static_cast<Partition*>(nullptr);
}

Result<void> Queues::checkPut(const Partitions& partitions, const std::string& key,
                              const std::vector<std::string>& values) const {
  if (key.size() > limits_.keyBytes)
    return makeError(Code::invalidArgument, "a queue's partition key has at most {} bytes, not {}", limits_.keyBytes,
                     key.size());
  std::size_t bytes = 0;
  for (const std::string& value : values) {
    if (value.size() > limits_.itemBytes)
      return makeError(Code::invalidArgument, "a queue's item has at most {} bytes, not {} (status = '413')",
                       limits_.itemBytes, value.size());
    bytes += value.size();
  }
  if (values.size() > limits_.partitionItems || bytes > limits_.partitionBytes)
    return makeError(Code::invalidArgument,
                     "a queue's partition holds {} items of {} bytes in all: {} items of {} bytes never fit (status = "
                     "'413')",
                     limits_.partitionItems, limits_.partitionBytes, values.size(), bytes);
  const auto found = partitions.find(key);
  if (found == partitions.end()) {
    if (partitions.size() < limits_.partitions) return {};
    return makeError(Code::exhausted, "the queue has {} partitions, which is the most", partitions.size());
  }
  const Partition& partition = found->second;
  if (partition.items.size() + values.size() > limits_.partitionItems ||
      partition.bytes + bytes > limits_.partitionBytes)
    return makeError(Code::exhausted, "the queue's partition is full: {} items of {} bytes in all",
                     partition.items.size(), partition.bytes);
  return {};
}

Result<void> Queues::put(const QueueId& queue, const std::string& key, const std::vector<std::string>& values,
                         Nanos ttl) {
  if (ttl < Nanos::zero()) return Error{Code::invalidArgument, "a partition cannot end before its last put"};
  RETURN_IF_ERROR(partitionAt(queue, key));
  ASSIGN_OR_RETURN(Partitions * partitions, partitionsOf(queue));
  RETURN_IF_ERROR(checkPut(*partitions, key, values));
  if (values.empty()) return {};
  const Time now = clock_.now();
  const Time expiresAt = now + (ttl == Nanos::zero() ? limits_.defaultTtl : ttl);
  std::deque<Item> items;
  Batch batch;
  batch.put(Object{kPartition, partitionId(queue, key), workspace_, "", "", true, now,
                   records::dump({{"expires_at", records::nanosOf(expiresAt)}})});
  for (const std::string& value : values) {
    // By the clock, so that a sequence is new even when everything before it was taken and the process started again.
    lastSequence_ = std::max(lastSequence_ + 1, records::nanosOf(now));
    items.push_back({lastSequence_, static_cast<std::uint32_t>(value.size())});
    batch.put(Object{kItem, itemId(queue, key, lastSequence_), workspace_, "", "", true, now, value});
  }
  RETURN_IF_ERROR(store_.apply(batch));
  Partition& partition = (*partitions)[key];
  partition.expiresAt = expiresAt;
  for (const Item& item : items) {
    partition.bytes += item.size;
    partition.items.push_back(item);
  }
  return {};
}

Result<std::string> Queues::valueOf(const QueueId& queue, const std::string& key, const Item& item) {
  const std::string id = itemId(queue, key, item.sequence);
  ASSIGN_OR_RETURN(auto object, store_.get(kItem, id));
  if (!object) return makeError(Code::dataLoss, "the queue's item {} is not in the store", id);
  return std::move(object->body);
}

Result<std::optional<std::vector<std::string>>> Queues::taken(const std::string& request) {
  std::optional<std::vector<std::string>> values;
  if (request.empty()) return values;
  ASSIGN_OR_RETURN(const auto object, store_.get(kTaken, request));
  if (object) values = unpack(object->body);
  return values;
}

void Queues::forgetTaken() {
  Batch batch;
  const auto old = clock_.now() - kKeepTaken;
  for (const auto& [at, request] : taken_) {
    if (at > old || batch.changes().size() >= 1000) break;
    batch.erase(kTaken, request);
  }
  const auto count = static_cast<std::ptrdiff_t>(batch.changes().size());
  if (count > 0 && store_.apply(batch).ok()) taken_.erase(taken_.begin(), taken_.begin() + count);
}

Result<std::vector<std::string>> Queues::take(const QueueId& queue, const std::string& key, int most,
                                              const std::string& request) {
  if (most < 1) return makeError(Code::invalidArgument, "{} items cannot be taken", most);
  ASSIGN_OR_RETURN(auto before, taken(request));
  if (before) return std::move(*before);
  ASSIGN_OR_RETURN(Partition * partition, partitionAt(queue, key));
  std::vector<std::string> values;
  if (!partition) return values;
  const std::size_t count = std::min(static_cast<std::size_t>(most), partition->items.size());
  std::size_t bytes = 0;
  Batch batch;
  for (std::size_t i = 0; i < count; ++i) {
    const Item& item = partition->items[i];
    ASSIGN_OR_RETURN(std::string value, valueOf(queue, key, item));
    values.push_back(std::move(value));
    batch.erase(kItem, itemId(queue, key, item.sequence));
    bytes += item.size;
  }
  const bool all = count == partition->items.size();
  if (all) batch.erase(kPartition, partitionId(queue, key));
  const Time now = clock_.now();
  if (!request.empty()) batch.put(Object{kTaken, request, workspace_, "", "", true, now, pack(values)});
  RETURN_IF_ERROR(store_.apply(batch));
  if (!request.empty()) taken_.emplace_back(now, request);
  if (all) {
    queues_[queue].erase(key);
  } else {
    partition->items.erase(partition->items.begin(), partition->items.begin() + static_cast<std::ptrdiff_t>(count));
    partition->bytes -= bytes;
  }
  return values;
}

Result<std::vector<QueueItem>> Queues::peek(const QueueId& queue, const std::string& key, const std::string& after) {
  ASSIGN_OR_RETURN(Partition * partition, partitionAt(queue, key));
  std::vector<QueueItem> found;
  if (!partition) return found;
  auto at = partition->items.begin();
  if (!after.empty())
    at = std::upper_bound(at, partition->items.end(), sequenceOf(after),
                          [](std::int64_t sequence, const Item& item) { return sequence < item.sequence; });
  std::size_t bytes = 0;
  for (; at != partition->items.end() && found.size() < kPeekItems && bytes < kPeekBytes; ++at) {
    ASSIGN_OR_RETURN(std::string value, valueOf(queue, key, *at));
    bytes += value.size();
    found.push_back({entryOf(at->sequence), std::move(value)});
  }
  return found;
}

Result<std::size_t> Queues::length(const QueueId& queue, const std::string& key) {
  ASSIGN_OR_RETURN(Partition * partition, partitionAt(queue, key));
  return partition ? partition->items.size() : 0;
}

Result<Queues::Size> Queues::size(const QueueId& queue) {
  ASSIGN_OR_RETURN(Partitions * partitions, partitionsOf(queue));
  Size size;
  for (const auto& [key, partition] : *partitions) {
    if (partition.expiresAt <= clock_.now()) continue;
    ++size.partitions;
    size.items += partition.items.size();
  }
  return size;
}

Result<void> Queues::clear(const QueueId& queue, const std::string& key) {
  ASSIGN_OR_RETURN(Partition * partition, partitionAt(queue, key));
  if (!partition) return {};
  Batch batch;
  eraseIn(batch, queue, key, *partition);
  RETURN_IF_ERROR(store_.apply(batch));
  queues_[queue].erase(key);
  return {};
}

Result<void> Queues::clearAll(const QueueId& queue) {
  ASSIGN_OR_RETURN(Partitions * partitions, partitionsOf(queue));
  Batch batch;
  for (const auto& [key, partition] : *partitions) eraseIn(batch, queue, key, partition);
  RETURN_IF_ERROR(store_.apply(batch));
  partitions->clear();
  return {};
}

Result<void> Queues::erase(const QueueId& queue) {
  ASSIGN_OR_RETURN(Partitions * partitions, partitionsOf(queue));
  Batch batch;
  for (const auto& [key, partition] : *partitions) eraseIn(batch, queue, key, partition);
  book_.eraseIn(batch, queue.str());
  RETURN_IF_ERROR(store_.apply(batch));
  queues_.erase(queue);
  book_.forget(queue.str());
  return {};
}

void Queues::expire() {
  forgetTaken();
  for (const std::string& id : book_.silent())
    [[maybe_unused]] const Result<void> tried = erase(QueueId{id});  // a failure: tried again next time
  for (auto& [queue, partitions] : queues_) {
    std::vector<std::string> ended;
    for (const auto& [key, partition] : partitions) {
      if (partition.expiresAt <= clock_.now()) ended.push_back(key);
    }
    for (const std::string& key : ended) [[maybe_unused]] const auto tried = partitionAt(queue, key);
  }
}

}  // namespace gridiron
