#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "modal_proto/api.pb.h"
#include "model/call.h"

namespace gridiron::wire {

namespace api = ::modal::client;

// Functions that read take the message's strings over (messages are moved from); those that write fill an empty one.

// Errors: invalidArgument when the data format is unknown.
Result<Payload> readPayload(api::FunctionInput&& input);
void writeInput(const Input& input, api::FunctionInput& out);

Outcome readOutcome(api::GenericResult&& result, api::DataFormat format);
void writeOutcome(const Outcome& outcome, api::GenericResult& out);

// An item as callers read it. Its retry_count is always 0: the grid does the retries, and a map drops outputs whose
// count is not its own (protocol: the caller never asked for a retry).
void writeOutput(const Output& output, api::FunctionGetOutputsItem& out);

DataChunk readChunk(api::DataChunk&& chunk);
void writeChunk(const DataChunk& chunk, api::DataChunk& out);

// The opaque token of one input: "<base64url of {}>.<base64url of {"idx":…,"input":…}>.": it is no secret and no
// proof; clients read idx from it without verifying.
std::string writeInputToken(const InputId& input, int index);
struct InputToken {
  InputId input;
  int index = 0;
};
Result<InputToken> readInputToken(std::string_view token);

}  // namespace gridiron::wire
