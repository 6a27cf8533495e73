#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/ids.h"

namespace gridiron {

// The numbers are the wire's (AppState).
enum class AppState {
  unspecified = 0,
  ephemeral = 1,
  detached = 2,
  deployed = 3,
  stopping = 4,
  stopped = 5,
  initializing = 6,
  disabled = 7,
  detachedDisconnected = 8,
};

constexpr bool mayBecome(AppState from, AppState to) {
  if (from == to) return true;
  switch (from) {
    case AppState::initializing:
    case AppState::ephemeral:
    case AppState::detached:
    case AppState::detachedDisconnected:
    case AppState::deployed:
      return to != AppState::initializing && to != AppState::unspecified;
    case AppState::stopping:
      return to == AppState::stopped;
    case AppState::unspecified:
      return to == AppState::initializing;
    case AppState::stopped:
    case AppState::disabled:
      return false;
  }
  return false;
}
static_assert(mayBecome(AppState::initializing, AppState::deployed));
static_assert(!mayBecome(AppState::stopped, AppState::deployed), "a stopped app stays stopped: deploy makes another");

constexpr bool isLive(AppState state) {
  return state != AppState::stopped && state != AppState::stopping && state != AppState::disabled;
}

struct App {
  AppId id;
  std::string workspace;
  std::string environment;
  std::string name;         // deployment name, "" when it has none
  std::string description;  // what lists show
  AppState state = AppState::initializing;
  Time createdAt{};
  Time deployedAt{};  // of the newest version; epoch: never
  Time stoppedAt{};
  Time heartbeatAt{};  // of an ephemeral app's client
  std::string createdBy, deployedBy, stoppedBy;
  int version = 0;                              // counts deployments that changed something
  std::map<std::string, FunctionId> functions;  // the published layout: tag → id
  std::map<std::string, ClassId> classes;
  std::map<std::string, std::string> tags;

  bool operator==(const App&) const = default;
};

// One byte string for the store, and back; as for functions.
std::string encodeApp(const App& app);
Result<App> decodeApp(std::string_view bytes);

}  // namespace gridiron
