#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/id.h"
#include "catalog/collections.h"

namespace gridiron {

struct QueueTag {
  static constexpr const char* prefix = "qu";
};
using QueueId = Id<QueueTag>;

struct QueueItem {
  std::string entry;  // where it stands in its partition: goes up, is never given twice
  std::string value;
};

// Queues of opaque values, each a set of independent first-in-first-out partitions. An item is in the store before
// put() returns and out of it before take() does; one write a request, and of the items it touches only. Values are
// read from the store when somebody asks for them: memory holds 16 bytes an item. Loop thread only.
class Queues {
 public:
  struct Limits {
    std::size_t itemBytes = 1u << 20;
    std::size_t partitionItems = 5'000;
    std::size_t partitionBytes = 64u << 20;
    std::size_t partitions = 100'000;  // that hold something
    std::size_t keyBytes = 64;
    Nanos defaultTtl = std::chrono::hours(24);
  };
  Queues(Store& store, const Clock& clock, std::string workspace, Limits limits);
  Queues(Store& store, const Clock& clock, std::string workspace);
  Result<void> load();

  CollectionBook& book() { return book_; }
  const CollectionBook& book() const { return book_; }

  // At the end of the partition, all or none. The partition is cleared `ttl` after its last put (zero: 24 h).
  // exhausted: there is no room now. invalidArgument: it can never be put; when that is for its size the text has
  // "status = '413'", by which clients know. notFound.
  Result<void> put(const QueueId& queue, const std::string& partition, const std::vector<std::string>& values,
                   Nanos ttl);
  // The first `most` items or as many as there are, removed. A `request` ("": none) that asks again within ten minutes
  // gets what it took the first time, also after a restart: its answer may have been lost.
  Result<std::vector<std::string>> take(const QueueId& queue, const std::string& partition, int most,
                                        const std::string& request = "");
  // What comes behind `after` ("": from the first) without removing it; up to 100 items or 4 MiB, at least one if any.
  Result<std::vector<QueueItem>> peek(const QueueId& queue, const std::string& partition, const std::string& after);
  Result<std::size_t> length(const QueueId& queue, const std::string& partition);

  struct Size {
    std::size_t partitions = 0, items = 0;
  };
  Result<Size> size(const QueueId& queue);
  Result<void> clear(const QueueId& queue, const std::string& partition);
  Result<void> clearAll(const QueueId& queue);
  Result<void> erase(const QueueId& queue);
  // Ends partitions whose time has come, and ephemeral queues whose client is gone. Now and then; nothing that has
  // expired is ever handed out, however seldom.
  void expire();

 private:
  struct Item {
    std::int64_t sequence = 0;
    std::uint32_t size = 0;
  };
  struct Partition {
    std::deque<Item> items;
    std::size_t bytes = 0;
    Time expiresAt{};
  };
  using Partitions = std::unordered_map<std::string, Partition>;

  Result<Partitions*> partitionsOf(const QueueId& queue);
  // Null when it is empty; ends it first when its time has come.
  Result<Partition*> partitionAt(const QueueId& queue, const std::string& key);
  Result<void> checkPut(const Partitions& partitions, const std::string& key,
                        const std::vector<std::string>& values) const;
  Result<void> loadOne(const std::string& queue);
  Result<std::string> valueOf(const QueueId& queue, const std::string& key, const Item& item);
  // What the request took before; and its note, to be stored with the taking.
  Result<std::optional<std::vector<std::string>>> taken(const std::string& request);
  void forgetTaken();
  void eraseIn(Batch& batch, const QueueId& queue, const std::string& key, const Partition& partition) const;

  Store& store_;
  const Clock& clock_;
  const std::string workspace_;
  const Limits limits_;
  CollectionBook book_;
  std::unordered_map<QueueId, Partitions> queues_;
  std::int64_t lastSequence_ = 0;
  std::deque<std::pair<Time, std::string>> taken_;  // requests whose takings are in the store, oldest first
};

}  // namespace gridiron
