#pragma once

#include <unistd.h>

#include <string>
#include <utility>

#include "base/result.h"

namespace gridiron {

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

// Whole-file helpers. Errors name the path and the errno. Any thread.
Result<std::string> readFile(const std::string& path);
// Writes to a temporary neighbour and renames it over `path`, so that a reader never sees half a file. With
// Durable::yes the data and the directory entry are on disk when it returns.
enum class Durable { no, yes };
Result<void> writeFileAtomic(const std::string& path, std::string_view data, int mode, Durable durable);
// mkdir -p.
Result<void> makeDirectories(const std::string& path, int mode = 0755);

}  // namespace gridiron
