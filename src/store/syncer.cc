#include "store/syncer.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace gridiron {

Syncer::Syncer(Fd file) : file_(std::move(file)), thread_([this] { run(); }) {}

Syncer::~Syncer() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Syncer::wrote(Mark mark) {
  {
    const std::lock_guard lock(mutex_);
    written_ = mark;
  }
  wake_.notify_one();
}

void Syncer::onDurable(std::function<void()> advanced) {
  const std::lock_guard lock(telling_);
  advanced_ = std::move(advanced);
}

void Syncer::wait(Mark mark) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return durable() >= mark; });
}

void Syncer::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return ending_ || written_ > durable(); });
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
