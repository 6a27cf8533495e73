#pragma once

#include <string>
#include <vector>

#include "main/config.h"

namespace gridiron {

// One thing that a grid needs or can use of this machine.
struct Finding {
  enum class Level { ok, note, warning, problem };  // note: absent, but nothing needs it; problem: no containers
  Level level = Level::ok;
  std::string name;    // "containers", "disk (data)"
  std::string detail;  // what was found
  std::string advice;  // what to do about it; "" when ok
};

// Looks at the machine; changes nothing. Takes some tens of milliseconds.
std::vector<Finding> examineHost(const Settings& settings);

const char* nameOf(Finding::Level level);

}  // namespace gridiron
