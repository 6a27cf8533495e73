#pragma once

#include <map>
#include <optional>

#include "calls/calls.h"
#include "catalog/apps.h"
#include "plan/schedule.h"
#include "store/store.h"

namespace gridiron::edge {

// Runs the functions of deployed apps at the times their definitions say: each run is an ordinary call without
// arguments that nobody waits for. To the second. A deployment starts periods anew. Runs that came due while the grid
// was down: a cron's are left out, a period's are made up for by one run at once. Loop thread only.
class Schedules final : public AppsObserver {
 public:
  // The parts outlive it.
  Schedules(Store& store, Calls& calls, const Apps& apps, const Clock& clock);
  // After Apps and Calls have theirs.
  Result<void> load();
  // Makes the calls that are due. A call that cannot be made (a full queue) is left out, with a line in the log.
  void turn();

  struct Planned {
    plan::Schedule schedule;
    std::optional<Time> next;  // nothing: never
  };
  std::optional<Planned> of(const FunctionId& function) const;

  void functionChanged(const Function& function) override;
  void functionRemoved(const Function& function, const std::string& why) override;
  void appStopped(const App& app, const std::string& why) override;

 private:
  struct Entry {
    AppId app;
    plan::Schedule schedule;
    Time base{};  // the deployment
    std::optional<Time> next;
  };
  // What the app's functions say now; `ranAt` tells when one ran last, as far as the store knows.
  void read(const App& app, const std::map<FunctionId, Time>& ranAt);
  void run(const FunctionId& function, Entry& entry);

  Store& store_;
  Calls& calls_;
  const Apps& apps_;
  const Clock& clock_;
  std::map<FunctionId, Entry> entries_;
};

// Does the app want its containers started ahead (plan/predict.h)? Its tag `predict` says so, "on" or "off", or else
// the grid does.
bool mayStartAhead(const App& app, bool byGrid);

}  // namespace gridiron::edge
