#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
#include "base/result.h"

namespace gridiron::blob {

// Bytes on their way into a Blobs. Dropped without finish(): nothing of them stays. One thread.
class Writer {
 public:
  ~Writer();
  Writer(Writer&&) noexcept;
  Writer& operator=(Writer&&) noexcept;

  Result<void> write(std::string_view piece);
  std::uint64_t size() const;  // written so far
  // Makes them readable under their SHA-256 and gives it. With `expected`: bytes that are something else are refused
  // (dataLoss) and dropped. May be called once; putting what is there already is fine and costs nothing.
  Result<Sha256> finish(const std::optional<Sha256>& expected = std::nullopt);
  // Raw MD5 of the bytes (16 bytes), for ETags. After finish() only.
  const std::string& md5() const;

 private:
  friend class Blobs;
  struct State;
  explicit Writer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Bytes by their SHA-256, as read-only files under one directory: <directory>/<2 hex digits>/<64 hex digits>. A file
// appears whole, by rename. Any thread; several processes may share a directory.
class Blobs {
 public:
  // Makes the directory. What a killed process left half-written is removed once it is a day old.
  static Result<Blobs> open(std::string directory);

  Result<Sha256> put(std::string_view bytes);
  Result<Writer> writer();

  bool has(const Sha256& hash) const;
  std::optional<std::uint64_t> size(const Sha256& hash) const;
  // Where the bytes lie or would lie; for links, mounts and sendfile.
  std::string path(const Sha256& hash) const;
  // notFound when they are not here.
  Result<Fd> open(const Sha256& hash) const;
  Result<std::string> read(const Sha256& hash) const;  // the whole of them
  // `length` bytes from `offset`; fewer at the end.
  Result<std::string> readRange(const Sha256& hash, std::uint64_t offset, std::uint64_t length) const;
  // Nothing there: fine. Who holds them open keeps them.
  Result<void> remove(const Sha256& hash);
  // Calls `each` for everything kept, with its size; removing what it is called with is fine.
  Result<void> visit(const std::function<void(const Sha256&, std::uint64_t)>& each) const;

  const std::string& directory() const { return directory_; }

 private:
  explicit Blobs(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

}  // namespace gridiron::blob
