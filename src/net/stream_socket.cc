#include "net/stream_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace gridiron::net {

namespace {

using asio::detail::reactor;
using asio::detail::reactor_op;

// Bytes that wait behind those that a recvmsg() gave; after the peer's end more than none. Of a socket that does not
// tell: not known, so there may be some.
bool moreWaits(msghdr& message) {
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_level != IPPROTO_TCP || one->cmsg_type != TCP_CM_INQ) continue;
    int waiting = 0;
    std::memcpy(&waiting, CMSG_DATA(one), sizeof(waiting));
    return waiting > 0;
  }
  return true;
}

}  // namespace

StreamSocket::StreamSocket(asio::io_context& io, Fd fd, Owner& owner)
    : owner_(owner),
      reactor_(asio::use_service<reactor>(io)),
      fd_(std::move(fd)),
      read_(*this, &StreamSocket::receive,
            [](StreamSocket& self, const Op& op) { self.owner_.arrived(op.ec_ ? 0 : op.bytes_transferred_); }),
      write_(*this, &StreamSocket::ready, [](StreamSocket& self, const Op&) { self.owner_.writable(); }) {
  reactor_.init_task();
  if (reactor_.register_descriptor(fd_.get(), registered_) != 0) close();
  const int on = 1;
  (void)::setsockopt(fd_.get(), IPPROTO_TCP, TCP_INQ, &on, sizeof(on));  // unix sockets have no such thing
}

void StreamSocket::Op::complete(void* loop, asio::detail::operation* base, const boost::system::error_code&,
                                std::size_t) {
  auto* op = static_cast<Op*>(base);
  const auto alive = std::move(op->alive);
  if (loop != nullptr) op->told(op->socket, *op);  // else the loop is going down
}

reactor_op::status StreamSocket::receive(reactor_op* base) {
  auto& op = static_cast<Op&>(*base);
  const StreamSocket& self = op.socket;
  iovec where{self.room_, self.size_};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &where;
  message.msg_iovlen = 1;
  ssize_t got = 0;
  do {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    got = ::recvmsg(self.fd_.get(), &message, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return reactor_op::not_done;
  op.bytes_transferred_ = got > 0 ? static_cast<std::size_t>(got) : 0;
  return got > 0 && !moreWaits(message) ? reactor_op::done_and_exhausted : reactor_op::done;
}

// Asked only when the socket was said to be writable or broken.
reactor_op::status StreamSocket::ready(reactor_op*) { return reactor_op::done; }

void StreamSocket::start(Op& op, int kind, bool tryFirst, std::shared_ptr<void> alive) {
  op.alive = std::move(alive);
  op.ec_ = {};
  op.bytes_transferred_ = 0;
  reactor_.start_op(kind, fd_.get(), registered_, &op, false, tryFirst);
}

void StreamSocket::read(char* room, std::size_t size, std::shared_ptr<void> alive) {
  room_ = room;
  size_ = size;
  start(read_, reactor::read_op, true, std::move(alive));
}

void StreamSocket::waitWritable(std::shared_ptr<void> alive) {
  start(write_, reactor::write_op, false, std::move(alive));
}

std::optional<std::size_t> StreamSocket::send(const char* bytes, std::size_t size) {
  for (;;) {
    const ssize_t sent = ::send(fd_.get(), bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    if (errno != EINTR) return std::nullopt;
  }
}

bool StreamSocket::endSending() { return ::shutdown(fd_.get(), SHUT_WR) == 0; }

void StreamSocket::close() {
  if (!fd_.valid()) return;
  reactor_.deregister_descriptor(fd_.get(), registered_, true);
  fd_.reset();
  reactor_.cleanup_descriptor_data(registered_);
}

}  // namespace gridiron::net
