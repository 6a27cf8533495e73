#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "main/config.h"

namespace gridiron {

// The worker of this machine, with its sandboxes and images, on a thread of its own.
class LocalWorker {
 public:
  struct Options {
    std::string controlUrl;
    std::string secret;
    std::string gridHost;  // IPv4 address that `grid.internal` leads to; "": all of this machine's
    int gridPort = 8400;
  };
  // Removes what an earlier process on the same data folder left on the machine, then starts.
  static Result<std::unique_ptr<LocalWorker>> start(const Settings& settings, const Options& options);
  ~LocalWorker();  // kills what still runs

  // Stops every container (SIGTERM, after `grace` SIGKILL) and joins the thread. Blocks; repeatable.
  void stop(Nanos grace);

 private:
  struct Impl;
  explicit LocalWorker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Where memory snapshots find criu: as set, or "/" where the machine's own is new enough, or the tree in the cache that
// is fetched when it is first needed.
std::string criuRoot(const Settings& settings);

}  // namespace gridiron
