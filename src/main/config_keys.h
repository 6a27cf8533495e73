#pragma once

#include <string>
#include <vector>

#include "main/config.h"

namespace gridiron {

// One setting: what it is called, its text where nobody sets it, and how a text becomes its value. Errors of `apply`
// say what would be right.
struct SettingKey {
  ConfigKey about;
  std::string (*fallback)(const ConfigSources&);
  Result<void> (*apply)(Settings&, const std::string&);
};
// All of them, in the order in which they are shown.
const std::vector<SettingKey>& settingKeys();

// The value of a variable of the environment; "" when it is not set.
std::string variable(const ConfigSources& sources, const std::string& name);
// Where the configuration file is when nobody names it.
std::string usualFile(const ConfigSources& sources);

}  // namespace gridiron
