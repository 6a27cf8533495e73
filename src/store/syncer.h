#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/fd.h"
#include "store/store.h"

namespace gridiron {

// Brings what was written to a file onto the disk, on a thread of its own: one fdatasync for everything that was
// written while the last one ran. It begins at once when somebody waits for it, else after `patience`, so that what
// nobody waits for costs few syncs. A sync that fails ends the process with its text: the kernel may have dropped the
// pages, so that trying again would succeed without them, and what was already read as done would be lost.
class Syncer {
 public:
  explicit Syncer(Fd file, Nanos patience = std::chrono::milliseconds(20));
  ~Syncer();  // after a last sync of what is written
  Syncer(const Syncer&) = delete;
  Syncer& operator=(const Syncer&) = delete;

  // The file holds everything up to `mark`; marks grow. Any one thread.
  void wrote(Mark mark);
  // Somebody waits for the mark, which was told before. The same thread as wrote().
  void hurry(Mark mark);
  Mark durable() const { return durable_.load(std::memory_order_acquire); }
  // As Store::onDurable.
  void onDurable(std::function<void()> advanced);
  // Blocks until durable() ≥ mark, which was told before.
  void wait(Mark mark);
  std::uint64_t syncs() const { return syncs_.load(std::memory_order_relaxed); }

 private:
  void run();

  const Fd file_;
  const Nanos patience_;
  std::mutex mutex_;
  std::condition_variable wake_;  // there is something to sync, or to hurry with, or the end
  std::condition_variable done_;  // durable_ has grown
  Mark written_ = 0, wanted_ = 0;
  bool ending_ = false;
  std::atomic<Mark> durable_{0};
  std::atomic<std::uint64_t> syncs_{0};
  std::mutex telling_;  // held while advanced_ runs
  std::function<void()> advanced_;
  std::thread thread_;
};

}  // namespace gridiron
