#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "model/function.h"

namespace gridiron::wire {

// The parameters (`modal.parameter()`) that a request by HTTP gives to the class of a web method: those of `query` that
// are named as one of them, and the others' defaults, serialized as the client does it for the same values, so that
// calls by either way share containers. Nothing when the class has none, or none is named and each has a default: then
// the class is as it was deployed.
//
// `query`: names and values, decoded. Ints are decimal, bools are true, false, 1 or 0. Errors: invalidArgument, naming
// the parameter that is missing or cannot be read.
Result<std::optional<std::string>> classParameters(const Function& function,
                                                   const std::map<std::string, std::string>& query);

}  // namespace gridiron::wire
