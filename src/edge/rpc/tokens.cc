#include <nlohmann/json.hpp>

#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;
using google::protobuf::Empty;

constexpr Nanos kAuthTokenLifetime = std::chrono::minutes(20);
constexpr Nanos kFlowLifetime = std::chrono::minutes(10);

Wake flowWake() { return {"token flows"}; }

Result<api::AuthTokenGetResponse> authToken(const ObjectParts& parts, const Caller& caller) {
  const auto seconds = [](Time time) { return toMillis(time) / 1000; };
  const Time now = parts.clock.now();
  const nlohmann::json claims{{"iss", "gridiron"},
                              {"sub", caller.kind == Caller::Kind::client ? caller.tokenId : caller.task.str()},
                              {"workspace", caller.workspace},
                              {"iat", seconds(now)},
                              {"exp", seconds(now + kAuthTokenLifetime)}};
  api::AuthTokenGetResponse response;
  response.set_token(makeJwt(parts.catalog.sealer(), claims.dump()));
  return response;
}

Result<api::TokenInfoGetResponse> tokenInfo(const ObjectParts& parts, const Caller& caller) {
  for (const Token& token : parts.catalog.tokens().list()) {
    if (token.id != caller.tokenId) continue;
    api::TokenInfoGetResponse response;
    response.set_token_id(token.id);
    response.set_token_name(token.name);
    response.set_workspace_id(parts.catalog.workspace().id);
    response.set_workspace_name(token.workspace);
    response.mutable_user_identity()->set_username(token.username);
    response.mutable_created_at()->set_seconds(toMillis(token.createdAt) / 1000);
    if (token.expiresAt) response.mutable_expires_at()->set_seconds(toMillis(*token.expiresAt) / 1000);
    return response;
  }
  return Error{Code::notFound, "only a client with a token has information about it"};
}

Result<api::TokenFlowCreateResponse> beginFlow(const ObjectParts& parts, const api::TokenFlowCreateRequest& request) {
  const Nanos lifetime =
      request.expires_in_seconds() > 0 ? Nanos(std::chrono::seconds(request.expires_in_seconds())) : kFlowLifetime;
  ASSIGN_OR_RETURN(auto made, parts.catalog.tokens().beginFlow(request.utm_source(), lifetime));
  api::TokenFlowCreateResponse response;
  response.set_token_flow_id(made.flow.id);
  response.set_code(made.flow.code);
  response.set_wait_secret(made.waitSecret);
  response.set_web_url(parts.config.publicUrl + "/token-flow/" + made.flow.id);
  return response;
}

Task<Result<api::TokenFlowWaitResponse>> waitForFlow(ObjectParts parts, Context& context,
                                                     api::TokenFlowWaitRequest request) {
  const auto patience = std::chrono::duration<float>(std::clamp(request.timeout(), 0.0F, 50.0F));
  const Time until = parts.clock.now() + std::chrono::duration_cast<Nanos>(patience);
  api::TokenFlowWaitResponse response;
  while (true) {
    auto taken = parts.catalog.tokens().takeFlow(request.token_flow_id(), request.wait_secret());
    if (!taken.ok()) co_return taken.error();
    if (taken->has_value()) {
      response.set_token_id((*taken)->token.id);
      response.set_token_secret((*taken)->secret);
      response.set_workspace_username((*taken)->token.workspace);
      co_return response;
    }
    const Nanos left = until - parts.clock.now();
    if (left <= Nanos::zero() || context.call.cancelled()) break;
    std::vector<Wake> wakes{flowWake()};
    co_await parts.wakes.wait(std::move(wakes), left);
  }
  response.set_timeout(true);
  co_return response;
}

}  // namespace

void registerTokens(RpcServer& server, ObjectParts parts) {
  parts.catalog.tokens().onFlow([&wakes = parts.wakes] { wakes.ring(flowWake()); });
  server.unary<api::AuthTokenGetRequest, api::AuthTokenGetResponse>(
      "AuthTokenGet", {},
      [parts](Context& context, api::AuthTokenGetRequest) { return authToken(parts, context.caller); });
  server.unary<Empty, api::ClientHelloResponse>("ClientHello", {}, [parts](Context&, Empty) {
    api::ClientHelloResponse response;
    response.set_image_builder_version(parts.catalog.builderVersionOf(parts.catalog.environments().defaultOne()));
    return Result<api::ClientHelloResponse>(response);
  });
  server.unary<api::TokenInfoGetRequest, api::TokenInfoGetResponse>(
      "TokenInfoGet", {},
      [parts](Context& context, api::TokenInfoGetRequest) { return tokenInfo(parts, context.caller); });
  server.unary<api::TokenDeleteRequest, Empty>(
      "TokenDelete", {.once = true}, [parts](Context& context, api::TokenDeleteRequest request) {
        if (context.caller.kind != Caller::Kind::client)
          return Result<void>(Error{Code::permissionDenied, "containers delete no tokens"});
        const std::string& id = request.token_id().empty() ? context.caller.tokenId : request.token_id();
        return parts.catalog.tokens().revoke(id);
      });
  server.unary<api::TokenFlowCreateRequest, api::TokenFlowCreateResponse>(
      "TokenFlowCreate", {.access = Access::open},
      [parts](Context&, api::TokenFlowCreateRequest request) { return beginFlow(parts, request); });
  server.unary<api::TokenFlowWaitRequest, api::TokenFlowWaitResponse>(
      "TokenFlowWait", {.access = Access::open, .once = true},
      [parts](Context& context, api::TokenFlowWaitRequest request) {
        return waitForFlow(parts, context, std::move(request));
      });
  server.unary<Empty, api::WorkspaceNameLookupResponse>("WorkspaceNameLookup", {}, [](Context& context, Empty) {
    api::WorkspaceNameLookupResponse response;
    response.set_username(context.caller.workspace);  // clients make it the profile's name
    return Result<api::WorkspaceNameLookupResponse>(response);
  });
}

}  // namespace gridiron::edge
