#pragma once

#include <string>

#include "base/result.h"
#include "main/config.h"
#include "main/grid.h"

namespace gridiron {

// Runs a grid on settings.data until SIGTERM or SIGINT, then ends it within 10 s. Tells on stdout when it is ready.
Result<void> runUp(const Configuration& configuration, GridParts parts);

// The grid that a worker on its own belongs to.
struct Join {
  std::string url;         // of its door: "http://10.0.0.1:8400"
  std::string secretFile;  // a copy of the grid's worker-secret
};

// Runs this machine's worker for the grid at join.url until SIGTERM or SIGINT; then its containers are stopped. Its
// folder is settings.data, where no grid may run. Control may come and go meanwhile, containers run on.
Result<void> runWorker(const Configuration& configuration, const Join& join);

}  // namespace gridiron
