#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/result.h"

namespace gridiron {

// Something a command wants of the grid: a request of the admin API (docs/formats.md).
struct AdminRequest {
  std::string method;  // GET, POST, DELETE
  std::string target;  // "/v1/status"
  nlohmann::json body;
  int timeoutSeconds = 30;
};

// Asks the grid that runs on the data folder, over its unix socket. Nothing when none answers there (no socket, or one
// that a killed grid left). An Error has the grid's own text.
Result<std::optional<nlohmann::json>> askRunningGrid(const std::string& dataFolder, const AdminRequest& request);

// The error that an admin answer with this status and body stands for.
Error adminError(int status, const std::string& body);

}  // namespace gridiron
