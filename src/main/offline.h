#pragma once

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "main/admin_client.h"
#include "main/config.h"

namespace gridiron {

// Answers a request of the admin API from the data folder itself, when no grid runs on it: tokens, secrets and usage.
// Takes the folder's lock meanwhile. A folder without a grid's things yet is made ready for one.
Result<nlohmann::json> askOffline(const Settings& settings, const AdminRequest& request);

}  // namespace gridiron
