#include "wire/calls.h"

#include <charconv>

#include "base/digest.h"

namespace gridiron::wire {
namespace {

bool isKnown(int format) { return api::DataFormat_IsValid(format); }

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t n = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

}  // namespace

Result<Payload> readPayload(api::FunctionInput&& input) {
  if (!isKnown(input.data_format()))
    return makeError(Code::invalidArgument, "an input of data format {}", static_cast<int>(input.data_format()));
  Payload payload;
  payload.format = static_cast<DataFormat>(input.data_format());
  if (input.has_args_blob_id()) payload.blob = BlobId{std::move(*input.mutable_args_blob_id())};
  if (input.has_args()) payload.data = std::move(*input.mutable_args());
  return payload;
}

void writeInput(const Input& input, api::FunctionInput& out) {
  if (input.args.blob.empty()) {
    out.set_args(input.args.data);
  } else {
    out.set_args_blob_id(input.args.blob.str());
  }
  out.set_data_format(static_cast<api::DataFormat>(input.args.format));
  out.set_method_name(input.method);
}

Outcome readOutcome(api::GenericResult&& result, api::DataFormat format) {
  Outcome outcome;
  // Kinds that this grid does not know of are ends without fault of the input, as eviction is.
  outcome.status = result.status() <= api::GenericResult::GENERIC_STATUS_MEMORY_MANAGER_EVICTION
                       ? static_cast<OutcomeStatus>(result.status())
                       : OutcomeStatus::memoryEviction;
  outcome.value.format = isKnown(format) ? static_cast<DataFormat>(format) : DataFormat::unspecified;
  if (result.has_data()) outcome.value.data = std::move(*result.mutable_data());
  if (result.has_data_blob_id()) outcome.value.blob = BlobId{std::move(*result.mutable_data_blob_id())};
  outcome.exception = std::move(*result.mutable_exception());
  outcome.traceback = std::move(*result.mutable_traceback());
  outcome.serializedTraceback = std::move(*result.mutable_serialized_tb());
  outcome.tracebackLines = std::move(*result.mutable_tb_line_cache());
  outcome.exitCode = result.exitcode();
  return outcome;
}

void writeOutcome(const Outcome& outcome, api::GenericResult& out) {
  out.set_status(static_cast<api::GenericResult::GenericStatus>(outcome.status));
  if (!outcome.value.blob.empty()) {
    out.set_data_blob_id(outcome.value.blob.str());
  } else if (!outcome.value.data.empty() || outcome.status == OutcomeStatus::success) {
    out.set_data(outcome.value.data);
  }
  out.set_exception(outcome.exception);
  out.set_traceback(outcome.traceback);
  out.set_serialized_tb(outcome.serializedTraceback);
  out.set_tb_line_cache(outcome.tracebackLines);
  out.set_exitcode(outcome.exitCode);
}

void writeOutput(const Output& output, api::FunctionGetOutputsItem& out) {
  writeOutcome(output.outcome, *out.mutable_result());
  out.set_idx(output.index);
  out.set_input_id(output.input.str());
  out.set_data_format(static_cast<api::DataFormat>(output.outcome.value.format));
  out.set_task_id(output.instance.str());
  out.set_input_started_at(toSeconds(output.startedAt));
  out.set_output_created_at(toSeconds(output.settledAt));
  // Not the attempts: a client drops what is not of the try that it waits for, and ours are no concern of its.
  out.set_retry_count(static_cast<std::uint32_t>(output.again));
}

DataChunk readChunk(api::DataChunk&& chunk) {
  DataChunk out;
  out.index = static_cast<std::int64_t>(chunk.index());
  out.payload.format = static_cast<DataFormat>(chunk.data_format());
  if (chunk.has_data()) out.payload.data = std::move(*chunk.mutable_data());
  if (chunk.has_data_blob_id()) out.payload.blob = BlobId{std::move(*chunk.mutable_data_blob_id())};
  return out;
}

void writeChunk(const DataChunk& chunk, api::DataChunk& out) {
  out.set_index(static_cast<std::uint64_t>(chunk.index));
  out.set_data_format(static_cast<api::DataFormat>(chunk.payload.format));
  if (chunk.payload.blob.empty()) {
    out.set_data(chunk.payload.data);
  } else {
    out.set_data_blob_id(chunk.payload.blob.str());
  }
}

std::string writeInputToken(const InputId& input, int index) {
  return base64UrlEncode("{}") + "." +
         base64UrlEncode(fmt::format(R"({{"idx":{},"input":"{}"}})", index, input.str())) + ".";
}

Result<InputToken> readInputToken(std::string_view token) {
  Error no = makeError(Code::invalidArgument, "input token '{}' is not one of ours", token.substr(0, 80));
  std::size_t from = token.find('.');
  if (from == std::string_view::npos) return no;
  std::string_view middle = token.substr(from + 1);
  auto json = base64Decode(middle.substr(0, middle.find('.')));
  constexpr std::string_view kIndex = R"({"idx":)", kInput = R"(,"input":")", kEnd = R"("})";
  if (!json || !json->starts_with(kIndex) || !json->ends_with(kEnd)) return no;
  std::size_t at = json->find(kInput);
  if (at == std::string::npos) return no;
  auto index = number(std::string_view(*json).substr(kIndex.size(), at - kIndex.size()));
  if (!index) return no;
  at += kInput.size();
  return InputToken{InputId{json->substr(at, json->size() - kEnd.size() - at)}, static_cast<int>(*index)};
}

}  // namespace gridiron::wire
