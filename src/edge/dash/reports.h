#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "meter/meter.h"
#include "model/instance.h"
#include "model/log.h"
#include "model/usage.h"
#include "model/worker.h"

namespace gridiron::edge {

// Seconds since 1970 with milliseconds; null for "never".
nlohmann::json momentJson(Time at);

// The shapes of docs/formats.md, without the names of app and function, which the caller adds.
nlohmann::json instanceJson(const Instance& instance, int inputs);
nlohmann::json workerJson(const Worker& worker);
nlohmann::json usageJson(const UsageRecord& record, Time now);
nlohmann::json usageSumJson(const UsageSum& sum);
nlohmann::json logJson(const LogEntry& entry);

const char* nameOf(LogSource source);

}  // namespace gridiron::edge
