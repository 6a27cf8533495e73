#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/fd.h"
#include "base/result.h"

namespace gridiron::edge {

// A file of lines (or standard output) that is written by a thread of its own, so that a slow disk or a pipe that
// nobody reads holds nobody up: what does not fit into `most` bytes of memory is dropped, and a line says how much was.
class AccessLog {
 public:
  // `where`: a path (appended to, made with 0640), or "-" for standard output. Errors name the path.
  static Result<std::unique_ptr<AccessLog>> open(const std::string& where, std::size_t most = 4 * 1024 * 1024);
  // Writes what waits, for a second at most where nobody takes it.
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  // Any thread; never waits for the file. `line` without its end.
  void write(std::string_view line);
  // Opens the path anew, soon: whoever rotates logs has renamed the file. What was written before is in the old one.
  // While the path cannot be opened the old file goes on. Any thread.
  void reopen();

 private:
  AccessLog(std::string where, Fd fd, std::size_t most);
  void run();
  void put(const std::string& bytes);
  bool writable();
  void openAnew();

  const std::string where_;
  const std::size_t most_;
  Fd fd_;  // the thread's
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string waiting_;
  std::uint64_t dropped_ = 0;
  bool reopen_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace gridiron::edge
