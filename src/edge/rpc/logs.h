#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "calls/calls.h"
#include "edge/rpc/calls.h"
#include "edge/rpc/server.h"
#include "edge/rpc/wakes.h"
#include "fleet/fleet.h"
#include "link.pb.h"
#include "model/app.h"
#include "model/log.h"
#include "store/store.h"

namespace gridiron::edge {

// Where log lines come in. They are gathered for some milliseconds, written to the store in one go, and then everybody
// who follows the app is woken. Also writes the fleet's own notices into the containers' logs, and knows which input
// ran where and when: give it to the fleet and to the calls as observer. Loop thread only.
class LogHub final : public FleetObserver, public CallsObserver {
 public:
  LogHub(asio::io_context& io, Store& store, const Calls& calls, const Fleet& fleet, Wakes& wakes, const Clock& clock);
  ~LogHub() override;

  // Completes each entry from what is known of its container (app, function, and the input that ran alone in it at the
  // entry's time) as far as the entry does not say; text that is not UTF-8 is repaired. An entry without a time gets
  // now.
  void append(std::vector<LogEntry> entries);
  // What a worker sent: of a container, or of an image build.
  void append(const link::LogLines& lines);
  // A line of the grid's own about a function, outside any container.
  void note(const Function& function, const std::string& text);
  // The build of `image` is (also) wanted by `app`: what it prints from now on appears in that app's logs.
  void buildingFor(const ImageId& image, const AppId& app);
  // What the container prints belongs to the build of `image`; "" = no longer.
  void buildingIn(const InstanceId& instance, const ImageId& image);
  // Writes what was gathered, now. On failure (disk full) it is kept, up to 64 Ki entries, and tried again with the
  // next.
  Result<void> flush();

  void notice(const Instance& instance, const std::string& text) override;
  void instanceChanged(const Instance& instance) override;
  void inputStarted(const Input& input) override;
  void inputEnded(const Input& input, const Outcome& outcome, bool final) override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

struct LogParts {
  LogHub& hub;
  CallParts calls;
  std::function<std::optional<App>(const AppId&)> app;  // also stopped ones, as long as they are known
};

// AppGetLogs (follows until the app has ended, the caller's time is up or it goes; who stops an app rings
// Wake::logs(app) so that followers hear of it at once), AppFetchLogs, AppCountLogs.
void registerLogs(RpcServer& server, LogParts parts);

}  // namespace gridiron::edge
