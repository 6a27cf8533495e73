#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/loop.h"
#include "net/protocol.h"
#include "net/stream_socket.h"

namespace gridiron::net {

// Told when a connection takes bytes in. What they begin runs before turnEnds() returns, so that an answer that is
// there at once leaves without another turn of the loop.
class Turns {
 public:
  virtual ~Turns() = default;
  virtual void turnBegins() = 0;
  virtual void turnEnds() = 0;
};

// A connected socket that carries one protocol. Keeps itself alive until it is closed. Loop thread only.
class Wire final : public Carrier, public std::enable_shared_from_this<Wire>, private StreamSocket::Owner {
 public:
  Wire(asio::io_context& io, Fd socket, std::shared_ptr<Turns> turns = nullptr);
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
  void arrived(std::size_t count) override;
  void writable() override;
  void readOn();
  void takeIn(std::size_t count);
  void fitBuffer(std::size_t n);
  void flush();
  bool sendSome();  // false: nothing more can be sent now
  void beginLinger();

  asio::io_context& io_;
  const std::shared_ptr<Turns> turns_;
  StreamSocket socket_;
  std::unique_ptr<Protocol> protocol_;
  std::function<void()> onClosed_;
  std::vector<char> buffer_;
  std::string out_;
  std::size_t sent_ = 0;  // of out_
  bool reading_ = false;
  bool flushing_ = false;  // or about to
  bool closed_ = false;
  std::optional<Instant> lingerUntil_;
};

}  // namespace gridiron::net
