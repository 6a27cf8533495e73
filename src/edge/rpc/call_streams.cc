#include <deque>

#include "edge/rpc/calls.h"
#include "edge/rpc/patience.h"
#include "modal_proto/api.pb.h"
#include "wire/calls.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;

constexpr Nanos kSilence = std::chrono::minutes(5);  // a stream without news ends; its reader opens it again
constexpr Nanos kRoomWait = std::chrono::seconds(45);
// Of what was written to a stream so much is kept for a reader whose connection breaks and who asks again.
constexpr std::size_t kKept = 8u << 20;

// A container may see the streams of its own function's calls only, a client those of its workspace.
Result<void> mayStream(const CallParts& parts, const Caller& caller, const CallId& call) {
  ASSIGN_OR_RETURN(CallInfo info, callFor(parts, caller, call));
  if (caller.kind == Caller::Kind::container && info.call.kind == CallKind::web &&
      info.call.function != caller.function)
    return makeError(Code::permissionDenied, "call {} is not of this container's function", call.str());
  return {};
}

// Tells the call what the reader surely has: all but the newest kKept bytes.
class Acknowledger {
 public:
  Acknowledger(const CallParts& parts, CallId call, Direction direction)
      : parts_(parts), call_(std::move(call)), direction_(direction) {}

  void upTo(std::int64_t index) {
    parts_.calls.acknowledge(call_, direction_, index);
    parts_.wakes.ring(Wake::room(call_, direction_));
  }
  void written(std::int64_t index, std::size_t bytes) {
    kept_.emplace_back(index, bytes);
    total_ += bytes;
    std::int64_t done = 0;
    while (total_ > kKept && kept_.size() > 1) {
      done = kept_.front().first;
      total_ -= kept_.front().second;
      kept_.pop_front();
    }
    if (done > 0) upTo(done);
  }

 private:
  const CallParts& parts_;
  CallId call_;
  Direction direction_;
  std::deque<std::pair<std::int64_t, std::size_t>> kept_;
  std::size_t total_ = 0;
};

// What a reader of a generator's items was sent, as long as it is there.
class Sent {
 public:
  Sent(const CallParts& parts, std::shared_ptr<ItemsSent> all, CallId call, Direction direction)
      : parts_(parts), all_(std::move(all)), call_(std::move(call)), direction_(direction) {}
  Sent(const Sent&) = delete;
  Sent& operator=(const Sent&) = delete;
  ~Sent() {
    if (direction_ == Direction::out) all_->erase(call_);
  }

  void upTo(std::int64_t index) {
    if (direction_ == Direction::in) return;
    (*all_)[call_] = index;
    parts_.wakes.ring(Wake::room(call_, direction_));
  }

 private:
  const CallParts& parts_;
  std::shared_ptr<ItemsSent> all_;
  CallId call_;
  Direction direction_;
};

// Has the reader all that the call's generator gave?
bool isComplete(const CallParts& parts, const CallId& call, std::int64_t upTo) {
  const Result<OutputPage> page = parts.calls.outputs(call, {});
  if (!page.ok()) return false;
  for (const Output& output : page->outputs) {
    api::GeneratorDone done;
    const Payload& value = output.outcome.value;
    const bool ended = value.format == DataFormat::generatorDone && done.ParseFromString(value.data);
    if (ended && upTo >= static_cast<std::int64_t>(done.items_total())) return true;
  }
  return false;
}

Task<net::GrpcStatus> getData(CallParts parts, Context& context, api::FunctionCallGetDataRequest in,
                              StreamWriter<api::DataChunk>& writer, Direction direction,
                              std::shared_ptr<ItemsSent> all) {
  CallId call{in.function_call_id()};
  Result<void> may = mayStream(parts, context.caller, call);
  if (!may.ok()) co_return may.error();
  auto after = static_cast<std::int64_t>(in.last_index());
  Acknowledger acknowledger(parts, call, direction);
  if (after > 0) acknowledger.upTo(after);
  Sent sent(parts, std::move(all), call, direction);
  sent.upTo(after);
  Patience patience(parts.wakes, context.call, kSilence);
  while (!patience.over()) {
    Result<std::vector<DataChunk>> chunks = parts.calls.read(call, direction, after);
    if (!chunks.ok() && chunks.error().code == Code::dataLoss && isComplete(parts, call, after)) {
      chunks = std::vector<DataChunk>();
    }
    if (!chunks.ok()) co_return chunks.error();
    for (const DataChunk& chunk : *chunks) {
      api::DataChunk out;
      wire::writeChunk(chunk, out);
      Result<void> written = co_await writer.write(out);
      if (!written.ok()) co_return net::GrpcStatus(written.error());
      after = chunk.index;
      acknowledger.written(chunk.index, chunk.payload.data.size());
      sent.upTo(after);
    }
    if (!chunks->empty()) {
      patience.renew(kSilence);
      continue;
    }
    std::vector<Wake> wakes = {Wake::data(call, direction)};
    co_await patience.wait(std::move(wakes));
  }
  co_return net::GrpcStatus();
}

Task<Result<void>> putDataOut(CallParts parts, Context& context, api::FunctionCallPutDataRequest in) {
  CallId call{in.function_call_id()};
  Result<void> may = mayStream(parts, context.caller, call);
  if (!may.ok()) co_return may.error();
  std::vector<DataChunk> chunks;
  for (auto& chunk : *in.mutable_data_chunks()) chunks.push_back(wire::readChunk(std::move(chunk)));
  Patience patience(parts.wakes, context.call, kRoomWait);
  for (;;) {
    std::vector<DataChunk> copy = chunks;
    Result<void> pushed = parts.calls.push(call, Direction::out, std::move(copy), context.caller.task);
    if (pushed.ok() || pushed.error().code != Code::exhausted) co_return pushed;
    if (patience.over()) {
      context.retryAfter = std::chrono::milliseconds(100);
      co_return pushed;
    }
    std::vector<Wake> wakes = {Wake::room(call, Direction::out)};
    co_await patience.wait(std::move(wakes));
  }
}

}  // namespace

void registerCallStreams(RpcServer& server, CallParts parts, std::shared_ptr<ItemsSent> sent) {
  server.serverStream<api::FunctionCallGetDataRequest, api::DataChunk>(
      "FunctionCallGetDataIn", {.awaitsDisk = false},
      [parts, sent](Context& c, api::FunctionCallGetDataRequest in, StreamWriter<api::DataChunk>& writer) {
        return getData(parts, c, std::move(in), writer, Direction::in, sent);
      });
  server.serverStream<api::FunctionCallGetDataRequest, api::DataChunk>(
      "FunctionCallGetDataOut", {.awaitsDisk = false},
      [parts, sent](Context& c, api::FunctionCallGetDataRequest in, StreamWriter<api::DataChunk>& writer) {
        return getData(parts, c, std::move(in), writer, Direction::out, sent);
      });
  server.unary<api::FunctionCallPutDataRequest, google::protobuf::Empty>(
      "FunctionCallPutDataOut", {.access = Access::container, .awaitsDisk = false},
      [parts](Context& c, api::FunctionCallPutDataRequest in) { return putDataOut(parts, c, std::move(in)); });
}

}  // namespace gridiron::edge
