#include "main/grid.h"

#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include <spdlog/spdlog.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <optional>
#include <thread>

#include "base/priority.h"
#include "blob/blob.h"
#include "calls/calls.h"
#include "catalog/catalog.h"
#include "edge/dash/admin.h"
#include "edge/dash/dash.h"
#include "edge/dash/names.h"
#include "edge/driver.h"
#include "edge/http/answers.h"
#include "edge/http/blobs.h"
#include "edge/http/ingress.h"
#include "edge/http/router.h"
#include "edge/link/link.h"
#include "edge/rpc/calls.h"
#include "edge/rpc/containers.h"
#include "edge/rpc/logs.h"
#include "edge/rpc/objects.h"
#include "edge/rpc/server.h"
#include "edge/rpc/wakes.h"
#include "edge/schedules.h"
#include "fleet/fleet.h"
#include "main/acme.h"
#include "main/data_folder.h"
#include "main/local_worker.h"
#include "meter/meter.h"
#include "net/door.h"
#include "store/store.h"
#include "wire/container_arguments.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;

// "0.0.0.0:8400" → 8400.
int portOfAddress(const std::string& address) { return std::stoi(address.substr(address.rfind(':') + 1)); }

// The IPv4 address of "ADDRESS:PORT", when it is one and not all of the host's.
std::string onlyAddress(const std::string& listen) {
  const std::string host = listen.substr(0, listen.rfind(':'));
  if (host == "localhost") return "127.0.0.1";
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 && address.s_addr != INADDR_ANY ? host : "";
}

net::DoorOptions doorOptions(const Settings& settings, const Acme* acme) {
  net::DoorOptions out;
  if (!settings.tlsCertificate.empty()) {
    out.tls = settings.moreCertificates;
    out.tls.insert(out.tls.begin(), {settings.tlsCertificate, settings.tlsKey});
  }
  if (acme != nullptr) {
    for (net::TlsFiles& files : acme->files()) out.tls.push_back(std::move(files));
  }
  out.onCertificates = [](const Result<void>& read) {
    if (read.ok()) {
      spdlog::info("the changed TLS certificates are in force");
    } else {
      spdlog::error("the TLS certificates stay as they were: {}", read.error().message);
    }
  };
  out.trusted = settings.trustedProxies;
  out.maxConnections = static_cast<std::size_t>(settings.maxConnections);
  out.maxOfAddress = static_cast<std::size_t>(settings.maxClientConnections);
  out.onRefused = [](const net::RefusedConnections& refused) {
    spdlog::warn(
        "connections were refused: {} beyond max_connections, {} beyond max_client_connections, the last of {}",
        refused.full, refused.ofAddress, refused.last);
  };
  return out;
}

}  // namespace

struct Grid::Impl {
  explicit Impl(const Settings& s) : settings(s) {}

  // The steps of open(), in this order.
  Result<void> openStores();
  Result<void> listen();
  Result<void> openControl();
  void openEdge();
  Result<void> openAdmin();
  Result<void> startWorker();

  net::HttpHandler router();
  Fleet::Options fleetOptions();
  edge::WorkerLinks::Hooks linkHooks();
  edge::IngressParts ingressParts();
  edge::WebhookParts webhookParts();
  edge::LimiterParts limiterParts();
  static Task<void> serveFunction(Impl& self, std::shared_ptr<net::Exchange> exchange, edge::FunctionAddress address);
  static Task<void> finishRequests(Impl& self, Nanos grace);
  static Task<void> stopWorker(Impl& self, Nanos grace);
  static Task<void> finish(Impl& self);

  Settings settings;
  SystemClock clock;
  std::unique_ptr<edge::AccessLog> accessLog;  // this and the next: requests that end with the loop are told of, too
  std::unique_ptr<edge::RequestBook> book;
  std::unique_ptr<Acme> acme;
  asio::io_context io{1};
  std::unique_ptr<Store> store;
  std::unique_ptr<edge::DiskGate> gate;
  std::optional<blob::Blobs> blobs;
  std::unique_ptr<Catalog> catalog;
  GridConfig config;
  std::string workerSecret;
  int port = 0;

  std::unique_ptr<Calls> calls;
  std::unique_ptr<Meter> meter;
  std::unique_ptr<wire::WebUrls> urls;
  std::unique_ptr<edge::CustomDomains> domains;
  std::unique_ptr<StartOrders> orders;
  std::unique_ptr<Fleet> fleet;
  std::unique_ptr<edge::Driver> driver;
  std::unique_ptr<edge::Schedules> schedules;
  std::unique_ptr<edge::Wakes> wakes;
  std::unique_ptr<edge::LogHub> logs;
  std::unique_ptr<edge::WorkerLinks> links;
  std::unique_ptr<edge::ImageBuilds> builds;
  std::unique_ptr<edge::BlobDoor> blobDoor;
  std::unique_ptr<edge::RpcServer> rpc;
  std::unique_ptr<edge::WebhookGuard> webhooks;
  std::unique_ptr<edge::RequestLimiter> limiter;
  std::unique_ptr<edge::Lanes> lanes;
  std::unique_ptr<edge::Ingress> ingress;
  std::unique_ptr<edge::AdminApi> admin;
  std::unique_ptr<edge::Dash> dash;
  net::HttpHandler handler;  // of every request that comes by the door
  std::unique_ptr<net::Door> door;
  std::unique_ptr<net::Door> adminDoor;
  std::unique_ptr<LocalWorker> worker;
  std::thread workerStop;
  bool stopping = false;
  std::size_t requests = 0;  // to functions, that are being served
  Notifier requestsDone{io};
};

Result<void> Grid::Impl::openStores() {
  ASSIGN_OR_RETURN(store, openSqliteStore(databasePath(settings.data)));
  ASSIGN_OR_RETURN(blobs, blob::Blobs::open(blobsPath(settings.data)));
  ASSIGN_OR_RETURN(workerSecret, edge::loadWorkerSecret(settings.data + "/worker-secret"));
  if (!settings.acmeNames.empty()) {
    ASSIGN_OR_RETURN(acme, Acme::open({.directory = settings.acmeDirectory,
                                       .authority = settings.acmeAuthority,
                                       .email = settings.acmeEmail,
                                       .names = settings.acmeNames,
                                       .folder = settings.data + "/acme"},
                                      clock));
  }
  if (!settings.accessLog.empty()) {
    ASSIGN_OR_RETURN(accessLog, edge::AccessLog::open(settings.accessLog));
  }
  return {};
}

// The door opens before the rest exists, since addresses that clients are told hold its port; nobody is served before
// the loop runs.
Result<void> Grid::Impl::listen() {
  door = std::make_unique<net::Door>(io, doorOptions(settings, acme.get()),
                                     [this](std::shared_ptr<net::Exchange> exchange) { return handler(exchange); });
  ASSIGN_OR_RETURN(const std::string bound, door->listen(settings.listen));
  if (!settings.listenHttp.empty()) {
    ASSIGN_OR_RETURN(const std::string second, door->listen(settings.listenHttp));
    spdlog::info("the door listens at {} too", second);
  }
  port = portOfAddress(bound);
  settings.listen = settings.listen.substr(0, settings.listen.rfind(':') + 1) + std::to_string(port);
  return {};
}

Result<void> Grid::Impl::openControl() {
  ASSIGN_OR_RETURN(catalog, Catalog::open(*store, *blobs, clock,
                                          {.keyFile = keyPath(settings.data),
                                           .workspace = settings.workspace,
                                           .apps = {.clientSilence = settings.clientSilence}}));
  config.publicUrl = publicUrlOf(settings);
  config.domain = settings.domain;
  config.workspace = catalog->workspace().name;
  catalog->apps().setBinder(wire::bindFunction);
  Calls::Options bounds;
  bounds.queueInputs = settings.queueInputs;
  bounds.queueWorkspaceInputs = settings.queueWorkspaceInputs;
  bounds.queueWorkspaceBytes = settings.queueWorkspaceBytes;
  calls = std::make_unique<Calls>(*store, catalog->apps(), clock, bounds);
  meter = std::make_unique<Meter>(*store, clock);
  urls = std::make_unique<wire::WebUrls>(catalog->apps(), config);
  domains = std::make_unique<edge::CustomDomains>(catalog->apps(), settings.domains, config.domain);
  domains->load();
  catalog->apps().observe(*domains);
  orders = std::make_unique<wire::CatalogOrders>(
      *catalog, [this](const Function& function, auto& out) { wire::writeHandle(function, *urls, out); },
      settings.fastLane);
  fleet = std::make_unique<Fleet>(*store, *calls, catalog->apps(), *orders, *meter, clock, fleetOptions());
  driver = std::make_unique<edge::Driver>(io, *calls, *fleet, catalog->apps(), *meter);
  driver->alsoEachSecond([this] { catalog->expire(); });
  driver->alsoEachSecond([this] { calls->noteLeases(); });
  schedules = std::make_unique<edge::Schedules>(*store, *calls, catalog->apps(), clock);
  catalog->apps().observe(*schedules);
  driver->alsoEachSecond([this] { schedules->turn(); });
  RETURN_IF_ERROR(calls->load());
  RETURN_IF_ERROR(schedules->load());
  return fleet->load();
}

Fleet::Options Grid::Impl::fleetOptions() {
  Fleet::Options options;
  options.predicts = [this](const Function& function) {
    const App* app = catalog->apps().find(function.app);
    return app != nullptr && edge::mayStartAhead(*app, settings.predict);
  };
  options.scheduled = [this](const FunctionId& id) -> std::optional<Time> {
    const auto planned = schedules ? schedules->of(id) : std::nullopt;
    return planned ? planned->next : std::nullopt;
  };
  return options;
}

edge::WorkerLinks::Hooks Grid::Impl::linkHooks() {
  return {.lines = [this](const link::LogLines& lines) { logs->append(lines); },
          .built = [this](const link::BuildEvent& event) { builds->built(event); },
          .file = [this](const link::FetchFileRequest& request) { return edge::fileFor(*catalog, request); },
          .lanes = [this](const WorkerId& worker, const std::string& folder) { lanes->workerFolder(worker, folder); },
          .appLives =
              [this](const AppId& id) {
                const App* app = catalog->apps().find(id);
                return app != nullptr && isLive(app->state);
              }};
}

edge::IngressParts Grid::Impl::ingressParts() {
  const auto readBlob = [this](const BlobId& id) -> Task<Result<std::string>> { co_return catalog->blobs().read(id); };
  return {
      .io = io,
      .calls = *calls,
      .fleet = *fleet,
      .wakes = *wakes,
      .clock = clock,
      .domain = config.domain,
      .find = [this](const auto& address) { return edge::webTargetAt(*catalog, *domains, address); },
      .instance = [this](const auto& service, const auto& query) { return edge::instanceOf(*catalog, service, query); },
      .proxyToken =
          [this](const Function& function, const std::string& id, const std::string& secret) {
            const auto token = catalog->proxyTokens().find(id, secret);
            return token && token->workspace == function.workspace;
          },
      .blob = readBlob,
      .webhooks = webhooks.get(),
      .lanes = lanes.get(),
      .book = book.get(),
      .limits = limiter.get(),
      .tell = [this](const Function& function, const std::string& line) { logs->note(function, line); }};
}

edge::LimiterParts Grid::Impl::limiterParts() {
  return {.clock = clock,
          .rule =
              [this](const Function& function, const std::string& method) {
                return edge::limitRuleFor(*catalog, settings.limits, function, method);
              },
          .tell = [this](const Function& function, const std::string& line) { logs->note(function, line); }};
}

edge::WebhookParts Grid::Impl::webhookParts() {
  return {.io = io,
          .clock = clock,
          .rule =
              [this](const Function& function, const std::string& method) {
                return edge::webhookRuleFor(*catalog, settings.webhooks, function, method);
              },
          .secret = [this](const std::string& environment, const std::string& name) -> Result<Variables> {
            ASSIGN_OR_RETURN(const Secret secret, catalog->secrets().find(environment, name, {}));
            return catalog->secrets().reveal(secret.id);
          },
          .tell = [this](const Function& function, const std::string& line) { logs->note(function, line); }};
}

void Grid::Impl::openEdge() {
  wakes = std::make_unique<edge::Wakes>(io);
  calls->observe(*wakes);
  fleet->observe(*wakes);
  catalog->apps().observe(*wakes);
  logs = std::make_unique<edge::LogHub>(io, *store, *calls, *fleet, *wakes, clock);
  calls->observe(*logs);
  fleet->observe(*logs);
  lanes = std::make_unique<edge::Lanes>(io, *calls, *fleet, catalog->apps(), *wakes);
  links = std::make_unique<edge::WorkerLinks>(
      io, *fleet, clock, edge::WorkerLinks::Options{.secret = workerSecret, .workspaceDomain = config.domain},
      linkHooks());
  const edge::ObjectParts objects{
      .io = io,
      .catalog = *catalog,
      .fleet = *fleet,
      .store = *store,
      .wakes = *wakes,
      .clock = clock,
      .config = config,
      .build = [this](link::BuildImage order) { links->build(std::move(order)); },
      .buildingFor = [this](const ImageId& image, const AppId& app) { logs->buildingFor(image, app); },
      .flushLogs = [this] { [[maybe_unused]] Result<void> flushed = logs->flush(); },
      .calls = calls.get(),
      .buildingIn = [this](const InstanceId& instance, const ImageId& image) { logs->buildingIn(instance, image); },
      .domains = domains.get()};
  builds = std::make_unique<edge::ImageBuilds>(objects);
  fleet->observe(*builds);
  blobDoor = std::make_unique<edge::BlobDoor>(catalog->blobs(), config);
  const auto containerOf = [this](const net::Headers& headers) { return links->instanceOf(headers); };
  gate = std::make_unique<edge::DiskGate>(io, *store);
  rpc = std::make_unique<edge::RpcServer>(io, clock, edge::identifyCallers(*catalog, *fleet, containerOf),
                                          edge::RpcServer::Options{.gate = gate.get()});
  const edge::CallParts callParts{.calls = *calls,
                                  .fleet = *fleet,
                                  .store = *store,
                                  .functions = catalog->apps(),
                                  .wakes = *wakes,
                                  .clock = clock,
                                  .hasLane = [this](const InstanceId& id) { return lanes->opens(id); },
                                  .serverEntered = [this](const InstanceId& id) { lanes->serverEntered(id); }};
  edge::registerObjects(*rpc, objects, *builds);
  edge::registerCalls(*rpc, callParts);
  edge::registerContainers(*rpc, callParts);
  edge::registerLogs(*rpc, {.hub = *logs, .calls = callParts, .app = [this](const AppId& id) -> std::optional<App> {
                              auto app = catalog->apps().get(id);
                              return app.ok() ? std::optional(*app) : std::nullopt;
                            }});
  blobDoor->registerRpcs(*rpc);
  webhooks = std::make_unique<edge::WebhookGuard>(webhookParts());
  limiter = std::make_unique<edge::RequestLimiter>(limiterParts());
  book = std::make_unique<edge::RequestBook>(clock, accessLog.get(), [this](const AppId& id) {
    const App* app = catalog->apps().find(id);
    return app == nullptr ? id.str() : edge::nameOf(*app);
  });
  ingress = std::make_unique<edge::Ingress>(ingressParts());
  builds->resume();
}

Result<void> Grid::Impl::openAdmin() {
  admin = std::make_unique<edge::AdminApi>(edge::AdminParts{.store = *store,
                                                            .catalog = *catalog,
                                                            .meter = *meter,
                                                            .clock = clock,
                                                            .fleet = fleet.get(),
                                                            .calls = calls.get(),
                                                            .schedules = schedules.get(),
                                                            .url = config.publicUrl,
                                                            .domain = config.domain,
                                                            .version = GRIDIRON_VERSION,
                                                            .book = book.get(),
                                                            .connections = [this] { return door->connections(); },
                                                            .refusedConnections = [this] { return door->refused(); }});
  dash = std::make_unique<edge::Dash>(*admin);
  handler = router();
  adminDoor = std::make_unique<net::Door>(io, net::DoorOptions{}, edge::makeAdminHandler(*admin));
  const std::string path = adminSocketPath(settings.data);
  ::unlink(path.c_str());  // of a killed grid: we hold the folder's lock
  RETURN_IF_ERROR(adminDoor->listen("unix:" + path));
  if (::chmod(path.c_str(), 0600) != 0) return errnoError("chmod " + path);
  return {};
}

net::HttpHandler Grid::Impl::router() {
  std::function<bool(const net::RequestHead&)> insecure;
  if (hasTls(settings) && settings.redirectHttp) {
    insecure = [trusted = settings.trustedProxies](const net::RequestHead& head) {
      return head.scheme == "http" && !trusted.has(head.peerHost);
    };
  }
  return edge::makeRouter(
      {.domain = config.domain,
       .challenge = [this](const std::string& path) { return acme ? acme->answerTo(path) : std::nullopt; },
       .insecure = std::move(insecure),
       .ownHost = [this](const std::string& host) { return domains->has(host); },
       .book = book.get(),
       .rpc = [this](std::shared_ptr<net::Exchange> exchange) { return rpc->serve(std::move(exchange)); },
       .link = [this](std::shared_ptr<net::Exchange> exchange) { return links->handle(std::move(exchange)); },
       .blobs = [this](std::shared_ptr<net::Exchange> exchange) { return blobDoor->serve(std::move(exchange)); },
       .page = dash->handler(),
       .function = [this](
                       std::shared_ptr<net::Exchange> exchange,
                       edge::FunctionAddress address) { return serveFunction(*this, exchange, std::move(address)); }});
}

Task<void> Grid::Impl::serveFunction(Impl& self, std::shared_ptr<net::Exchange> exchange,
                                     edge::FunctionAddress address) {
  if (self.stopping) {
    edge::Answer answer = edge::textAnswer(503, "The grid is about to end.");
    answer.headers.add("retry-after", "5");
    (void)co_await exchange->answer(answer.status, std::move(answer.headers), std::move(answer.body));
    co_return;
  }
  ++self.requests;
  co_await self.ingress->serve(std::move(exchange), std::move(address));
  if (--self.requests == 0) self.requestsDone.notifyAll();
}

Result<void> Grid::Impl::startWorker() {
  ASSIGN_OR_RETURN(worker, LocalWorker::start(settings, {.controlUrl = fmt::format("http://127.0.0.1:{}", port),
                                                         .secret = workerSecret,
                                                         .gridHost = onlyAddress(settings.listen),
                                                         .gridPort = port}));
  return {};
}

Grid::Grid(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Grid>> Grid::open(const Settings& settings, GridParts parts) {
  auto impl = std::make_unique<Impl>(settings);
  RETURN_IF_ERROR(impl->openStores());
  RETURN_IF_ERROR(impl->listen());
  RETURN_IF_ERROR(impl->openControl());
  impl->openEdge();
  RETURN_IF_ERROR(impl->openAdmin());
  if (parts == GridParts::all) RETURN_IF_ERROR(impl->startWorker());
  return std::unique_ptr<Grid>(new Grid(std::move(impl)));
}

Grid::~Grid() {
  if (impl_->workerStop.joinable()) impl_->workerStop.join();
}

Result<void> Grid::run() {
  impl_->driver->start();
  impl_->builds->resume();
  if (impl_->acme) impl_->acme->start();
  preferThisThread();
  const auto work = asio::make_work_guard(impl_->io);
  impl_->io.run();
  RETURN_IF_ERROR(impl_->logs->flush());
  return impl_->meter->flush();
}

// Containers end first, while control still takes what they have to say; then the door is closed.
Task<void> Grid::Impl::stopWorker(Impl& self, Nanos grace) {
  Notifier stopped(self.io);
  bool done = false;
  self.workerStop = std::thread([&, grace] {
    self.worker->stop(std::min<Nanos>(grace, 6s));
    asio::post(self.io, [&] {
      done = true;
      stopped.notifyAll();
    });
  });
  while (!done) co_await stopped.wait(1h);
}

// Requests that came before the end of the grid have a while to be answered.
Task<void> Grid::Impl::finishRequests(Impl& self, Nanos grace) {
  const Time until = self.clock.now() + grace;
  while (self.requests > 0 && self.clock.now() < until) co_await self.requestsDone.wait(until - self.clock.now());
}

Task<void> Grid::Impl::finish(Impl& self) {
  const Time began = self.clock.now();
  co_await finishRequests(self, self.settings.stopGrace * 2 / 3);
  const Nanos left = self.settings.stopGrace - (self.clock.now() - began);
  if (self.worker) co_await stopWorker(self, left);
  self.links.reset();
  co_await self.door->drain(1s);
  self.io.stop();
}

void Grid::reopenLogs() {
  if (impl_->accessLog) impl_->accessLog->reopen();
}

void Grid::stop() {
  asio::post(impl_->io, [impl = impl_.get()] {
    if (!std::exchange(impl->stopping, true)) spawn(impl->io, Impl::finish(*impl));
  });
}

}  // namespace gridiron
