#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/loop.h"
#include "link.pb.h"
#include "worker/log_lines.h"

namespace gridiron::worker {

// A container's two pipes, read into lines as they come. A line without its newline is given out after a moment of
// quiet, at drain() and at the end. Loop thread only.
class OutputPump {
 public:
  struct Hooks {
    std::function<void(std::vector<link::LogLine>)> lines;  // what one read gave, in its order
    std::function<Task<void>()> room;                       // waited for between reads
  };
  OutputPump(asio::io_context& io, Masker masker, Hooks hooks);
  ~OutputPump();

  // Begins to read. An invalid Fd is a stream that has ended.
  void start(Fd standardOutput, Fd standardError);
  // Reads what is in the pipes now, without waiting (and not without end: at most a few MiB).
  void drain();
  // Both streams have ended and all their lines been given out, or `timeout` has passed (then what is there is read).
  Task<void> ended(Nanos timeout);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
