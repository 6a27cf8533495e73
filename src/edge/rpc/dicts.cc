#include "edge/rpc/collections.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;
using google::protobuf::Empty;

std::vector<DictEntry> entriesOf(const google::protobuf::RepeatedPtrField<api::DictEntry>& updates) {
  std::vector<DictEntry> entries;
  for (const api::DictEntry& update : updates) entries.emplace_back(update.key(), update.value());
  return entries;
}

Result<api::DictListResponse> list(const ObjectParts& parts, const Caller& caller,
                                   const api::DictListRequest& request) {
  ASSIGN_OR_RETURN(Environment environment, environmentFor(parts, caller, request.environment_name()));
  api::DictListResponse response;
  response.set_environment_name(environment.name);
  for (const Collection& dict : pageOf(parts.catalog.dicts().book(), environment.name, request.pagination())) {
    auto& item = *response.add_dicts();
    item.set_name(dict.name);
    item.set_created_at(toSeconds(dict.createdAt));
    item.set_dict_id(dict.id);
    writeMetadata(dict, *item.mutable_metadata());
  }
  return response;
}

// Keys as they were when it began; values as they are when their turn comes. What has gone meanwhile is left out.
Task<net::GrpcStatus> contents(ObjectParts parts, api::DictContentsRequest request,
                               StreamWriter<api::DictEntry>& writer) {
  const DictId dict{request.dict_id()};
  Dicts& dicts = parts.catalog.dicts();
  const auto keys = dicts.keys(dict);
  if (!keys.ok()) co_return net::GrpcStatus(keys.error());
  for (const std::string& key : *keys) {
    api::DictEntry entry;
    entry.set_key(key);
    if (request.values()) {
      auto value = dicts.get(dict, key);
      if (!value.ok()) co_return net::GrpcStatus(value.error());
      if (!*value) continue;
      entry.set_value(std::move(**value));
    }
    const Result<void> sent = co_await writer.write(entry);
    if (!sent.ok()) co_return net::GrpcStatus(sent.error());
  }
  co_return net::GrpcStatus();
}

// DictGetResponse and DictPopResponse.
template <class Response>
Result<Response> found(Result<std::optional<std::string>> value) {
  if (!value.ok()) return value.error();
  Response response;
  response.set_found(value->has_value());
  if (*value) response.set_value(std::move(**value));
  return response;
}

void registerEntries(RpcServer& server, ObjectParts parts) {
  server.unary<api::DictGetRequest, api::DictGetResponse>("DictGet", {}, [parts](Context&, api::DictGetRequest in) {
    return found<api::DictGetResponse>(parts.catalog.dicts().get(DictId{in.dict_id()}, in.key()));
  });
  server.unary<api::DictPopRequest, api::DictPopResponse>(
      "DictPop", {.once = true}, [parts](Context&, api::DictPopRequest in) {
        return found<api::DictPopResponse>(parts.catalog.dicts().pop(DictId{in.dict_id()}, in.key()));
      });
  server.unary<api::DictContainsRequest, api::DictContainsResponse>(
      "DictContains", {}, [parts](Context&, api::DictContainsRequest in) -> Result<api::DictContainsResponse> {
        ASSIGN_OR_RETURN(const bool there, parts.catalog.dicts().contains(DictId{in.dict_id()}, in.key()));
        api::DictContainsResponse response;
        response.set_found(there);
        return response;
      });
  server.unary<api::DictLenRequest, api::DictLenResponse>(
      "DictLen", {}, [parts](Context&, api::DictLenRequest in) -> Result<api::DictLenResponse> {
        ASSIGN_OR_RETURN(const std::size_t length, parts.catalog.dicts().length(DictId{in.dict_id()}));
        api::DictLenResponse response;
        response.set_len(static_cast<int>(length));
        return response;
      });
  server.unary<api::DictUpdateRequest, api::DictUpdateResponse>(
      "DictUpdate", {.once = true}, [parts](Context&, api::DictUpdateRequest in) -> Result<api::DictUpdateResponse> {
        const IfExists ifExists = in.if_not_exists() ? IfExists::keep : IfExists::replace;
        ASSIGN_OR_RETURN(const std::size_t made,
                         parts.catalog.dicts().update(DictId{in.dict_id()}, entriesOf(in.updates()), ifExists));
        api::DictUpdateResponse response;
        // What the client calls "added": an entry that replaces one is.
        response.set_created(in.if_not_exists() ? made > 0 : in.updates_size() > 0);
        return response;
      });
  server.unary<api::DictClearRequest, Empty>("DictClear", {.once = true}, [parts](Context&, api::DictClearRequest in) {
    return parts.catalog.dicts().clear(DictId{in.dict_id()});
  });
  server.serverStream<api::DictContentsRequest, api::DictEntry>(
      "DictContents", {}, [parts](Context&, api::DictContentsRequest in, StreamWriter<api::DictEntry>& writer) {
        return contents(parts, std::move(in), writer);
      });
}

}  // namespace

void registerDicts(RpcServer& server, ObjectParts parts) {
  server.unary<api::DictGetOrCreateRequest, api::DictGetOrCreateResponse>(
      "DictGetOrCreate", {.once = true},
      [parts](Context& context, api::DictGetOrCreateRequest request) -> Result<api::DictGetOrCreateResponse> {
        Dicts& dicts = parts.catalog.dicts();
        ASSIGN_OR_RETURN(Collection dict, getOrCreate(parts, context.caller, dicts.book(), request.environment_name(),
                                                      request.deployment_name(), request.object_creation_type()));
        if (request.data_size() > 0) {  // older clients may give what a new one begins with
          auto begun = dicts.update(DictId{dict.id}, entriesOf(request.data()), IfExists::keep);
          if (!begun.ok()) return begun.error();
        }
        api::DictGetOrCreateResponse response;
        response.set_dict_id(dict.id);
        writeMetadata(dict, *response.mutable_metadata());
        return response;
      });
  server.unary<api::DictGetByIdRequest, api::DictGetByIdResponse>(
      "DictGetById", {}, [parts](Context&, api::DictGetByIdRequest request) -> Result<api::DictGetByIdResponse> {
        ASSIGN_OR_RETURN(Collection dict, parts.catalog.dicts().book().get(request.dict_id()));
        api::DictGetByIdResponse response;
        response.set_dict_id(dict.id);
        writeMetadata(dict, *response.mutable_metadata());
        return response;
      });
  server.unary<api::DictListRequest, api::DictListResponse>(
      "DictList", {},
      [parts](Context& context, api::DictListRequest request) { return list(parts, context.caller, request); });
  server.unary<api::DictDeleteRequest, Empty>("DictDelete", {.once = true},
                                              [parts](Context&, api::DictDeleteRequest request) {
                                                return parts.catalog.dicts().erase(DictId{request.dict_id()});
                                              });
  server.unary<api::DictHeartbeatRequest, Empty>("DictHeartbeat", {},
                                                 [parts](Context&, api::DictHeartbeatRequest request) {
                                                   return parts.catalog.dicts().book().heartbeat(request.dict_id());
                                                 });
  registerEntries(server, parts);
}

}  // namespace gridiron::edge
