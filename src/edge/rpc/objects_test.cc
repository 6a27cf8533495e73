#include "edge/rpc/objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>
#include <filesystem>

#include "base/fd.h"
#include "base/testing.h"
#include "calls/calls.h"
#include "edge/http/blobs.h"
#include "edge/http/router.h"
#include "edge/rpc/calls.h"
#include "edge/rpc/compatibility.h"
#include "edge/rpc/containers.h"
#include "edge/rpc/logs.h"
#include "modal_proto/api.pb.h"
#include "net/door.h"
#include "net/grpc.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;
using google::protobuf::Empty;
using testing::HasSubstr;
using namespace std::chrono_literals;

// Containers are not started here.
struct NoOrders final : StartOrders {
  Result<StartOrder> compose(const Instance&, const Function&) override { return StartOrder{}; }
};

// A grid's control behind a real door, and a client on a real connection.
class ObjectRpcs : public testing::Test {
 protected:
  ObjectRpcs() {
    blobs.emplace(*blob::Blobs::open(directory + "/blobs"));
    catalog = *Catalog::open(*store, *blobs, clock, {.keyFile = "", .workspace = "acme", .builderVersion = "2025.06"});
    calls.emplace(*store, catalog->apps(), clock);
    meter.emplace(*store, clock);
    fleet.emplace(*store, *calls, catalog->apps(), orders, *meter, clock);
    hub.emplace(io, *store, *calls, *fleet, wakes, clock);
    server.emplace(io, clock, identifyCallers(*catalog, *fleet, [](const net::Headers& headers) {
                     const auto task = headers.find("x-gridiron-task");
                     return headers.find("x-test-worker") ? std::optional(InstanceId{std::string(*task)})
                                                          : std::nullopt;
                   }));
    door.emplace(io, net::DoorOptions{},
                 makeRouter({.domain = "localhost",
                             .rpc = [this](auto exchange) { return server->serve(std::move(exchange)); },
                             .link = nullptr,
                             .blobs = [this](auto exchange) { return blobDoor->serve(std::move(exchange)); },
                             .page = nullptr,
                             .function = nullptr}));
    address = *door->listen("127.0.0.1:0");
    config.publicUrl = "http://" + address;
    ObjectParts parts{.io = io,
                      .catalog = *catalog,
                      .fleet = *fleet,
                      .store = *store,
                      .wakes = wakes,
                      .clock = clock,
                      .config = config,
                      .build = [this](link::BuildImage order) { ordered.push_back(std::move(order)); },
                      .buildingFor = nullptr,
                      .flushLogs = nullptr};
    builds.emplace(parts);
    blobDoor.emplace(catalog->blobs(), config);
    registerObjects(*server, parts, *builds);
    blobDoor->registerRpcs(*server);
    channel.emplace(io, config.publicUrl);
    token = *catalog->tokens().create("test", "ann");
  }

  void runUntil(const std::function<bool()>& done) {
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (!done() && std::chrono::steady_clock::now() < limit) io.run_one_for(100ms);
    ASSERT_TRUE(done());
  }

  net::Headers headers(const std::string& key = "") const {
    net::Headers all;
    all.add("x-modal-client-version", clientVersion);
    all.add("x-modal-client-type", "1");
    if (!token.token.id.empty()) all.add("x-modal-token-id", token.token.id);
    if (!token.secret.empty()) all.add("x-modal-token-secret", token.secret);
    if (!key.empty()) all.add("x-idempotency-key", key);
    return all;
  }

  static Task<void> keep(net::GrpcChannel& channel, std::string path, net::Headers metadata, std::string message,
                         std::optional<Result<std::string>>* answer) {
    *answer = co_await channel.unary(path, std::move(metadata), std::move(message), 15s);
  }
  void begin(const std::string& name, net::Headers metadata, const google::protobuf::Message& request,
             std::optional<Result<std::string>>* answer) {
    spawn(io, keep(*channel, "/modal.client.ModalClient/" + name, std::move(metadata), request.SerializeAsString(),
                   answer));
  }
  template <class Resp>
  Result<Resp> ask(const std::string& name, const google::protobuf::Message& request, net::Headers metadata) {
    std::optional<Result<std::string>> answer;
    begin(name, std::move(metadata), request, &answer);
    runUntil([&] { return answer.has_value(); });
    if (!answer->ok()) return answer->error();
    Resp response;
    EXPECT_TRUE(response.ParseFromString(**answer));
    return response;
  }
  template <class Resp>
  Result<Resp> ask(const std::string& name, const google::protobuf::Message& request) {
    return ask<Resp>(name, request, headers());
  }

  // One HTTP/1.1 exchange; the whole answer as text.
  static Task<void> http(asio::io_context& io, std::string address, std::string request,
                         std::optional<std::string>* out) {
    using Socket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
    Socket socket(io.get_executor());
    const auto colon = address.rfind(':');
    const auto port = static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1)));
    const asio::ip::tcp::endpoint peer(asio::ip::make_address(address.substr(0, colon)), port);
    co_await socket.async_connect(peer, useTask);
    co_await asio::async_write(socket, asio::buffer(request), useTask);
    std::string text;
    boost::system::error_code ended;
    co_await asio::async_read(socket, asio::dynamic_buffer(text), asio::redirect_error(useTask, ended));
    *out = std::move(text);
  }
  std::string send(const std::string& verb, const std::string& url, const std::string& body) {
    const std::string target = url.substr(url.find('/', 8));
    std::string request = verb + " " + target + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n";
    if (verb != "GET") request += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    std::optional<std::string> answer;
    spawn(io, http(io, address, request + "\r\n" + body, &answer));
    runUntil([&] { return answer.has_value(); });
    return answer.value_or("");
  }

  std::string newApp() {
    api::AppCreateRequest request;
    request.set_description("hello");
    request.set_app_state(api::APP_STATE_INITIALIZING);
    return ask<api::AppCreateResponse>("AppCreate", request)->app_id();
  }
  api::ImageGetOrCreateRequest slim(const std::string& app) {
    api::ImageGetOrCreateRequest request;
    request.mutable_image()->add_dockerfile_commands("FROM python:3.11.12-slim-bookworm");
    request.set_app_id(app);
    request.set_builder_version("2025.06");
    return request;
  }
  std::string readyImage(const std::string& app) {
    const std::string id = ask<api::ImageGetOrCreateResponse>("ImageGetOrCreate", slim(app))->image_id();
    link::BuildEvent built;
    built.set_image_id(id);
    built.set_finished(true);
    built.mutable_facts()->set_python_version("Python 3.11.2");
    builds->built(built);
    return id;
  }
  api::FunctionCreateRequest webFunction(const std::string& app, const std::string& id) {
    api::FunctionCreateRequest request;
    request.set_app_id(app);
    request.set_existing_function_id(id);
    api::Function& function = *request.mutable_function();
    function.set_module_name("m");
    function.set_function_name("f");
    function.set_function_type(api::Function::FUNCTION_TYPE_FUNCTION);
    function.set_image_id(readyImage(app));
    function.mutable_webhook_config()->set_type(api::WEBHOOK_TYPE_FUNCTION);
    function.mutable_webhook_config()->set_method("POST");
    return request;
  }
  Result<api::AppPublishResponse> deploy(const std::string& app, const std::string& existing, std::string* function) {
    api::FunctionPrecreateRequest pre;
    pre.set_app_id(app);
    pre.set_function_name("f");
    pre.set_existing_function_id(existing);
    pre.mutable_webhook_config()->set_type(api::WEBHOOK_TYPE_FUNCTION);
    const auto precreated = ask<api::FunctionPrecreateResponse>("FunctionPrecreate", pre);
    EXPECT_EQ(precreated->handle_metadata().web_url(),
              "http://acme--hello-f.localhost:" + address.substr(address.rfind(':') + 1));
    const auto created =
        ask<api::FunctionCreateResponse>("FunctionCreate", webFunction(app, precreated->function_id()));
    EXPECT_EQ(created->function_id(), precreated->function_id());
    EXPECT_EQ(created->function_data().ranked_functions_size(), 1);
    EXPECT_EQ(created->function().web_url(), precreated->handle_metadata().web_url());
    *function = created->function_id();
    api::AppPublishRequest publish;
    publish.set_app_id(app);
    publish.set_name("hello");
    publish.set_app_state(api::APP_STATE_DEPLOYED);
    (*publish.mutable_function_ids())["f"] = *function;
    (*publish.mutable_definition_ids())[*function] = created->handle_metadata().definition_id();
    return ask<api::AppPublishResponse>("AppPublish", publish);
  }

  SystemClock clock;
  asio::io_context io{1};
  const TemporaryDirectory folder;
  const std::string& directory = folder.path();
  std::string address;
  std::unique_ptr<Store> store = openMemoryStore();
  std::optional<blob::Blobs> blobs;
  std::unique_ptr<Catalog> catalog;
  NoOrders orders;
  Wakes wakes{io};
  std::optional<Calls> calls;
  std::optional<Meter> meter;
  std::optional<Fleet> fleet;
  std::optional<LogHub> hub;
  GridConfig config;
  std::vector<link::BuildImage> ordered;
  std::optional<ImageBuilds> builds;
  std::optional<BlobDoor> blobDoor;
  std::optional<RpcServer> server;
  std::optional<net::Door> door;
  std::optional<net::GrpcChannel> channel;
  NewToken token;
  std::string clientVersion = "1.6.4";
};

TEST_F(ObjectRpcs, WithoutATokenOrWithAWrongOneTheTextSaysToken) {
  const auto wrong = std::exchange(token.secret, "as-wrong");
  const auto refused = ask<api::ClientHelloResponse>("ClientHello", Empty());
  EXPECT_EQ(refused.error().code, Code::unauthenticated);
  EXPECT_THAT(refused.error().message, HasSubstr("token"));
  token = {};
  const auto anonymous = ask<api::ClientHelloResponse>("ClientHello", Empty());
  EXPECT_EQ(anonymous.error().code, Code::unauthenticated);
  EXPECT_THAT(anonymous.error().message, HasSubstr("token"));
  EXPECT_FALSE(wrong.empty());
}

TEST_F(ObjectRpcs, WhatIsMissingSaysSo) {
  const auto answer = ask<Empty>("SandboxCreateV2", Empty());
  EXPECT_EQ(answer.error(), (Error{Code::unimplemented, "SandboxCreateV2 is not in this version of Gridiron"}));
}

TEST_F(ObjectRpcs, AMalformedRequestIsAnErrorAndNotTheEnd) {
  std::optional<Result<std::string>> answer;
  spawn(io, keep(*channel, "/modal.client.ModalClient/AppCreate", headers(), "\xff\xff\xff", &answer));
  runUntil([&] { return answer.has_value(); });
  EXPECT_EQ(answer->error().code, Code::invalidArgument);
  EXPECT_TRUE(ask<api::ClientHelloResponse>("ClientHello", Empty()).ok());
}

TEST_F(ObjectRpcs, ARepeatedCallMakesNothingTwice) {
  const auto create = [&](const std::string& key) {
    api::AppCreateRequest request;
    request.set_description("x");
    return ask<api::AppCreateResponse>("AppCreate", request, headers(key))->app_id();
  };
  const std::string first = create("key-1");
  EXPECT_EQ(create("key-1"), first);
  EXPECT_NE(create("key-2"), first);
  token = *catalog->tokens().create("other", "bob");
  EXPECT_NE(create("key-1"), first) << "another caller's key is another key";
}

TEST_F(ObjectRpcs, ARepetitionWaitsForTheFirst) {
  Notifier gate(io);
  int ran = 0;
  server->unary<Empty, api::ClientHelloResponse>("/test/Slow", {.once = true},
                                                 [&](Context&, Empty) -> Task<Result<api::ClientHelloResponse>> {
                                                   ++ran;
                                                   co_await gate.wait(10s);
                                                   co_return api::ClientHelloResponse();
                                                 });
  std::optional<Result<std::string>> first, second;
  spawn(io, keep(*channel, "/test/Slow", headers("k"), "", &first));
  spawn(io, keep(*channel, "/test/Slow", headers("k"), "", &second));
  runUntil([&] { return ran == 1; });
  ASSERT_TRUE(ask<api::ClientHelloResponse>("ClientHello", Empty()).ok());  // the second has arrived before this
  EXPECT_EQ(ran, 1);
  gate.notifyAll();
  runUntil([&] { return first && second; });
  EXPECT_TRUE(first->ok() && second->ok());
  EXPECT_EQ(ran, 1);
}

TEST_F(ObjectRpcs, ADeploymentGoesThroughAndASecondOneSaysThatNothingChanged) {
  api::AppGetByDeploymentNameRequest byName;
  byName.set_name("hello");
  EXPECT_EQ(ask<api::AppGetByDeploymentNameResponse>("AppGetByDeploymentName", byName)->app_id(), "");
  const std::string app = newApp();
  std::string function;
  const auto first = deploy(app, "", &function);
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_GT(first->deployed_at(), 0);
  const auto again = deploy(app, function, &function);
  EXPECT_EQ(again->deployed_at(), 0);
  EXPECT_EQ(ask<api::AppGetByDeploymentNameResponse>("AppGetByDeploymentName", byName)->app_id(), app);

  api::FunctionGetRequest get;
  get.set_app_name("hello");
  get.set_object_tag("f");
  const auto found = ask<api::FunctionGetResponse>("FunctionGet", get);
  EXPECT_EQ(found->function_id(), function);
  EXPECT_EQ(found->function().ranked_functions_size(), 1);
  const auto target = webTargetAt(*catalog, CustomDomains(catalog->apps(), {}, "localhost"), {"acme", "hello-f", ""});
  ASSERT_TRUE(target);
  EXPECT_EQ(target->function->id.str(), function);

  api::AppGetLayoutRequest layout;
  layout.set_app_id(app);
  EXPECT_EQ(ask<api::AppGetLayoutResponse>("AppGetLayout", layout)->app_layout().function_ids().at("f"), function);
}

TEST_F(ObjectRpcs, AnOldClientIsToldByAWarningThatNothingChanged) {
  clientVersion = "1.3.5";
  const std::string app = newApp();
  std::string function;
  EXPECT_EQ(deploy(app, "", &function)->server_warnings_size(), 0);
  const auto again = deploy(app, function, &function);
  ASSERT_EQ(again->server_warnings_size(), 1);
  EXPECT_THAT(again->server_warnings(0).message(), HasSubstr("Nothing has changed"));
}

TEST_F(ObjectRpcs, AFunctionOfAnImageThatIsNotThereIsRefused) {
  const std::string app = newApp();
  auto request = webFunction(app, "");
  request.mutable_function()->set_image_id("im-nowhere");
  const auto refused = ask<api::FunctionCreateResponse>("FunctionCreate", request);
  EXPECT_EQ(refused.error().code, Code::notFound);
  EXPECT_THAT(refused.error().message, HasSubstr("im-nowhere"));
}

TEST_F(ObjectRpcs, AnImageIsOrderedOnceAndItsEndIsStreamed) {
  const std::string app = newApp();
  const auto asked = ask<api::ImageGetOrCreateResponse>("ImageGetOrCreate", slim(app));
  EXPECT_FALSE(asked->has_result());
  EXPECT_EQ(ask<api::ImageGetOrCreateResponse>("ImageGetOrCreate", slim(app))->image_id(), asked->image_id());
  ASSERT_EQ(ordered.size(), 1u);
  EXPECT_EQ(ordered[0].dockerfile_commands(0), "FROM python:3.11.12-slim-bookworm");

  api::ImageJoinStreamingRequest join;
  join.set_image_id(asked->image_id());
  join.set_timeout(10);
  std::optional<Result<std::string>> answer;
  begin("ImageJoinStreaming", headers(), join, &answer);
  ASSERT_TRUE(ask<api::ClientHelloResponse>("ClientHello", Empty()).ok());  // the stream waits by now
  EXPECT_FALSE(answer.has_value());
  link::BuildEvent built;
  built.set_image_id(asked->image_id());
  built.set_finished(true);
  built.set_error("RUN false: exit code 1");
  builds->built(built);
  runUntil([&] { return answer.has_value(); });
  api::ImageJoinStreamingResponse response;
  ASSERT_TRUE(answer->ok()) << answer->error().message;
  ASSERT_TRUE(response.ParseFromString(**answer));
  EXPECT_EQ(response.result().status(), api::GenericResult::GENERIC_STATUS_FAILURE);
  EXPECT_EQ(response.result().exception(), "RUN false: exit code 1");
  EXPECT_TRUE(response.eof());
}

TEST_F(ObjectRpcs, ASignInWaitsForAPersonAndGetsAToken) {
  token = {};
  const auto flow = ask<api::TokenFlowCreateResponse>("TokenFlowCreate", api::TokenFlowCreateRequest());
  ASSERT_TRUE(flow.ok());
  EXPECT_THAT(flow->web_url(), HasSubstr("/token-flow/" + flow->token_flow_id()));
  api::TokenFlowWaitRequest wait;
  wait.set_token_flow_id(flow->token_flow_id());
  wait.set_wait_secret(flow->wait_secret());
  wait.set_timeout(0);
  EXPECT_TRUE(ask<api::TokenFlowWaitResponse>("TokenFlowWait", wait)->timeout());
  wait.set_timeout(10);
  std::optional<Result<std::string>> answer;
  begin("TokenFlowWait", headers("w"), wait, &answer);
  ASSERT_FALSE(ask<api::ClientHelloResponse>("ClientHello", Empty()).ok());
  ASSERT_TRUE(catalog->approveTokenFlow(flow->token_flow_id(), "ann").ok());
  runUntil([&] { return answer.has_value(); });
  api::TokenFlowWaitResponse given;
  ASSERT_TRUE(given.ParseFromString(**answer));
  token.token.id = given.token_id();
  token.secret = given.token_secret();
  EXPECT_EQ(ask<api::WorkspaceNameLookupResponse>("WorkspaceNameLookup", Empty())->username(), "acme");
}

TEST_F(ObjectRpcs, ABlobGoesUpAndDownUnderItsMd5) {
  const std::string bytes(300'000, 'x');
  api::BlobCreateRequest request;
  const Sha256 content = sha256(bytes);
  request.set_content_sha256_base64(base64Encode({reinterpret_cast<const char*>(content.bytes.data()), 32}));
  request.set_content_length(static_cast<std::int64_t>(bytes.size()));
  const auto made = ask<api::BlobCreateResponse>("BlobCreate", request);
  ASSERT_TRUE(made.ok()) << made.error().message;
  ASSERT_EQ(made->upload_urls().items_size(), 1) << "an address on this machine";
  EXPECT_THAT(send("PUT", made->upload_urls().items(0), "something else"), HasSubstr("400"));
  const auto sum = md5(bytes);
  EXPECT_THAT(send("PUT", made->upload_urls().items(0), bytes),
              HasSubstr(hexEncode({reinterpret_cast<const char*>(sum.data()), sum.size()})));
  api::BlobGetRequest get;
  get.set_blob_id(made->blob_id());
  const std::string url = ask<api::BlobGetResponse>("BlobGet", get)->download_url();
  EXPECT_TRUE(send("GET", url, "").ends_with("\r\n\r\n" + bytes));
  EXPECT_THAT(send("GET", url + "x", ""), HasSubstr("403"));
}

TEST_F(ObjectRpcs, PartsOfABlobAreThePartsOfItsBytes) {
  const std::string bytes = "first and second";
  const BlobId id = *catalog->blobs().name(sha256(bytes));
  const std::string path = "/blobs/" + id.str() + "/" + randomAlnum(16);
  const auto url = [&](const std::string& verb, const std::string& at) {
    return config.publicUrl + at + catalog->blobs().signatureFor(verb, at, 1h);
  };
  EXPECT_THAT(send("PUT", url("PUT", path + "/1"), "first and "), HasSubstr("200"));
  EXPECT_THAT(send("PUT", url("PUT", path + "/2"), "second"), HasSubstr("200"));
  EXPECT_THAT(send("POST", url("POST", path), "<CompleteMultipartUpload/>"), HasSubstr("-2\"</ETag>"));
  EXPECT_EQ(*catalog->blobs().read(id), bytes);
}

TEST_F(ObjectRpcs, ByANameOnTheNetPythonGetsPartsForItsHostCheck) {
  api::BlobCreateRequest request;
  const Sha256 content = sha256("x");
  request.set_content_sha256_base64(base64Encode({reinterpret_cast<const char*>(content.bytes.data()), 32}));
  request.set_content_length(1);
  // What the caller's own name for us is, the door cannot be told by this client: the decision is made here.
  config.publicUrl = "http://grid.example.org:8400";
  BlobDoor named(catalog->blobs(), config);
  RpcServer other(io, clock, [](const net::RequestHead&) -> Result<Caller> {
    Caller caller;
    caller.kind = Caller::Kind::client;
    caller.clientType = 1;
    return caller;
  });
  named.registerRpcs(other);
  net::Door beside(io, {}, [&other](auto exchange) { return other.serve(std::move(exchange)); });
  const std::string at = *beside.listen("127.0.0.1:0");
  channel.emplace(io, "http://" + at);
  const auto made = ask<api::BlobCreateResponse>("BlobCreate", request);
  ASSERT_TRUE(made.ok()) << made.error().message;
  ASSERT_EQ(made->multiparts().items_size(), 1);
  EXPECT_EQ(made->multiparts().items(0).upload_urls_size(), 1);
  EXPECT_THAT(made->multiparts().items(0).completion_url(), HasSubstr("http://grid.example.org:8400/blobs/"));
}

TEST_F(ObjectRpcs, AMountIsPutByItsFiles) {
  const std::string bytes = "print()";
  api::MountBatchedCheckExistenceRequest check;
  check.add_sha256_hex_hashes(sha256(bytes).hex());
  EXPECT_EQ(ask<api::MountBatchedCheckExistenceResponse>("MountBatchedCheckExistence", check)
                ->missing_sha256_hex_hashes_size(),
            1);
  api::MountPutFileRequest put;
  put.set_sha256_hex(sha256(bytes).hex());
  EXPECT_FALSE(ask<api::MountPutFileResponse>("MountPutFile", put)->exists());
  put.set_data(bytes);
  EXPECT_TRUE(ask<api::MountPutFileResponse>("MountPutFile", put)->exists());
  api::MountGetOrCreateRequest create;
  create.set_object_creation_type(api::OBJECT_CREATION_TYPE_EPHEMERAL);
  auto& file = *create.add_files();
  file.set_filename("/root/app.py");
  file.set_sha256_hex(put.sha256_hex());
  const auto mount = ask<api::MountGetOrCreateResponse>("MountGetOrCreate", create);
  EXPECT_TRUE(mount->has_handle_metadata());
  link::FetchFileRequest fetch;
  fetch.set_sha256_hex(put.sha256_hex());
  EXPECT_EQ(*readFile(*fileFor(*catalog, fetch)), bytes);
}

TEST_F(ObjectRpcs, AContainerIsWhoItsWorkerSaysAndNobodyElse) {
  net::Headers forged;
  forged.add("x-gridiron-task", "ta-1");
  EXPECT_EQ(ask<api::ClientHelloResponse>("ClientHello", Empty(), forged).error().code, Code::unauthenticated);
  net::Headers unknown;
  unknown.add("x-gridiron-task", "ta-1");
  unknown.add("x-test-worker", "yes");
  const auto gone = ask<api::ClientHelloResponse>("ClientHello", Empty(), unknown);
  EXPECT_EQ(gone.error().code, Code::unauthenticated);
  EXPECT_THAT(gone.error().message, HasSubstr("ta-1"));
}

TEST_F(ObjectRpcs, AnAuthTokenHasThreePartsAndATime) {
  const auto token = ask<api::AuthTokenGetResponse>("AuthTokenGet", api::AuthTokenGetRequest());
  const auto claims = readJwt(catalog->sealer(), token->token());
  ASSERT_TRUE(claims.ok());
  EXPECT_THAT(*claims, HasSubstr("\"exp\":"));
}

TEST_F(ObjectRpcs, TheCompatibilityPageIsWhatIsRegistered) {
  const CallParts parts{*calls, *fleet, *store, catalog->apps(), wakes, clock};
  registerCalls(*server, parts);
  registerContainers(*server, parts);
  registerLogs(*server, {*hub, parts, [](const AppId&) { return std::optional<App>(); }});
  const std::string page = compatibilityPage(*server);
  const std::filesystem::path here(__FILE__);
  const std::string file = here.parent_path() / "../../../docs/compatibility.md";
  if (std::getenv("GRIDIRON_WRITE_DOCS")) {
    ASSERT_TRUE(writeFileAtomic(file, page, 0644, Durable::no).ok());
  }
  EXPECT_EQ(page, readFile(file).ok() ? *readFile(file) : "") << "run edge_test with GRIDIRON_WRITE_DOCS=1";
}

}  // namespace
}  // namespace gridiron::edge
