#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace gridiron::net {

using Instant = std::chrono::steady_clock::time_point;
inline Instant instantNow() { return std::chrono::steady_clock::now(); }

// How much a protocol gives out at a time: the size of one write to the socket.
inline constexpr std::size_t kWriteBatch = 256 * 1024;

// What a protocol may ask of whoever carries its bytes.
class Carrier {
 public:
  virtual ~Carrier() = default;
  // There is output, wantsRead() or finished() may have changed: look soon (never from within this call, so that what
  // is queued until then leaves in one write).
  virtual void kick() = 0;
};

// One end of a connection's protocol without any I/O: bytes in, bytes out. Loop thread only. None of these calls runs
// a handler or destroys the protocol.
class Protocol {
 public:
  virtual ~Protocol() = default;

  virtual void receive(std::string_view bytes) = 0;
  // Appends what is ready to be sent, about kWriteBatch at most; appends nothing when nothing is.
  virtual void fill(std::string& out) = 0;
  // False holds the peer back.
  virtual bool wantsRead() const = 0;
  // Nothing more will be read; the connection closes once fill() gives nothing.
  virtual bool finished() const = 0;
  // The connection has ended. Called once, last.
  virtual void lost() = 0;
  // Called every now and then: the place for time-outs.
  virtual void tick(Instant now) = 0;
  // Finish what is in progress, take nothing new; `force` also tells a peer that reacts by dropping what is in
  // progress.
  virtual void drain(bool force) = 0;
};

}  // namespace gridiron::net
