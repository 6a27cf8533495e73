#include "net/wire.h"

#include <boost/asio/post.hpp>
#include <chrono>

namespace gridiron::net {

namespace {

// Of a connection that says little, which ten thousand may do at a time; of one that fills it; of one that fills that.
constexpr std::size_t kBuffers[] = {2 * 1024, 16 * 1024, 128 * 1024};
constexpr auto kLinger = std::chrono::seconds(2);

}  // namespace

Wire::Wire(asio::io_context& io, Fd socket, std::shared_ptr<Turns> turns)
    : io_(io), turns_(std::move(turns)), socket_(io, std::move(socket), *this), buffer_(kBuffers[0]) {}

void Wire::start(std::unique_ptr<Protocol> protocol, std::function<void()> onClosed) {
  protocol_ = std::move(protocol);
  onClosed_ = std::move(onClosed);
  readOn();
  kick();
}

void Wire::kick() {
  if (flushing_ || closed_) return;
  flushing_ = true;
  asio::post(io_.get_executor(), [self = shared_from_this()] { self->flush(); });
}

// Unless it does so already, or the protocol holds the peer back.
void Wire::readOn() {
  if (reading_ || closed_) return;
  if (!lingerUntil_ && (!protocol_->wantsRead() || protocol_->finished())) return;
  reading_ = true;
  socket_.read(buffer_.data(), buffer_.size(), shared_from_this());
}

void Wire::arrived(std::size_t count) {
  reading_ = false;
  if (closed_) return;
  if (count == 0) return close();
  if (!lingerUntil_) takeIn(count);
  readOn();
}

void Wire::takeIn(std::size_t count) {
  const bool alone = !std::exchange(flushing_, true);  // no kick is needed: what there is to send goes out below
  if (turns_) turns_->turnBegins();
  protocol_->receive(std::string_view(buffer_.data(), count));
  fitBuffer(count);
  if (turns_) turns_->turnEnds();
  if (alone) flush();
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
  } else {
    readOn();
  }
}

bool Wire::sendSome() {
  const auto taken = socket_.send(out_.data() + sent_, out_.size() - sent_);
  if (!taken) close();
  if (!taken) return false;
  sent_ += *taken;
  if (*taken > 0) return true;
  socket_.waitWritable(shared_from_this());
  return false;
}

void Wire::writable() {
  if (!closed_) flush();
}

// Closing with unread bytes makes the kernel send a reset, which can overtake the last answer: so say that nothing
// more comes, and wait a moment for the peer to close.
void Wire::beginLinger() {
  if (lingerUntil_) return;
  lingerUntil_ = instantNow() + kLinger;
  if (!socket_.endSending()) return close();
  readOn();
}

void Wire::close() {
  if (closed_) return;
  closed_ = true;
  socket_.close();
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
