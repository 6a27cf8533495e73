#include "store/checkpointer.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace gridiron {

constexpr int kPasses = 8;  // beside writers, before the one that holds them up

Checkpointer::Checkpointer(std::unique_ptr<Database> db, Limits limits)
    : db_(std::move(db)), limits_(limits), thread_([this] { run(); }) {}

Checkpointer::~Checkpointer() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Checkpointer::wrote(int pages) {
  if (pages < limits_.enough) return;
  {
    const std::lock_guard lock(mutex_);
    pages_ = pages;
  }
  wake_.notify_one();
}

void Checkpointer::wait() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return pages_ == 0 && !busy_; });
}

void Checkpointer::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return ending_ || pages_ > 0; });
    if (ending_) return;
    const int pages = std::exchange(pages_, 0);
    busy_ = true;
    lock.unlock();
    checkpoint(pages);
    lock.lock();
    busy_ = false;
    done_.notify_all();
  }
}

void Checkpointer::checkpoint(int pages) {
  auto done = db_->checkpoint();
  if (done.ok() && pages >= limits_.tooMany) {
    // What came in during a pass is less than what the pass copied, unless the writers are faster than the disk.
    for (int pass = 0, more = *done; pass < kPasses && more > limits_.few && done.ok(); ++pass) {
      const int before = *done;
      done = db_->checkpoint();
      if (done.ok()) more = *done - before;
    }
    const std::lock_guard pause(writing_);
    if (done.ok()) done = db_->checkpoint();
  }
  if (done.ok() || !db_->syncFailed()) return;
  std::fprintf(stderr, "the store cannot be brought to disk (%s): gridiron stops rather than forget what it said\n",
               done.error().message.c_str());
  std::abort();
}

}  // namespace gridiron
