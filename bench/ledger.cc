// What bench/ledger runs: the store, calls, fleet and door of a grid in one process, its clients and containers
// (played) in another, over a TCP port.
//   bench_ledger accept|run|batch SECONDS FOLDER    one line of JSON each
//   bench_ledger queue INPUTS FOLDER
#include <malloc.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/fd.h"
#include "edge/rpc/calls.h"
#include "edge/rpc/containers.h"
#include "edge/rpc/server.h"
#include "modal_proto/api.pb.h"
#include "net/door.h"
#include "net/grpc.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;
using Empty = google::protobuf::Empty;
using nlohmann::json;
using Clocked = std::chrono::steady_clock;

constexpr int kContainers = 16;
constexpr int kCallers = 8;    // connections
constexpr int kInFlight = 32;  // calls of one connection at a time
constexpr int kBatch = 50;
constexpr int kArgs = 100;  // bytes

double cpuOfThread() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

double since(Clocked::time_point start) { return std::chrono::duration<double>(Clocked::now() - start).count(); }

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(static_cast<double>(values.size()) * q))];
}

Function functionOf(bool batched) {
  Function function;
  function.id = FunctionId{"fu-bench"};
  function.app = AppId{"ap-bench"};
  function.workspace = "bench";
  function.tag = "f";
  function.definitionId = DefinitionId{"de-bench"};
  function.image = ImageId{"im-bench"};
  function.scaling.minContainers = function.scaling.maxContainers = kContainers;
  if (batched) function.batching = Batching{kBatch, std::chrono::milliseconds(5)};
  return function;
}

// --- the grid ---

struct BareOrders final : StartOrders {
  Result<StartOrder> compose(const Instance& instance, const Function& function) override {
    StartOrder order;
    order.instance = instance.id;
    order.function = function.id;
    order.resources = instance.resources;
    return order;
  }
};

class Grid final : public FleetObserver, public CallsObserver {
 public:
  Grid(const std::string& folder, int toLoad)
      : store(std::move(openSqliteStore(folder + "/grid.db")).value()),
        gate(io, *store),
        calls(*store, functions, clock),
        meter(*store, clock),
        fleet(*store, calls, functions, orders, meter, clock),
        wakes(io),
        rpc(io, clock, [this](const net::RequestHead& head) { return identify(head); }, {.gate = &gate}),
        door(io, {}, [this](std::shared_ptr<net::Exchange> exchange) { return rpc.serve(std::move(exchange)); }),
        port(fleet, toLoad) {
    calls.observe(fleet);
    calls.observe(wakes);
    calls.observe(*this);
    fleet.observe(wakes);
    fleet.onWork([this] { stepSoon(); });
    CallParts parts{calls, fleet, *store, functions, wakes, clock};
    registerCalls(rpc, parts);
    registerContainers(rpc, parts);
  }

  std::string listen() { return std::move(door.listen("127.0.0.1:0")).value(); }

  void open(const Function& function) {
    functions.put(function);
    Worker worker;
    worker.id = WorkerId{"wk-bench"};
    worker.milliCpu = 64'000;
    worker.memoryMb = 64 * 1024;
    fleet.workerJoined(worker, port, {});
    fleet.deploy(function.id);
    spawn(io, tick(this));
  }

  void inputsQueued(const FunctionId&) override { stepSoon(); }
  void inputStarted(const Input&) override { stepSoon(); }
  void inputEnded(const Input&, const Outcome&, bool) override { stepSoon(); }

  asio::io_context io{1};
  SystemClock clock;
  std::unique_ptr<Store> store;
  DiskGate gate;
  FunctionTable functions;
  BareOrders orders;
  Calls calls;
  Meter meter;
  Fleet fleet;
  Wakes wakes;
  RpcServer rpc;
  net::Door door;

 private:
  // A worker whose containers are played by the load process, which is told their names.
  struct Port final : WorkerPort {
    Port(Fleet& f, int fd) : fleet(f), toLoad(fd) {}
    void start(const StartOrder& order) override {
      fleet.sandboxRunning(order.instance, {});
      auto name = order.instance.value;
      name.resize(32, ' ');
      GRID_CHECK(::write(toLoad, name.data(), name.size()) == 32);
    }
    void stop(const InstanceId&, Nanos) override {}
    void signal(const InstanceId&, int) override {}
    Fleet& fleet;
    const int toLoad;
  };

  // As edge/driver does it.
  void stepSoon() {
    if (stepping_) return;
    stepping_ = true;
    asio::post(io, [this] {
      stepping_ = false;
      calls.expire();
      fleet.step();
    });
  }
  static Task<void> tick(Grid* grid) {
    for (;;) {
      co_await sleepFor(grid->io, std::chrono::milliseconds(100));
      grid->stepSoon();
      (void)grid->meter.flush();
    }
  }

  Result<Caller> identify(const net::RequestHead& head) const {
    Caller caller;
    caller.workspace = "bench";
    caller.kind = Caller::Kind::client;
    const auto task = head.headers.find("x-gridiron-task");
    if (!task) return caller;
    const auto instance = fleet.find(InstanceId{std::string(*task)});
    if (!instance) return makeError(Code::unauthenticated, "no container {}", *task);
    caller.kind = Caller::Kind::container;
    caller.task = instance->id;
    caller.app = instance->app;
    caller.function = instance->function;
    return caller;
  }

  Port port;
  bool stepping_ = false;
};

// --- the load ---

struct Load {
  asio::io_context io{1};
  std::string url;
  Clocked::time_point end;
  std::vector<double> took;  // seconds, of each request that counts
  std::int64_t done = 0;     // inputs
  int open = 0;              // loops that go on

  bool over() const { return Clocked::now() >= end; }
};

template <class Resp, class Req>
Task<std::optional<Resp>> ask(std::shared_ptr<net::GrpcChannel> channel, std::string name, Req request,
                              std::string task) {
  net::Headers headers;
  if (!task.empty()) headers.add("x-gridiron-task", task);
  const std::string path = "/modal.client.ModalClient/" + name;
  std::string message = request.SerializeAsString();
  Result<std::string> answer = co_await channel->unary(path, headers, std::move(message), std::chrono::seconds(60));
  if (!answer.ok()) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), answer.error().message.c_str());
    co_return std::nullopt;
  }
  Resp response;
  GRID_CHECK(response.ParseFromString(*answer));
  co_return response;
}

api::FunctionMapRequest mapOf(int inputs) {
  api::FunctionMapRequest request;
  request.set_function_id("fu-bench");
  request.set_function_call_type(inputs == 1 ? api::FUNCTION_CALL_TYPE_UNARY : api::FUNCTION_CALL_TYPE_MAP);
  request.set_function_call_invocation_type(api::FUNCTION_CALL_INVOCATION_TYPE_ASYNC);
  for (int i = 0; i < inputs; ++i) {
    auto& item = *request.add_pipelined_inputs();
    item.set_idx(i);
    item.mutable_input()->set_args(std::string(kArgs, 'x'));
    item.mutable_input()->set_data_format(api::DATA_FORMAT_PICKLE);
  }
  return request;
}

// One caller: a call after the other, each answered when it is on disk.
Task<void> callOn(Load* load, std::shared_ptr<net::GrpcChannel> channel) {
  const auto request = mapOf(1);
  while (!load->over()) {
    const auto started = Clocked::now();
    const auto made = co_await ask<api::FunctionMapResponse>(channel, "FunctionMap", request, "");
    if (!made) break;
    load->took.push_back(since(started));
    ++load->done;
  }
  if (--load->open == 0) load->io.stop();
}

// One container: it takes what it gets and answers all of it, over and over.
Task<void> runContainer(Load* load, std::string task) {
  auto channel = std::make_shared<net::GrpcChannel>(load->io, load->url);
  (void)co_await ask<Empty>(channel, "ContainerHello", Empty(), task);
  while (!load->over()) {
    const auto started = Clocked::now();
    const auto inputs = co_await ask<api::FunctionGetInputsResponse>(channel, "FunctionGetInputs",
                                                                     api::FunctionGetInputsRequest(), task);
    if (!inputs) break;
    api::FunctionPutOutputsRequest outputs;
    for (const auto& item : inputs->inputs()) {
      auto& out = *outputs.add_outputs();
      out.set_input_id(item.input_id());
      out.set_retry_count(item.retry_count());
      out.mutable_result()->set_status(api::GenericResult::GENERIC_STATUS_SUCCESS);
      out.mutable_result()->set_data("8");
      out.set_data_format(api::DATA_FORMAT_PICKLE);
    }
    if (outputs.outputs().empty()) continue;
    (void)co_await ask<Empty>(channel, "FunctionPutOutputs", outputs, task);
    load->took.push_back(since(started));
    load->done += outputs.outputs_size();
  }
  if (--load->open == 0) load->io.stop();
}

// What waits is put before the clock runs.
Task<void> fill(Load* load, std::shared_ptr<net::GrpcChannel> channel, int requests, bool* filled) {
  for (int i = 0; i < requests; ++i)
    (void)co_await ask<api::FunctionMapResponse>(channel, "FunctionMap", mapOf(1000), "");
  *filled = true;
  load->io.stop();
}

int loadProcess(const std::string& mode, double seconds, const std::string& address, int names, int results) {
  Load load;
  load.url = "http://" + address;
  std::vector<std::shared_ptr<net::GrpcChannel>> channels;
  for (int i = 0; i < kCallers; ++i) channels.push_back(std::make_shared<net::GrpcChannel>(load.io, load.url));
  std::vector<std::string> tasks;
  for (int i = 0; i < kContainers; ++i) {
    char name[32];
    GRID_CHECK(::read(names, name, sizeof name) == sizeof name);
    tasks.emplace_back(name, std::string_view(name, sizeof name).find(' '));
  }
  if (mode != "accept") {
    bool filled = false;
    spawn(load.io, fill(&load, channels[0], static_cast<int>(seconds * (mode == "batch" ? 60 : 25)), &filled));
    load.io.run();
    load.io.restart();
    GRID_CHECK(filled);
  }
  std::int64_t told = 0;
  GRID_CHECK(::write(results, &told, sizeof told) == sizeof told);  // the clock runs
  const auto started = Clocked::now();
  load.end = started + std::chrono::duration_cast<Clocked::duration>(std::chrono::duration<double>(seconds));
  if (mode == "accept") {
    load.open = kCallers * kInFlight;
    for (int i = 0; i < load.open; ++i) spawn(load.io, callOn(&load, channels[static_cast<std::size_t>(i % kCallers)]));
  } else {
    load.open = kContainers;
    for (const auto& task : tasks) spawn(load.io, runContainer(&load, task));
  }
  load.io.run();
  const double took = since(started);
  const json line = {{"done", load.done},
                     {"seconds", took},
                     {"p50_ms", quantile(load.took, 0.5) * 1000},
                     {"p99_ms", quantile(load.took, 0.99) * 1000},
                     {"requests", load.took.size()}};
  const auto text = line.dump() + "\n";
  GRID_CHECK(::write(results, text.data(), text.size()) == std::ssize(text));
  return 0;
}

Task<void> collect(Grid* grid, int results, double* cpu, std::uint64_t* syncs, std::string* text) {
  asio::posix::basic_stream_descriptor<Executor> pipe(grid->io.get_executor(), results);
  std::int64_t told = 0;
  boost::system::error_code error;
  co_await asio::async_read(pipe, asio::buffer(&told, sizeof told),
                            asio::redirect_error(asio::use_awaitable_t<Executor>{}, error));
  *cpu = cpuOfThread();
  *syncs = grid->store->syncs();
  char piece[4096];
  while (!error && !text->ends_with('\n')) {
    const std::size_t n = co_await pipe.async_read_some(asio::buffer(piece),
                                                        asio::redirect_error(asio::use_awaitable_t<Executor>{}, error));
    text->append(piece, n);
  }
  *cpu = cpuOfThread() - *cpu;
  *syncs = grid->store->syncs() - *syncs;
  grid->io.stop();
}

int overTheDoor(const std::string& mode, double seconds, const std::string& folder) {
  int names[2], results[2], where[2];
  GRID_CHECK(::pipe(names) == 0 && ::pipe(results) == 0 && ::pipe(where) == 0);
  const auto child = ::fork();
  if (child == 0) {
    ::close(names[1]);
    char address[64] = {};
    GRID_CHECK(::read(where[0], address, sizeof address) > 0);
    ::_exit(loadProcess(mode, seconds, address, names[0], results[1]));
  }
  ::close(results[1]);
  Grid grid(folder, names[1]);
  const auto address = grid.listen();
  grid.open(functionOf(mode == "batch"));
  GRID_CHECK(::write(where[1], address.c_str(), address.size() + 1) > 0);
  double cpu = 0;
  std::uint64_t syncs = 0;
  std::string text;
  spawn(grid.io, collect(&grid, results[0], &cpu, &syncs, &text));
  grid.io.run();
  int status = 0;
  ::waitpid(child, &status, 0);
  if (text.empty()) return 1;
  json line = json::parse(text);
  const double done = line["done"], took = line["seconds"];
  line["mode"] = mode;
  line["per_second"] = done / took;
  line["per_cpu_second"] = done / cpu;
  line["cpu_share"] = cpu / took;
  line["syncs_per_second"] = static_cast<double>(syncs) / took;
  std::printf("%s\n", line.dump().c_str());
  return 0;
}

// --- what waits ---

std::int64_t residentBytes() {
  ::malloc_trim(0);
  const auto text = readFile("/proc/self/statm").value();
  return std::strtoll(text.c_str() + text.find(' '), nullptr, 10) * ::sysconf(_SC_PAGESIZE);
}

struct Queue {
  SystemClock clock;
  std::unique_ptr<Store> store;
  FunctionTable functions;
  std::unique_ptr<Calls> calls;

  explicit Queue(const std::string& folder) : store(std::move(openSqliteStore(folder + "/grid.db")).value()) {
    auto function = functionOf(false);
    function.maxConcurrentInputs = 1;
    functions.put(function);
    calls = std::make_unique<Calls>(*store, functions, clock);
  }
  CallId call(CallKind kind) {
    CallOptions options;
    options.function = FunctionId{"fu-bench"};
    options.kind = kind;
    return calls->open(options).value();
  }
  void put(const CallId& call, int from, int count) {
    std::vector<NewInput> inputs;
    for (int i = 0; i < count; ++i) {
      inputs.push_back(NewInput{from + i, Payload{DataFormat::pickle, std::string(kArgs, 'x'), {}}, ""});
    }
    GRID_CHECK(calls->put(call, std::move(inputs)).ok());
  }
  // Seconds of one input taken and settled.
  std::vector<double> runSome(int count) {
    std::vector<double> took;
    const InstanceId container{"ta-bench"};
    for (int i = 0; i < count; ++i) {
      const auto started = Clocked::now();
      const auto leases = calls->lease(container, FunctionId{"fu-bench"});
      GRID_CHECK(leases.size() == 1);
      Outcome good;
      good.status = OutcomeStatus::success;
      GRID_CHECK(calls->settle(container, leases[0].input.id, good).ok());
      took.push_back(since(started));
      calls->expire();
    }
    return took;
  }
};

int queue(int count, const std::string& folder) {
  for (const bool spawned : {false, true}) {
    const auto place = folder + (spawned ? "/spawn" : "/map");
    json line = {{"mode", spawned ? "queue, a call each" : "queue, one map"}, {"inputs", count}};
    {
      Queue q(place);
      const auto map = q.call(CallKind::map);
      q.put(map, 0, 1000);
      line["few_p50_us"] = quantile(q.runSome(1000), 0.5) * 1e6;
      const auto before = residentBytes();
      const auto started = Clocked::now();
      const auto big = q.call(CallKind::map);
      for (int i = 0; i < count; i += 1000) {
        if (!spawned) q.put(big, i, 1000);
        for (int k = 0; spawned && k < 1000; ++k) q.put(q.call(CallKind::unary), 0, 1);
      }
      line["accepted_per_second"] = count / since(started);
      line["bytes_each"] = static_cast<double>(residentBytes() - before) / count - kArgs;
      line["many_p50_us"] = quantile(q.runSome(1000), 0.5) * 1e6;
      line["many_p99_us"] = quantile(q.runSome(1000), 0.99) * 1e6;
      auto at = Clocked::now();
      GRID_CHECK(q.calls->demand().size() == 1);
      line["demand_us"] = since(at) * 1e6;
      at = Clocked::now();
      q.store->flush();
      line["flush_s"] = since(at);
    }
    {
      auto at = Clocked::now();
      Queue q(place);
      GRID_CHECK(q.calls->load().ok());
      line["restart_s"] = since(at);
      at = Clocked::now();
      if (spawned) {
        Outcome bad;
        bad.status = OutcomeStatus::initFailure;
        q.calls->failWaiting(FunctionId{"fu-bench"}, bad);
      } else {
        const auto unfinished = q.store->unfinishedCalls().value();
        for (const auto& id : unfinished) GRID_CHECK(q.calls->cancel(id).ok());
      }
      line["cancel_ms"] = since(at) * 1000;
      double longest = 0;
      while (*q.calls->nextDeadline() <= q.clock.now()) {
        const auto turn = Clocked::now();
        q.calls->expire();
        longest = std::max(longest, since(turn));
      }
      line["cancelled_s"] = since(at);
      line["longest_turn_ms"] = longest * 1000;
      GRID_CHECK(q.calls->demandOf(FunctionId{"fu-bench"}).queued == 0);
    }
    std::printf("%s\n", line.dump().c_str());
    std::fflush(stdout);
  }
  return 0;
}

int run(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const bool known = mode == "accept" || mode == "run" || mode == "batch" || mode == "queue";
  if (argc != 4 || !known) {
    std::fprintf(stderr, "usage: bench_ledger accept|run|batch SECONDS FOLDER | queue INPUTS FOLDER\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  if (mode == "queue") return queue(std::atoi(argv[2]), argv[3]);
  return overTheDoor(mode, std::atof(argv[2]), argv[3]);
}

}  // namespace
}  // namespace gridiron::edge

int main(int argc, char** argv) { return gridiron::edge::run(argc, argv); }
