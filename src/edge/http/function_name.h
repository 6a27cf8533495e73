#pragma once

#include <string>

#include "base/result.h"
#include "model/function.h"

namespace gridiron::edge {

// How people call a web function, or a web method of a class, in tags, settings and logs: "f", "Cls.method".
std::string functionName(const Function& function, const std::string& method);

// Which functions an entry of the grid's configuration is for.
struct FunctionPath {
  std::string environment, app, function;  // environment "": any
};
// "[environment/]app/function". Errors say what is missing.
Result<FunctionPath> parseFunctionPath(const std::string& text);

}  // namespace gridiron::edge
