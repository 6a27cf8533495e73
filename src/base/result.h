#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace gridiron {

// The gRPC status codes, which are also the only error codes inside Gridiron. The numbers are the wire's.
// https://grpc.github.io/grpc/core/md_doc_statuscodes.html
enum class Code {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalidArgument = 3,
  deadlineExceeded = 4,
  notFound = 5,
  alreadyExists = 6,
  permissionDenied = 7,
  exhausted = 8,
  failedPrecondition = 9,
  aborted = 10,
  outOfRange = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  dataLoss = 15,
  unauthenticated = 16,
};

// Why an operation failed. `message` is written for the person who asked: it names what was attempted with its values
// ("open cgroup /sys/fs/cgroup/in-7: ENOENT"). Never holds a secret's value.
struct [[nodiscard]] Error {
  Code code = Code::unknown;
  std::string message;

  // The same error seen from one step further out: "<context>: <message>".
  Error within(const std::string& context) const { return Error{code, context + ": " + message}; }
  bool operator==(const Error&) const = default;
};

// An Error whose message ends in the name of the current (or given) errno: "open /x: ENOENT (No such file …)".
Error errnoError(const std::string& attempt, int errnoValue);
Error errnoError(const std::string& attempt);

template <class... Args>
Error makeError(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}

// Either a T or why there is none. Reading the value of a failed Result is a bug (GRID_CHECK).
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    GRID_CHECK(!ok());
    return std::get<1>(state_);
  }
  T& value() & {
    GRID_CHECK(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    GRID_CHECK(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    GRID_CHECK(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit on purpose

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    GRID_CHECK(!ok());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

#define GRID_CONCAT_(a, b) a##b
#define GRID_CONCAT(a, b) GRID_CONCAT_(a, b)

// Leaves the function with the error of a failed Result; the CO_ forms are for coroutines.
#define RETURN_IF_ERROR(expr)                                                     \
  do {                                                                            \
    if (auto grid_result = (expr); !grid_result.ok()) return grid_result.error(); \
  } while (false)
#define CO_RETURN_IF_ERROR(expr)                                                     \
  do {                                                                               \
    if (auto grid_result = (expr); !grid_result.ok()) co_return grid_result.error(); \
  } while (false)

// ASSIGN_OR_RETURN(auto fd, openFile(path));
#define ASSIGN_OR_RETURN(lhs, expr) GRID_ASSIGN_(GRID_CONCAT(grid_value_, __LINE__), lhs, expr, return )
#define CO_ASSIGN_OR_RETURN(lhs, expr) GRID_ASSIGN_(GRID_CONCAT(grid_value_, __LINE__), lhs, expr, co_return )
#define GRID_ASSIGN_(tmp, lhs, expr, ret) \
  auto tmp = (expr);                      \
  if (!tmp.ok()) ret tmp.error();         \
  lhs = std::move(tmp).value()

}  // namespace gridiron
