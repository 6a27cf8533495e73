#include "base/result.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace gridiron {

void checkFailed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: GRID_CHECK(%s) failed\n", file, line, expression);
  std::abort();
}

namespace {

Code codeOf(int errnoValue) {
  switch (errnoValue) {
    case ENOENT:
      return Code::notFound;
    case EEXIST:
      return Code::alreadyExists;
    case EACCES:
    case EPERM:
      return Code::permissionDenied;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
      return Code::exhausted;
    case EINVAL:
      return Code::invalidArgument;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
      return Code::unavailable;
    case ETIMEDOUT:
      return Code::deadlineExceeded;
    default:
      return Code::internal;
  }
}

}  // namespace

Error errnoError(const std::string& attempt, int errnoValue) {
  const char* name = strerrorname_np(errnoValue);
  return makeError(codeOf(errnoValue), "{}: {} ({})", attempt, name != nullptr ? name : "errno",
                   std::strerror(errnoValue));
}

Error errnoError(const std::string& attempt) { return errnoError(attempt, errno); }

}  // namespace gridiron
