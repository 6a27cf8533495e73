#include "edge/rpc/collections.h"
#include "edge/rpc/patience.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;
using google::protobuf::Empty;

constexpr double kLongestWait = 55;  // clients ask for up to 50 s at a time

// Something was put into this partition.
Wake putIn(const QueueId& queue, const std::string& partition) { return {"queue " + queue.str() + "/" + partition}; }

Nanos waitOf(double seconds) {
  // Not NaN either.
  if (!(seconds > 0)) return Nanos::zero();
  return std::chrono::duration_cast<Nanos>(std::chrono::duration<double>(std::min(seconds, kLongestWait)));
}

Result<api::QueueListResponse> list(const ObjectParts& parts, const Caller& caller,
                                    const api::QueueListRequest& request) {
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, request.environment_name()));
  Queues& queues = parts.catalog.queues();
  api::QueueListResponse response;
  response.set_environment_name(environment.name);
  for (const Collection& queue : pageOf(queues.book(), environment.name, request.pagination())) {
    ASSIGN_OR_RETURN(const Queues::Size size, queues.size(QueueId{queue.id}));
    std::size_t items = size.items;
    if (request.total_size_limit() > 0) items = std::min(items, static_cast<std::size_t>(request.total_size_limit()));
    auto& item = *response.add_queues();
    item.set_name(queue.name);
    item.set_created_at(toSeconds(queue.createdAt));
    item.set_num_partitions(static_cast<int>(size.partitions));
    item.set_total_size(static_cast<int>(items));
    item.set_queue_id(queue.id);
    writeMetadata(queue, *item.mutable_metadata());
  }
  return response;
}

Result<void> put(const ObjectParts& parts, const api::QueuePutRequest& request) {
  const QueueId queue{request.queue_id()};
  RETURN_IF_ERROR(parts.catalog.queues().put(queue, request.partition_key(),
                                             {request.values().begin(), request.values().end()},
                                             std::chrono::seconds(request.partition_ttl_seconds())));
  parts.wakes.ring(putIn(queue, request.partition_key()));
  return {};
}

// Whoever is gone takes nothing: what it took would be lost.
Task<Result<api::QueueGetResponse>> get(ObjectParts parts, Context& context, api::QueueGetRequest request) {
  const QueueId queue{request.queue_id()};
  Patience patience(parts.wakes, context.call, waitOf(request.timeout()));
  const std::string key = context.idempotencyKey;
  const std::string asking = key.empty() ? "" : context.caller.key() + "|" + key;
  api::QueueGetResponse response;
  while (true) {
    if (context.call.cancelled()) co_return Error{Code::cancelled, "the caller is gone"};
    auto values = parts.catalog.queues().take(queue, request.partition_key(), std::max(request.n_values(), 1), asking);
    if (!values.ok()) co_return values.error();
    for (std::string& value : *values) response.add_values(std::move(value));
    if (response.values_size() > 0 || patience.over()) co_return response;
    std::vector<Wake> until;
    until.push_back(putIn(queue, request.partition_key()));
    co_await patience.wait(std::move(until));
  }
}

Task<Result<api::QueueNextItemsResponse>> nextItems(ObjectParts parts, Context& context,
                                                    api::QueueNextItemsRequest request) {
  const QueueId queue{request.queue_id()};
  Patience patience(parts.wakes, context.call, waitOf(request.item_poll_timeout()));
  api::QueueNextItemsResponse response;
  while (true) {
    auto items = parts.catalog.queues().peek(queue, request.partition_key(), request.last_entry_id());
    if (!items.ok()) co_return items.error();
    for (QueueItem& item : *items) {
      api::QueueItem& out = *response.add_items();
      out.set_value(std::move(item.value));
      out.set_entry_id(std::move(item.entry));
    }
    if (response.items_size() > 0 || patience.over()) co_return response;
    std::vector<Wake> until;
    until.push_back(putIn(queue, request.partition_key()));
    co_await patience.wait(std::move(until));
  }
}

void registerItems(RpcServer& server, ObjectParts parts) {
  server.unary<api::QueuePutRequest, Empty>(
      "QueuePut", {.once = true}, [parts](Context&, api::QueuePutRequest request) { return put(parts, request); });
  server.unary<api::QueueGetRequest, api::QueueGetResponse>(
      "QueueGet", {.once = true},
      [parts](Context& context, api::QueueGetRequest request) { return get(parts, context, std::move(request)); });
  server.unary<api::QueueNextItemsRequest, api::QueueNextItemsResponse>(
      "QueueNextItems", {}, [parts](Context& context, api::QueueNextItemsRequest request) {
        return nextItems(parts, context, std::move(request));
      });
  server.unary<api::QueueLenRequest, api::QueueLenResponse>(
      "QueueLen", {}, [parts](Context&, api::QueueLenRequest request) -> Result<api::QueueLenResponse> {
        const QueueId queue{request.queue_id()};
        Queues& queues = parts.catalog.queues();
        api::QueueLenResponse response;
        if (request.total()) {
          ASSIGN_OR_RETURN(const Queues::Size size, queues.size(queue));
          response.set_len(static_cast<int>(size.items));
        } else {
          ASSIGN_OR_RETURN(const std::size_t length, queues.length(queue, request.partition_key()));
          response.set_len(static_cast<int>(length));
        }
        return response;
      });
  server.unary<api::QueueClearRequest, Empty>(
      "QueueClear", {.once = true}, [parts](Context&, api::QueueClearRequest request) {
        const QueueId queue{request.queue_id()};
        Queues& queues = parts.catalog.queues();
        return request.all_partitions() ? queues.clearAll(queue) : queues.clear(queue, request.partition_key());
      });
}

}  // namespace

void registerQueues(RpcServer& server, ObjectParts parts) {
  server.unary<api::QueueGetOrCreateRequest, api::QueueGetOrCreateResponse>(
      "QueueGetOrCreate", {.once = true},
      [parts](Context& context, api::QueueGetOrCreateRequest request) -> Result<api::QueueGetOrCreateResponse> {
        ASSIGN_OR_RETURN(Collection queue,
                         getOrCreate(parts, context.caller, parts.catalog.queues().book(), request.environment_name(),
                                     request.deployment_name(), request.object_creation_type()));
        api::QueueGetOrCreateResponse response;
        response.set_queue_id(queue.id);
        writeMetadata(queue, *response.mutable_metadata());
        return response;
      });
  server.unary<api::QueueGetByIdRequest, api::QueueGetByIdResponse>(
      "QueueGetById", {}, [parts](Context&, api::QueueGetByIdRequest request) -> Result<api::QueueGetByIdResponse> {
        ASSIGN_OR_RETURN(Collection queue, parts.catalog.queues().book().get(request.queue_id()));
        api::QueueGetByIdResponse response;
        response.set_queue_id(queue.id);
        writeMetadata(queue, *response.mutable_metadata());
        return response;
      });
  server.unary<api::QueueListRequest, api::QueueListResponse>(
      "QueueList", {},
      [parts](Context& context, api::QueueListRequest request) { return list(parts, context.caller, request); });
  server.unary<api::QueueDeleteRequest, Empty>("QueueDelete", {.once = true},
                                               [parts](Context&, api::QueueDeleteRequest request) {
                                                 return parts.catalog.queues().erase(QueueId{request.queue_id()});
                                               });
  server.unary<api::QueueHeartbeatRequest, Empty>("QueueHeartbeat", {},
                                                  [parts](Context&, api::QueueHeartbeatRequest request) {
                                                    return parts.catalog.queues().book().heartbeat(request.queue_id());
                                                  });
  registerItems(server, parts);
}

}  // namespace gridiron::edge
