#pragma once

#include <string>

#include "edge/dash/admin.h"

namespace gridiron::edge {

// What Prometheus reads (its text format, 0.0.4): docs/formats.md. Of a running grid only. Functions with nothing to
// tell are there with zeros.
std::string metricsText(const AdminParts& parts);

}  // namespace gridiron::edge
