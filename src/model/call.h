#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "model/ids.h"

namespace gridiron {

// The numbers of the enums in this file are the wire's.
enum class DataFormat { unspecified = 0, pickle = 1, asgi = 2, generatorDone = 3, cbor = 4 };

// Bytes in a format; large ones are in a blob and `data` is empty.
struct Payload {
  DataFormat format = DataFormat::unspecified;
  std::string data;
  BlobId blob;
  bool operator==(const Payload&) const = default;
};

enum class CallKind { unary = 1, map = 2, web = 3 };  // web: ours, by the door; kept in memory only
enum class CallMode { syncLegacy = 1, asyncLegacy = 2, async = 3, sync = 4 };

struct Call {
  CallId id;
  FunctionId function;
  AppId app;
  CallKind kind = CallKind::unary;
  CallMode mode = CallMode::sync;
  bool returnExceptions = false;
  bool fromSpawnMap = false;
  InputId parent;  // the input that made the call, "" when a client outside did
  Time createdAt{};
  int expectedInputs = -1;  // told by finishInputs; -1: not told
  bool cancelled = false;
  std::string key;  // of the request that made it, "" when it had none: a repetition of it means this call
  bool operator==(const Call&) const = default;
};

// delayed: waits for its next attempt. settled: has its one output.
enum class InputState { queued = 1, running = 2, delayed = 3, settled = 4 };

constexpr bool mayBecome(InputState from, InputState to) {
  switch (from) {
    case InputState::queued:
      return to == InputState::running || to == InputState::settled;
    case InputState::running:
      return to == InputState::queued || to == InputState::delayed || to == InputState::settled;
    case InputState::delayed:
      return to == InputState::queued || to == InputState::settled;
    case InputState::settled:
      return false;
  }
  return false;
}
static_assert(mayBecome(InputState::running, InputState::queued), "its container was lost");
static_assert(!mayBecome(InputState::settled, InputState::queued), "an input has one output");
static_assert(!mayBecome(InputState::queued, InputState::delayed), "only an attempt that failed is delayed");

struct Input {
  InputId id;
  CallId call;
  FunctionId function;
  int index = 0;  // the caller's, unique in the call
  Payload args;
  std::string method;  // of a class; "" for plain functions
  InputState state = InputState::queued;
  int attempt = 0;      // retries so far
  int losses = 0;       // times its container went without fault of the input
  int again = 0;        // it takes the place of an input whose failure the caller did not take: which try that is
  InstanceId instance;  // while running
  Time createdAt{};
  Time queuedAt{};   // of this attempt; while delayed: when it is due
  Time startedAt{};  // of this attempt
  bool operator==(const Input&) const = default;
};

enum class OutcomeStatus {
  unspecified = 0,
  success = 1,
  failure = 2,
  terminated = 3,
  timeout = 4,
  initFailure = 5,
  internalFailure = 6,
  idleTimeout = 7,
  memoryEviction = 8,
};
const char* nameOf(OutcomeStatus status);

// What a run came to.
struct Outcome {
  OutcomeStatus status = OutcomeStatus::unspecified;
  Payload value;          // the result, or the pickled exception
  std::string exception;  // its repr
  std::string traceback;
  std::string serializedTraceback;
  std::string tracebackLines;  // tb_line_cache
  int exitCode = 0;
  bool operator==(const Outcome&) const = default;
};

// The one output of an input.
struct Output {
  InputId input;
  CallId call;
  int index = 0;
  std::int64_t sequence = 0;  // place in the call's output log, from 1
  Outcome outcome;
  int attempt = 0;
  int again = 0;  // the input's
  InstanceId instance;
  Time startedAt{};
  Time settledAt{};
  bool operator==(const Output&) const = default;
};

// A piece of a call's data stream; `index` counts from 1.
struct DataChunk {
  std::int64_t index = 0;
  Payload payload;
  bool operator==(const DataChunk&) const = default;
};

}  // namespace gridiron
