#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/loop.h"
#include "net/protocol.h"

namespace gridiron::net {

// TCP and unix sockets alike.
using Socket = asio::basic_stream_socket<asio::generic::stream_protocol, Executor>;

// A connected socket that carries one protocol. Keeps itself alive until it is closed. Loop thread only.
class Wire final : public Carrier, public std::enable_shared_from_this<Wire> {
 public:
  Wire(asio::io_context& io, Socket socket);
  ~Wire() override { closed_ = true; }  // the protocol's end may kick

  // `onClosed` runs once, from within close().
  void start(std::unique_ptr<Protocol> protocol, std::function<void()> onClosed);
  void kick() override;
  // Cuts the connection at once. May be repeated.
  void close();
  bool closed() const { return closed_; }
  void tick(Instant now);
  void drain(bool force);

 private:
  static Task<void> readLoop(std::shared_ptr<Wire> self);
  void fitBuffer(std::size_t n);
  void flush();
  bool sendSome();  // false: nothing more can be sent now
  void waitWritable();
  void beginLinger();

  asio::io_context& io_;
  Socket socket_;
  std::unique_ptr<Protocol> protocol_;
  std::function<void()> onClosed_;
  std::vector<char> buffer_;
  std::string out_;
  std::size_t sent_ = 0;  // of out_
  Notifier resume_;
  bool readerWaits_ = false;
  bool flushing_ = false;
  bool closed_ = false;
  std::optional<Instant> lingerUntil_;
};

}  // namespace gridiron::net
