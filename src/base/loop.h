#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <optional>

#include "base/clock.h"

namespace gridiron {

namespace asio = boost::asio;

// The concrete executor (not any_io_executor, which costs a tenth of the door's speed).
using Executor = asio::io_context::executor_type;
template <class T>
using Task = asio::awaitable<T, Executor>;
inline constexpr asio::use_awaitable_t<Executor> useTask{};
using Timer =
    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor>;

// Starts `task` on `io` and lets it run to its end. An exception that leaves it is a bug and ends the process with its
// text: tasks report failure as Result.
void spawn(asio::io_context& io, Task<void> task);

// Ends after `duration` (or at once if it is not positive).
Task<void> sleepFor(asio::io_context& io, Nanos duration);

// Wakes coroutines that wait for "something changed". A wake-up says nothing about what: look again. Not counted: a
// notifyAll without waiters is lost, so look first, then wait, with no co_await between. One io_context, its thread
// only. Waiters may outlive the Notifier: destroying it wakes them all with true.
class Notifier {
 public:
  explicit Notifier(asio::io_context& io);
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // True when notified, false when `timeout` passed first.
  Task<bool> wait(Nanos timeout);
  void notifyAll();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace gridiron
