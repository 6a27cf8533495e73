#pragma once

#include <string>
#include <string_view>

#include "wire/asgi.h"

namespace gridiron::edge {

// Is it a `traceparent` of W3C Trace Context: "00-<32 hex>-<16 hex>-<2 hex>", none of the ids all zeros? Later versions
// may have more behind a "-".
bool isTraceparent(std::string_view text);

// A trace that begins here: random ids, flagged as recorded (the access log has it).
std::string newTraceparent();

// The request's one good `traceparent`, which is passed on as it came. Where there is none a new one is put into
// `headers`, and a tracestate that belongs to nothing is taken out.
std::string traceInto(wire::HeaderList& headers);

}  // namespace gridiron::edge
