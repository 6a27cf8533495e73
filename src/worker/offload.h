#pragma once

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/loop.h"

namespace gridiron::worker {

// Runs `work` on `pool` and gives what it returned, back on `io`'s thread. `work` must not touch what the loop owns.
template <class Work>
Task<std::invoke_result_t<Work>> offload(asio::io_context& io, asio::thread_pool& pool, Work work) {
  using Answer = std::invoke_result_t<Work>;
  auto answer = std::make_shared<std::optional<Answer>>();
  auto start = [&io, &pool, work = std::move(work), answer](auto handler) mutable {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    asio::post(pool, [&io, work = std::move(work), answer, shared]() mutable {
      answer->emplace(work());
      asio::post(io, [shared = std::move(shared)] { (*shared)(); });
    });
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<Executor>, void()>(std::move(start), useTask);
  co_return std::move(**answer);
}

}  // namespace gridiron::worker
