#include "main/up.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <future>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "edge/link/link.h"
#include "main/admin_client.h"
#include "main/data_folder.h"
#include "main/grid.h"
#include "main/local_worker.h"
#include "sandbox/sandbox.h"

namespace gridiron {
namespace {

// After SIGTERM the grid has this long; then the process ends whatever still waits. What a grid leaves on the machine
// is swept by the next one on its data folder.
constexpr int kStopMillis = 9500;

std::atomic<int> signalPipe{-1};

void onSignal(int signo) {
  int saved = errno;
  char byte = static_cast<char>(signo);
  [[maybe_unused]] auto written = ::write(signalPipe.load(), &byte, 1);
  errno = saved;
}

// Turns SIGTERM and SIGINT into stop(), and SIGHUP into hangUp() if there is one, on a thread of its own. A handler and
// not a blocked signal: programs that the grid starts inherit what is blocked.
class StopOnSignal {
 public:
  explicit StopOnSignal(std::function<void()> stop, std::function<void()> hangUp = {}) : hangUp_(std::move(hangUp)) {
    int ends[2];
    GRID_CHECK(::pipe2(ends, O_CLOEXEC) == 0);
    read_ = Fd(ends[0]);
    write_ = Fd(ends[1]);
    signalPipe = write_.get();
    struct sigaction action {};
    action.sa_handler = onSignal;
    action.sa_flags = SA_RESTART;
    for (int signo : signals()) ::sigaction(signo, &action, nullptr);
    thread_ = std::thread([this, stop = std::move(stop)] { watch(stop); });
  }
  ~StopOnSignal() {
    ended_ = true;
    onSignal(0);
    thread_.join();
    for (int signo : signals()) ::signal(signo, SIG_DFL);
  }

 private:
  std::vector<int> signals() const {
    std::vector<int> all = {SIGTERM, SIGINT};
    if (hangUp_) all.push_back(SIGHUP);
    return all;
  }
  // True: a signal that ends the grid (or the end of this object).
  bool waitForByte(int timeoutMillis) {
    struct pollfd wait {
      read_.get(), POLLIN, 0
    };
    while (true) {
      int got = ::poll(&wait, 1, timeoutMillis);
      if (got < 0 && errno == EINTR) continue;
      char byte;
      if (got <= 0 || ::read(read_.get(), &byte, 1) != 1) return false;
      if (byte != SIGHUP) return true;
      hangUp_();
    }
  }
  void watch(const std::function<void()>& stop) {
    waitForByte(-1);
    if (ended_) return;
    spdlog::info("stopping (a second signal ends at once)");
    stop();
    bool again = waitForByte(kStopMillis);
    if (ended_) return;
    spdlog::error(again ? "ended at once by a second signal" : "did not end in time: ended at once");
    ::_exit(1);
  }

  const std::function<void()> hangUp_;
  Fd read_, write_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

// Asks the grid itself, so that what is printed is true: it answers.
void announce(const Configuration& configuration, bool first) {
  const Settings& s = configuration.settings;
  auto status = askRunningGrid(s.data, {"GET", "/v1/status", {}, 5});
  if (!status.ok() || !status->has_value()) return;
  std::string url = (**status).value("url", publicUrlOf(s));
  std::printf("gridiron is ready at %s (data %s)\n", url.c_str(), s.data.c_str());
  if (first) {
    auto link = askRunningGrid(s.data, {"POST", "/v1/sign-in-links", nlohmann::json::object(), 5});
    if (link.ok() && link->has_value())
      std::printf("the page, signed in once: %s\n", (**link).value("url", "").c_str());
  }
  std::printf("connect a client: MODAL_SERVER_URL=%s modal setup\n", url.c_str());
  std::fflush(stdout);
}

void beginLog(const Configuration& configuration) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("gridiron"));
  spdlog::set_level(spdlog::level::from_str(configuration.settings.logLevel));
  for (const auto& warning : configuration.warnings) spdlog::warn("{}", warning);
}

// IPv4 address and port of a grid's door, as its URL has them.
Result<std::pair<std::string, int>> doorOf(const std::string& url) {
  const auto scheme = url.find("://");
  std::string host = scheme == std::string::npos ? url : url.substr(scheme + 3);
  host = host.substr(0, host.find('/'));
  std::string port = url.starts_with("https://") ? "443" : "80";
  if (const auto colon = host.rfind(':'); colon != std::string::npos) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_family = AF_INET;
  wanted.ai_socktype = SOCK_STREAM;
  if (const int failed = ::getaddrinfo(host.c_str(), port.c_str(), &wanted, &found); failed != 0)
    return makeError(Code::invalidArgument, "--join {}: {}", url, ::gai_strerror(failed));
  const auto* address = reinterpret_cast<const sockaddr_in*>(found->ai_addr);
  char text[INET_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
  const std::pair<std::string, int> door(text, ntohs(address->sin_port));
  ::freeaddrinfo(found);
  return door;
}

}  // namespace

Result<void> runUp(const Configuration& configuration, GridParts parts) {
  const Settings& settings = configuration.settings;
  beginLog(configuration);
  if (parts == GridParts::all && ::geteuid() == 0) RETURN_IF_ERROR(sandbox::makeRootAMount());
  ASSIGN_OR_RETURN(auto folder, DataFolder::lock(settings.data));
  std::error_code ignored;
  bool first = !std::filesystem::exists(databasePath(folder.path()), ignored);
  ASSIGN_OR_RETURN(auto grid, Grid::open(settings, parts));
  Result<void> ended;
  {
    std::function<void()> hangUp;
    if (!settings.accessLog.empty() && settings.accessLog != "-") hangUp = [&grid] { grid->reopenLogs(); };
    StopOnSignal stopper([&grid] { grid->stop(); }, std::move(hangUp));
    std::thread announcer([&] { announce(configuration, first); });
    ended = grid->run();
    announcer.join();
  }
  return ended;
}

Result<void> runWorker(const Configuration& configuration, const Join& join) {
  const Settings& settings = configuration.settings;
  beginLog(configuration);
  ASSIGN_OR_RETURN(const std::string secret, edge::loadWorkerSecret(join.secretFile));
  ASSIGN_OR_RETURN(const auto door, doorOf(join.url));
  RETURN_IF_ERROR(sandbox::makeRootAMount());
  ASSIGN_OR_RETURN(auto folder, DataFolder::lock(settings.data));
  ASSIGN_OR_RETURN(
      auto worker,
      LocalWorker::start(settings,
                         {.controlUrl = join.url, .secret = secret, .gridHost = door.first, .gridPort = door.second}));
  std::promise<void> ended;
  StopOnSignal stopper([&] {
    worker->stop(std::min<Nanos>(settings.stopGrace, std::chrono::seconds(6)));
    ended.set_value();
  });
  ended.get_future().wait();
  return {};
}

}  // namespace gridiron
