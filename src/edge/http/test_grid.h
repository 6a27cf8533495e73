#pragma once

// A grid in one process for stories about the door: real calls, fleet, doors and channels; the worker and the
// containers are played by the test.

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/testing.h"
#include "edge/http/ingress.h"
#include "edge/http/router.h"
#include "edge/rpc/calls.h"
#include "edge/rpc/containers.h"
#include "edge/rpc/logs.h"
#include "edge/rpc/server.h"
#include "modal_proto/api.pb.h"
#include "net/door.h"
#include "net/grpc.h"

namespace gridiron::edge::test {

namespace api = ::modal::client;
using Empty = google::protobuf::Empty;

// Orders without content: the played worker needs none.
class BareOrders final : public StartOrders {
 public:
  Result<StartOrder> compose(const Instance& instance, const Function& function) override {
    StartOrder order;
    order.instance = instance.id;
    order.function = function.id;
    order.resources = instance.resources;
    return order;
  }
};

// One container's own line to the grid; without an id, a client's.
class Container {
 public:
  Container(asio::io_context& io, const std::string& url, InstanceId id = {}) : id_(std::move(id)), channel_(io, url) {}
  const InstanceId& id() const { return id_; }
  std::vector<std::pair<std::string, std::string>> headers;  // sent along
  Code lastCode = Code::ok;

  template <class Resp, class Req>
  Task<Resp> ask(std::string name, Req request) {
    net::Headers all = metadata();
    std::string path = "/modal.client.ModalClient/" + name, message = request.SerializeAsString();
    Result<std::string> answer = co_await channel_.unary(path, all, message, std::chrono::seconds(30));
    Resp response;
    lastCode = answer.ok() ? Code::ok : answer.error().code;
    if (!answer.ok()) co_return response;
    EXPECT_TRUE(response.ParseFromString(*answer));
    co_return response;
  }

  // Opens a server stream with its one request.
  template <class Req>
  Task<std::shared_ptr<net::GrpcClientCall>> stream(std::string name, Req request) {
    net::Headers all = metadata();
    std::string path = "/modal.client.ModalClient/" + name, message = request.SerializeAsString();
    Result<std::shared_ptr<net::GrpcClientCall>> stream = co_await channel_.open(path, all, std::nullopt);
    GRID_CHECK(stream.ok());
    (void)co_await (*stream)->write(message);
    (void)co_await (*stream)->writesDone();
    co_return *stream;
  }
  Task<std::shared_ptr<net::GrpcClientCall>> dataIn(std::string call) {
    api::FunctionCallGetDataRequest request;
    request.set_function_call_id(call);
    return stream("FunctionCallGetDataIn", request);
  }

 private:
  net::Headers metadata() const {
    net::Headers all;
    if (!id_.empty()) all.add("x-gridiron-task", id_.str());
    for (const auto& [name, value] : headers) all.add(name, value);
    return all;
  }
  InstanceId id_;
  net::GrpcChannel channel_;
};

class Grid : public FleetObserver {
 public:
  // What a container does after it was started, to its end.
  using Program = std::function<Task<void>(Grid&, std::shared_ptr<Container>)>;

  explicit Grid(Nanos firstChunkAfter = std::chrono::seconds(2), std::unique_ptr<Store> kept = openMemoryStore(),
                bool withLanes = false)
      : store(std::move(kept)),
        gate(io, *store),
        calls(*store, functions, clock),
        meter(*store, clock),
        fleet(*store, calls, functions, orders, meter, clock),
        wakes(io),
        hub(io, *store, calls, fleet, wakes, clock),
        lanes(withLanes ? std::make_unique<Lanes>(io, calls, fleet, functions, wakes) : nullptr),
        rpc(io, clock, [this](const net::RequestHead& head) { return identify(head); }, {.gate = &gate}),
        ingress(ingressParts(firstChunkAfter)),
        door(io, {}, makeRouter(routerParts())),
        port(*this) {
    calls.observe(fleet);
    calls.observe(wakes);
    calls.observe(hub);
    fleet.observe(wakes);
    fleet.observe(*this);
    fleet.onWork([this] { stepSoon(); });
    CallParts parts{calls, fleet, *store, functions, wakes, clock};
    parts.hasLane = [this](const InstanceId& id) { return lanes && lanes->opens(id); };
    registerCalls(rpc, parts);
    registerContainers(rpc, parts);
    registerLogs(rpc, LogParts{hub, parts, [this](const AppId& id) { return findApp(id); }});
    Result<std::string> bound = door.listen("unix:" + path_);
    GRID_CHECK(bound.ok());
    joinWorker();
    spawn(io, tick(this));
  }
  // A web function at you--<label>.localhost.
  Function& web(const std::string& label, Program program) {
    Function& function = add(label, std::move(program));
    function.web.kind = WebKind::function;
    function.web.label = label;
    deploy(label);
    return function;
  }
  // A plain one; call deploy() after having changed it.
  Function& add(const std::string& label, Program program) {
    Function function;
    function.id = FunctionId{randomId("fu")};
    function.app = app.id;
    function.workspace = "you";
    function.environment = "main";
    function.tag = label;
    function.definitionId = DefinitionId{randomId("de")};
    function.image = ImageId{"im-test"};
    programs_[function.id] = std::move(program);
    byLabel_[label] = function;
    return byLabel_[label];
  }
  void deploy(const std::string& label) {
    functions.put(byLabel_[label]);
    fleet.deploy(byLabel_[label].id);
  }

  // Runs the loop until it is so; a story that does not come to it fails.
  template <class Condition>
  void runUntil(Condition condition, const char* what) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition() && std::chrono::steady_clock::now() < limit) io.run_one_for(std::chrono::milliseconds(100));
    EXPECT_TRUE(condition()) << what;
  }

  // One HTTP/1.1 request with "connection: close", and all that comes back until the connection ends.
  struct Reply {
    std::string text;
    bool ended = false;
    std::shared_ptr<asio::local::stream_protocol::socket> socket;
    int status() const { return text.size() > 12 ? std::atoi(text.c_str() + 9) : 0; }
    std::string body() const {
      std::size_t at = text.find("\r\n\r\n");
      return at == std::string::npos ? "" : text.substr(at + 4);
    }
    void hangUp() { socket->close(); }
  };
  std::shared_ptr<Reply> request(const std::string& head, const std::string& body = "") {
    auto reply = std::make_shared<Reply>();
    reply->socket = std::make_shared<asio::local::stream_protocol::socket>(io);
    reply->socket->connect(asio::local::stream_protocol::endpoint(path_));
    spawn(io, exchange(reply, head + "Connection: close\r\n\r\n" + body));
    return reply;
  }
  std::shared_ptr<Reply> get(const std::string& host, const std::string& target) {
    return request("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n");
  }
  std::shared_ptr<Reply> post(const std::string& host, const std::string& target, const std::string& body) {
    return request(
        "POST " + target + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n",
        body);
  }
  std::shared_ptr<Reply> answerOf(std::shared_ptr<Reply> reply) {
    runUntil([&] { return reply->ended; }, "the request was answered");
    return reply;
  }
  std::string url() const { return "unix:" + path_; }
  const std::string& path() const { return path_; }  // of the door
  const std::string& folder() const { return folder_.path(); }

  void exited(const InstanceId& instance, int code) {
    ExitInfo exit;
    exit.code = code;
    fleet.exited(instance, exit);
  }

  SystemClock clock;
  RequestBook book{clock, nullptr, [](const AppId&) { return "app"; }};  // outlives what the loop holds
  LimitRule limits;                                                      // of every function
  RequestLimiter limiter{{.clock = clock,
                          .rule = [this](const Function&, const std::string&) { return std::optional(limits); },
                          .tell = {}}};
  asio::io_context io;
  std::unique_ptr<Store> store;
  DiskGate gate;
  FunctionTable functions;
  BareOrders orders;
  App app = freshApp();
  Calls calls;
  Meter meter;
  Fleet fleet;
  Wakes wakes;
  LogHub hub;
  std::unique_ptr<Lanes> lanes;
  RpcServer rpc;
  Ingress ingress;
  net::Door door;
  std::vector<InstanceId> started;
  std::vector<std::string> told;  // to the owners of functions

 private:
  struct Port final : WorkerPort {
    explicit Port(Grid& g) : grid(g) {}
    void start(const StartOrder& order) override {
      grid.started.push_back(order.instance);
      spawn(grid.io, grid.runContainer(order.instance, order.function));
    }
    void stop(const InstanceId& instance, Nanos) override {
      asio::post(grid.io, [this, instance] { grid.exited(instance, 0); });
    }
    void signal(const InstanceId& instance, int) override { stop(instance, {}); }
    Grid& grid;
  };

  static App freshApp() {
    App app;
    app.id = AppId{randomId("ap")};
    app.workspace = "you";
    app.state = AppState::deployed;
    return app;
  }

  std::optional<App> findApp(const AppId& id) const { return id == app.id ? std::optional<App>(app) : std::nullopt; }

  void joinWorker() {
    Worker worker;
    worker.id = WorkerId{"wk-test"};
    worker.milliCpu = 64'000;
    worker.memoryMb = 64 * 1024;
    fleet.workerJoined(worker, port, {});
  }

  Task<void> runContainer(InstanceId instance, FunctionId function) {
    auto container = std::make_shared<Container>(io, url(), instance);
    std::vector<StartPhase> phases;
    phases.push_back({"sandbox", std::chrono::milliseconds(2)});
    fleet.sandboxRunning(instance, phases);
    co_await programs_[function](*this, container);
  }

  void stepSoon() {
    if (stepping_) return;
    stepping_ = true;
    asio::post(io, [this] {
      stepping_ = false;
      calls.expire();
      fleet.step();
    });
  }
  // Control's own loop does this with a timer at nextDeadline.
  static Task<void> tick(Grid* grid) {
    for (;;) {
      co_await sleepFor(grid->io, std::chrono::milliseconds(20));
      grid->calls.expire();
      grid->fleet.step();
    }
  }

  Result<Caller> identify(const net::RequestHead& head) const {
    Caller caller;
    auto workspace = head.headers.find("x-workspace");
    caller.workspace = workspace ? std::string(*workspace) : "you";
    caller.kind = Caller::Kind::client;
    auto task = head.headers.find("x-gridiron-task");
    if (!task) return caller;
    std::optional<Instance> instance = fleet.find(InstanceId{std::string(*task)});
    if (!instance) return makeError(Code::unauthenticated, "no container {}", *task);
    caller.kind = Caller::Kind::container;
    caller.task = instance->id;
    caller.app = instance->app;
    caller.function = instance->function;
    return caller;
  }

  IngressParts ingressParts(Nanos firstChunkAfter) {
    IngressParts parts{.io = io, .calls = calls, .fleet = fleet, .wakes = wakes, .clock = clock};
    parts.find = [this](const FunctionAddress& a) -> std::optional<WebTarget> {
      auto at = byLabel_.find(a.label);
      if (at == byLabel_.end() || (a.workspace != "you" && !a.workspace.empty())) return std::nullopt;
      const std::string method = at->second.methods.empty() ? "" : at->second.methods.front().name;
      return WebTarget{functions.find(at->second.id), method, at->second.web};
    };
    parts.instance = [this](const Function& service, const std::map<std::string, std::string>& query) {
      const auto named = query.find("instance");
      const auto found = functions.find(named == query.end() ? service.id : byLabel_.at(named->second).id);
      return Result<std::shared_ptr<const Function>>(found);
    };
    parts.proxyToken = [](const Function&, const std::string& id, const std::string& secret) {
      return id == "wk-1" && secret == "ws-1";
    };
    parts.firstChunkAfter = firstChunkAfter;
    parts.book = &book;
    parts.limits = &limiter;
    parts.tell = [this](const Function&, const std::string& line) { told.push_back(line); };
    parts.lanes = lanes.get();
    return parts;
  }

  RouterParts routerParts() {
    RouterParts parts;
    parts.rpc = [this](std::shared_ptr<net::Exchange> exchange) { return rpc.serve(std::move(exchange)); };
    parts.function = [this](std::shared_ptr<net::Exchange> exchange, FunctionAddress address) {
      return ingress.serve(std::move(exchange), std::move(address));
    };
    return parts;
  }

  static Task<void> exchange(std::shared_ptr<Reply> reply, std::string bytes) {
    boost::system::error_code error;
    co_await asio::async_write(*reply->socket, asio::buffer(bytes),
                               asio::redirect_error(asio::use_awaitable_t<Executor>{}, error));
    std::string piece(64 * 1024, '\0');
    while (!error) {
      std::size_t n = co_await reply->socket->async_read_some(
          asio::buffer(piece), asio::redirect_error(asio::use_awaitable_t<Executor>{}, error));
      reply->text.append(piece, 0, n);
    }
    reply->ended = true;
  }

  std::map<std::string, Function> byLabel_;
  std::map<FunctionId, Program> programs_;
  Port port;
  const TemporaryDirectory folder_;
  const std::string path_ = folder_.path() + "/sock";
  bool stepping_ = false;
};

}  // namespace gridiron::edge::test
