#include "base/loop.h"

#include <cstdio>
#include <list>

#include "base/check.h"

namespace gridiron {

void spawn(asio::io_context& io, Task<void> task) {
  asio::co_spawn(io.get_executor(), std::move(task), [](const std::exception_ptr& thrown) {
    if (!thrown) return;
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "a task ended with an exception: %s\n", e.what());
      checkFailed("no exception leaves a task", __FILE__, __LINE__);
    }
  });
}

Task<void> sleepFor(asio::io_context& io, Nanos duration) {
  if (duration <= Nanos::zero()) co_return;
  Timer timer(io.get_executor());
  timer.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(duration));
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(useTask, ignored));
}

struct Notifier::State {
  explicit State(asio::io_context& context) : io(context) {}
  // Leaves the list also when its coroutine is destroyed while it waits (the loop is going down).
  struct Waiter {
    explicit Waiter(State& s) : state(s), timer(s.io.get_executor()), place(s.waiters.insert(s.waiters.end(), this)) {}
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() {
      if (!notified) state.waiters.erase(place);
    }
    State& state;
    Timer timer;
    std::list<Waiter*>::iterator place;
    bool notified = false;
  };
  asio::io_context& io;
  std::list<Waiter*> waiters;
};

Notifier::Notifier(asio::io_context& io) : state_(std::make_shared<State>(io)) {}
Notifier::~Notifier() { notifyAll(); }

Task<bool> Notifier::wait(Nanos timeout) {
  const auto state = state_;
  State::Waiter waiter(*state);
  // Beyond a day the steady clock's arithmetic is not worth trusting; callers loop anyway.
  waiter.timer.expires_after(std::min<Nanos>(std::max<Nanos>(timeout, Nanos::zero()), std::chrono::hours(24)));
  boost::system::error_code ignored;
  co_await waiter.timer.async_wait(asio::redirect_error(useTask, ignored));
  co_return waiter.notified;
}

void Notifier::notifyAll() {
  for (State::Waiter* waiter : state_->waiters) {
    waiter->notified = true;
    waiter->timer.cancel();
  }
  state_->waiters.clear();
}

}  // namespace gridiron
