#include "store/syncer.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace gridiron {

Syncer::Syncer(Fd file, Nanos patience) : file_(std::move(file)), patience_(patience), thread_([this] { run(); }) {}

Syncer::~Syncer() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Syncer::wrote(Mark mark) {
  bool first;
  {
    const std::lock_guard lock(mutex_);
    first = written_ == durable();
    written_ = mark;
  }
  if (first) wake_.notify_one();  // else it is awake, or will look
}

void Syncer::hurry(Mark mark) {
  if (durable() >= mark) return;
  {
    const std::lock_guard lock(mutex_);
    if (wanted_ >= mark) return;
    wanted_ = mark;
  }
  wake_.notify_one();
}

void Syncer::onDurable(std::function<void()> advanced) {
  const std::lock_guard lock(telling_);
  advanced_ = std::move(advanced);
}

void Syncer::wait(Mark mark) {
  hurry(mark);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return durable() >= mark; });
}

void Syncer::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return ending_ || written_ > durable(); });
    wake_.wait_for(lock, patience_, [this] { return ending_ || wanted_ > durable(); });
    if (written_ == durable()) return;
    const Mark mark = written_;
    lock.unlock();
    if (::fdatasync(file_.get()) != 0) {
      std::fprintf(stderr, "the store cannot be brought to disk (%s): gridiron stops rather than forget what it said\n",
                   std::strerror(errno));
      std::abort();
    }
    syncs_.fetch_add(1, std::memory_order_relaxed);
    lock.lock();
    durable_.store(mark, std::memory_order_release);
    done_.notify_all();
    lock.unlock();
    {
      const std::lock_guard telling(telling_);
      if (advanced_) advanced_();
    }
    lock.lock();
  }
}

}  // namespace gridiron
