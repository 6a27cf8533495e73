#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"

namespace gridiron::net {

// True when the head is that of a gRPC call (POST, content-type application/grpc…).
bool isGrpc(const RequestHead& head);

// What a call ends with. `code` ok or an error; `message` any UTF-8 (percent-encoded on the wire). `retryAfter` adds
// grpc-status-details-bin with modal.client.RPCRetryPolicy: the client backs off that long and tries again, uncounted.
struct GrpcStatus {
  Code code = Code::ok;
  std::string message;
  std::optional<Nanos> retryAfter;
  std::vector<std::string> warnings;  // each an x-modal-warning trailer
  GrpcStatus() = default;
  GrpcStatus(Error error) : code(error.code), message(std::move(error.message)) {}  // NOLINT: implicit on purpose
};

inline constexpr std::size_t kMaxGrpcMessage = 100u * 1024 * 1024;

// The server's side of one gRPC call: messages as bytes. Loop thread only.
class GrpcServerCall {
 public:
  explicit GrpcServerCall(std::shared_ptr<Exchange> exchange);

  const std::string& path() const;  // "/modal.client.ModalClient/AppCreate"
  const Headers& metadata() const;
  const RequestHead& head() const;
  std::optional<Nanos> timeLeft() const;  // from grpc-timeout; counts down

  // Next message, or nothing after the client's last. Errors: cancelled, exhausted (message over 100 MiB),
  // invalidArgument (compressed or malformed frame).
  Task<Result<std::optional<std::string>>> read();
  Task<Result<void>> write(std::string message);
  // Unary's end: message (when code is ok) and trailers in one write.
  Task<Result<void>> finish(GrpcStatus status, std::optional<std::string> lastMessage = std::nullopt);

  bool cancelled() const;  // reset by the peer, connection lost or deadline passed
  void onCancel(std::function<void()> callback);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// The client's side of one call. Loop thread only.
class GrpcClientCall {
 public:
  virtual ~GrpcClientCall() = default;
  virtual Task<Result<void>> write(std::string message) = 0;
  virtual Task<Result<void>> writesDone() = 0;
  // Next message; nothing when the server ended the call: then status() is set. Errors only for a lost connection.
  virtual Task<Result<std::optional<std::string>>> read() = 0;
  virtual const GrpcStatus& status() const = 0;
  virtual const Headers& trailers() const = 0;  // raw, so that a relay can pass them on
  virtual void cancel() = 0;
};

// An HTTP/2 connection to a grid, opened on first use and again after it was lost (each lost call reports unavailable).
class GrpcChannel {
 public:
  // "http://host:port", "https://host:port" (system CAs or `caFile`), "unix:/path".
  GrpcChannel(asio::io_context& io, std::string url, std::string caFile = "");
  ~GrpcChannel();

  Task<Result<std::shared_ptr<GrpcClientCall>>> open(const std::string& path, Headers metadata,
                                                     std::optional<Nanos> timeout);
  // One request, one answer.
  Task<Result<std::string>> unary(const std::string& path, Headers metadata, std::string message, Nanos timeout);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::net
