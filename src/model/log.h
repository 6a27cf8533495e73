#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "model/ids.h"

namespace gridiron {

// The numbers are the wire's (FileDescriptor); system lines are the grid's own words.
enum class LogSource { unspecified = 0, stdoutLine = 1, stderrLine = 2, system = 3 };

// A piece of what a container or an image build printed. Ids that do not apply (or are not known) are empty.
struct LogEntry {
  std::int64_t sequence = 0;  // given by the store: grows with every entry appended
  Time at{};
  LogSource source = LogSource::stdoutLine;
  std::string text;  // UTF-8
  AppId app;
  FunctionId function;
  InstanceId instance;
  CallId call;
  InputId input;
  ImageId image;
  bool operator==(const LogEntry&) const = default;
};

}  // namespace gridiron
