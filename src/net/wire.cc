#include "net/wire.h"

#include <boost/asio/post.hpp>
#include <chrono>

namespace gridiron::net {

namespace {

// Of a connection that says little, which ten thousand may do at a time; of one that fills it; of one that fills that.
constexpr std::size_t kBuffers[] = {2 * 1024, 16 * 1024, 128 * 1024};
constexpr auto kLinger = std::chrono::seconds(2);
constexpr auto kLong = std::chrono::hours(24);

}  // namespace

Wire::Wire(asio::io_context& io, Socket socket)
    : io_(io), socket_(std::move(socket)), buffer_(kBuffers[0]), resume_(io) {}

void Wire::start(std::unique_ptr<Protocol> protocol, std::function<void()> onClosed) {
  protocol_ = std::move(protocol);
  onClosed_ = std::move(onClosed);
  boost::system::error_code ec;
  socket_.non_blocking(true, ec);
  spawn(io_, readLoop(shared_from_this()));
  kick();
}

void Wire::kick() {
  if (flushing_ || closed_) return;
  flushing_ = true;
  asio::post(io_.get_executor(), [self = shared_from_this()] { self->flush(); });
}

Task<void> Wire::readLoop(std::shared_ptr<Wire> self) {
  boost::system::error_code ec;
  while (!self->closed_) {
    if (!self->lingerUntil_ && (!self->protocol_->wantsRead() || self->protocol_->finished())) {
      self->readerWaits_ = true;
      co_await self->resume_.wait(kLong);
      self->readerWaits_ = false;
      continue;
    }
    const auto buffer = asio::buffer(self->buffer_);
    const std::size_t n = co_await self->socket_.async_read_some(buffer, asio::redirect_error(useTask, ec));
    if (ec || self->closed_) break;
    if (self->lingerUntil_) continue;
    self->protocol_->receive(std::string_view(self->buffer_.data(), n));
    self->fitBuffer(n);
    self->kick();
  }
  self->close();
}

// After `n` bytes have come into it.
void Wire::fitBuffer(std::size_t n) {
  if (n == buffer_.size()) {
    for (const std::size_t larger : kBuffers) {
      if (larger > n) {
        buffer_.resize(larger);
        return;
      }
    }
  } else if (n < kBuffers[0] && buffer_.size() > kBuffers[0]) {
    std::vector<char>(kBuffers[0]).swap(buffer_);
  }
}

void Wire::flush() {
  while (!closed_) {
    if (sent_ == out_.size()) {
      out_.clear();
      sent_ = 0;
      if (out_.capacity() > 2 * kWriteBatch) out_.shrink_to_fit();
      protocol_->fill(out_);
    }
    if (out_.empty()) break;
    if (!sendSome()) return;
  }
  flushing_ = false;
  if (closed_) return;
  if (protocol_->finished()) {
    beginLinger();
  } else if (readerWaits_ && protocol_->wantsRead()) {
    resume_.notifyAll();
  }
}

bool Wire::sendSome() {
  boost::system::error_code ec;
  sent_ += socket_.write_some(asio::buffer(out_.data() + sent_, out_.size() - sent_), ec);
  if (!ec) return true;
  if (ec == asio::error::would_block || ec == asio::error::try_again) {
    waitWritable();
  } else {
    close();
  }
  return false;
}

void Wire::waitWritable() {
  socket_.async_wait(Socket::wait_write, [self = shared_from_this()](const boost::system::error_code& ec) {
    if (ec) {
      self->close();
    } else {
      self->flush();
    }
  });
}

// Closing with unread bytes makes the kernel send a reset, which can overtake the last answer: so say that nothing
// more comes, and wait a moment for the peer to close.
void Wire::beginLinger() {
  if (lingerUntil_) return;
  lingerUntil_ = instantNow() + kLinger;
  boost::system::error_code ec;
  socket_.shutdown(Socket::shutdown_send, ec);
  if (ec) return close();
  resume_.notifyAll();
}

void Wire::close() {
  if (closed_) return;
  closed_ = true;
  boost::system::error_code ec;
  socket_.close(ec);
  resume_.notifyAll();
  if (protocol_) protocol_->lost();
  const auto onClosed = std::move(onClosed_);
  onClosed_ = nullptr;
  if (onClosed) onClosed();
}

void Wire::tick(Instant now) {
  if (closed_) return;
  if (lingerUntil_) {
    if (now >= *lingerUntil_) close();
    return;
  }
  protocol_->tick(now);
}

void Wire::drain(bool force) {
  if (closed_ || lingerUntil_) return;
  protocol_->drain(force);
  kick();
}

}  // namespace gridiron::net
