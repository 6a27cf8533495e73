#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/loop.h"
#include "edge/http/lane_frames.h"

namespace gridiron::edge {

// Connects to the socket at `path`, at once or not at all. Whoever can put files there (a container's program) can only
// have its own sockets connected to: links are not followed. notFound when there is none.
Result<Fd> connectLocal(const std::string& path);

// One connection to the app in a container. Loop thread; lives until its last operation has ended.
class LaneSocket : public std::enable_shared_from_this<LaneSocket> {
 public:
  // By connectLocal.
  static Result<std::shared_ptr<LaneSocket>> connect(asio::io_context& io, const std::string& path);

  // The next frame. cancelled: the connection is lost. aborted: interrupt() was called, which is told once.
  Task<Result<LaneFrame>> read();
  void interrupt();

  // Sends `bytes`, or keeps what the peer does not take yet. Nothing happens on a lost connection.
  void write(std::string bytes);
  // Ends when little is kept, or the connection is lost (false).
  Task<bool> drain();

  // Not lost, and the peer has said nothing that was not read.
  bool isQuiet();
  void close();

 private:
  using Socket = asio::basic_stream_socket<asio::local::stream_protocol, Executor>;
  LaneSocket(asio::io_context& io, int fd);
  static Task<void> flush(std::shared_ptr<LaneSocket> self);

  asio::io_context& io_;
  Socket socket_;
  LaneReader reader_;
  std::string out_;
  Notifier drained_;
  bool flushing_ = false, interrupted_ = false, lost_ = false;
};

}  // namespace gridiron::edge
