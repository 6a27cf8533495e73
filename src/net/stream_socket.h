#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/detail/reactor.hpp>
#include <boost/asio/detail/reactor_op.hpp>
#include <cstddef>
#include <memory>

#include "base/fd.h"
#include "base/loop.h"

namespace gridiron::net {

// A connected socket, TCP or unix, that reads with one system call where Asio's own takes two: the kernel tells with
// the bytes whether more have come (TCP_INQ), so what was read to its end is not read again to hear that there is
// nothing. For that it speaks to Asio's reactor directly (boost::asio::detail, as of Boost 1.81), which nothing else
// here does. Loop thread only. Whoever owns it is kept alive by what it waits for.
class StreamSocket {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // Bytes have come; 0: there will be none, by the peer's end, an error or close(). Never from within read().
    virtual void arrived(std::size_t count) = 0;
    // There may be room for more, or the socket is broken or closed. Never from within waitWritable().
    virtual void writable() = 0;
  };

  // `fd` does not block.
  StreamSocket(asio::io_context& io, Fd fd, Owner& owner);
  ~StreamSocket() { close(); }
  StreamSocket(const StreamSocket&) = delete;
  StreamSocket& operator=(const StreamSocket&) = delete;

  // One at a time, each once until its word has come. `alive` keeps the owner, and with it `room`.
  void read(char* room, std::size_t size, std::shared_ptr<void> alive);
  void waitWritable(std::shared_ptr<void> alive);
  // How much the kernel took; 0 when it has no room; nothing when the connection is broken.
  std::optional<std::size_t> send(const char* bytes, std::size_t size);
  bool endSending();  // false: broken
  void close();

 private:
  struct Op : asio::detail::reactor_op {
    using Told = void (*)(StreamSocket&, const Op&);
    Op(StreamSocket& s, perform_func_type tryIt, Told t) : reactor_op({}, tryIt, &Op::complete), socket(s), told(t) {}
    static void complete(void* loop, asio::detail::operation* base, const boost::system::error_code&, std::size_t);
    StreamSocket& socket;
    const Told told;
    std::shared_ptr<void> alive;
  };
  static asio::detail::reactor_op::status receive(asio::detail::reactor_op* base);
  static asio::detail::reactor_op::status ready(asio::detail::reactor_op* base);
  void start(Op& op, int kind, bool tryFirst, std::shared_ptr<void> alive);

  Owner& owner_;
  asio::detail::reactor& reactor_;
  asio::detail::reactor::per_descriptor_data registered_ = nullptr;
  Fd fd_;
  char* room_ = nullptr;
  std::size_t size_ = 0;
  Op read_, write_;
};

}  // namespace gridiron::net
