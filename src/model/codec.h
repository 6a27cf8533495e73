#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace gridiron {

// One byte string for a value of this module, and back: App, Function, Call, Input, Output, Instance, UsageRecord.
// A list of (tag, length, bytes): fields may be added, an unknown tag is passed over and a missing one leaves the
// default. Bytes that are no such list are Code::dataLoss. `T` is spelt out by the caller: decode<Input>(bytes).
template <class T>
std::string encode(const T& value);
template <class T>
Result<T> decode(std::string_view bytes);

}  // namespace gridiron
