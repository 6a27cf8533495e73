#include "model/function.h"

#include <algorithm>

namespace gridiron {

int slotsOf(const Function& function) {
  if (function.batching.maxSize > 1) return std::max(function.maxConcurrentInputs, 1) * function.batching.maxSize;
  return std::max(function.maxConcurrentInputs, 1);
}

int targetSlotsOf(const Function& function) {
  if (function.targetConcurrentInputs <= 0 || function.batching.maxSize > 1) return slotsOf(function);
  return std::min(function.targetConcurrentInputs, slotsOf(function));
}

std::shared_ptr<const Function> FunctionTable::find(const FunctionId& id) const {
  const auto it = functions_.find(id);
  return it == functions_.end() ? nullptr : it->second;
}

void FunctionTable::put(Function function) {
  const auto id = function.id;
  functions_[id] = std::make_shared<const Function>(std::move(function));
}

}  // namespace gridiron
