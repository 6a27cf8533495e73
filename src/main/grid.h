#pragma once

#include <memory>

#include "base/result.h"
#include "main/config.h"

namespace gridiron {

enum class GridParts { all, controlOnly };

// A whole grid: control on the caller's thread, and (GridParts::all) a worker for this machine on threads of its own,
// which reaches control through the door like any other worker. Only construction and connection happen here.
class Grid {
 public:
  // Loads what the data folder has (whose lock the caller holds), sweeps what a killed grid left on the machine, and
  // listens. Errors name what stands in the way.
  static Result<std::unique_ptr<Grid>> open(const Settings& settings, GridParts parts);
  ~Grid();

  // Serves until stop(); then drains the door, stops the containers, and writes what is still in memory.
  Result<void> run();
  // Any thread, repeatable.
  void stop();
  // Opens the access log anew: whoever rotates logs has renamed it. Any thread.
  void reopenLogs();

 private:
  struct Impl;
  explicit Grid(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gridiron
