#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gridiron {

// Names of objects are 1 to 64 of letters, digits, '-', '_', '.'. `what` ("Secret") is for the text.
Result<void> checkObjectName(std::string_view what, std::string_view name);
// As object names, but beginning with a letter or digit, without '.', and not like an environment's id.
Result<void> checkEnvironmentName(std::string_view name);

// The name most like `wanted`, "" when none is near enough to be meant.
std::string nearestName(std::string_view wanted, const std::vector<std::string>& names);
// "Secret 'x' not found in environment 'main'; did you mean 'y'?"
Error notFoundIn(std::string_view what, std::string_view name, std::string_view environment,
                 const std::vector<std::string>& names);

// `text` as one DNS label: lower case, what does not fit turned into '-', none at the ends; "" when nothing is left.
std::string dnsLabel(std::string_view text);

}  // namespace gridiron
