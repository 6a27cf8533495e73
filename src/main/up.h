#pragma once

#include "base/result.h"
#include "main/config.h"

namespace gridiron {

// Runs a grid on settings.data until SIGTERM or SIGINT, then ends it within 10 s. Tells on stdout when it is ready.
Result<void> runUp(const Configuration& configuration);

}  // namespace gridiron
