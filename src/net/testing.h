#pragma once

#include <string>
#include <vector>

#include "net/http.h"

namespace gridiron::net {

// An exchange without a connection: its body is `pieces`, and it takes whatever it is told to answer.
struct PlayedExchange : Exchange {
  RequestHead asked;
  std::vector<std::string> pieces;
  int reads = 0;

  const RequestHead& head() const override { return asked; }
  Task<Result<std::optional<std::string>>> read() override {
    ++reads;
    if (pieces.empty()) co_return std::optional<std::string>();
    std::string piece = std::move(pieces.front());
    pieces.erase(pieces.begin());
    co_return std::optional(std::move(piece));
  }
  Task<Result<void>> respond(int, Headers, bool) override { co_return Result<void>(); }
  Task<Result<void>> write(std::string) override { co_return Result<void>(); }
  Task<Result<void>> finish(Headers) override { co_return Result<void>(); }
  Task<Result<void>> answer(int, Headers, std::string) override { co_return Result<void>(); }
  void abort() override {}
  void onGone(std::function<void()>) override {}
  bool gone() const override { return false; }
};

}  // namespace gridiron::net
