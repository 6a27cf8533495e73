#include "worker/agent_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace gridiron::worker {

using namespace std::chrono_literals;

namespace {
constexpr std::size_t kRoomBytes = 4u << 20;      // queued output above which readers wait
constexpr std::size_t kDroppedBytes = 16u << 20;  // queued output above which lines are dropped
constexpr Nanos kBeat = 3s;
constexpr Nanos kSilence = 10s;
constexpr Nanos kFirstPause = 20ms;
constexpr Nanos kLongestPause = 3s;
constexpr int kSystem = 3;  // the file descriptor of our own lines
}  // namespace

AgentLink::AgentLink(Line& line, const Clock& clock, std::function<double()> jitter)
    : line_(line), clock_(clock), jitter_(std::move(jitter)), pause_(kFirstPause) {}

void AgentLink::begin() { dial(); }

void AgentLink::dial() {
  if (state_ != State::idle) return;
  state_ = State::dialling;
  line_.dial();
}

void AgentLink::connected() {
  if (state_ != State::dialling) return;
  state_ = State::open;
  writing_ = done_ = false;
  heardAt_ = clock_.now();
  beatAt_ = heardAt_ + kBeat;
  writeNext();
}

void AgentLink::heard() {
  heardAt_ = clock_.now();
  pause_ = kFirstPause;
}

void AgentLink::written() {
  if (!writing_) return;
  writing_ = false;
  ++written_;
  writeNext();
}

void AgentLink::disconnected() {
  if (state_ == State::stopped) return;
  if (writing_) ++written_;  // lost: what matters of it is in the next hello
  writing_ = false;
  if (leaving_) {
    state_ = State::stopped;
    return;
  }
  state_ = State::idle;
  dialAt_ = clock_.now() + std::chrono::duration_cast<Nanos>(pause_ * jitter_());
  pause_ = std::min<Nanos>(pause_ * 2, kLongestPause);
}

void AgentLink::writeNext() {
  if (state_ != State::open || writing_) return;
  if (queue_.empty()) {
    if (leaving_ && !std::exchange(done_, true)) line_.writesDone();
    return;
  }
  link::FromWorker message = std::move(queue_.front().message);
  queuedOutput_ -= queue_.front().outputBytes;
  queue_.pop_front();
  writing_ = true;
  line_.write(std::move(message));
}

void AgentLink::enqueue(link::FromWorker message, std::size_t outputBytes) {
  if (leaving_ || state_ == State::stopped) return;
  ++accepted_;
  queuedOutput_ += outputBytes;
  queue_.push_back(Queued{std::move(message), outputBytes});
  writeNext();
}

void AgentLink::send(link::FromWorker message) {
  std::size_t bytes = 0;
  if (message.has_logs()) {
    link::LogLines& logs = *message.mutable_logs();
    for (const link::LogLine& line : logs.lines()) bytes += line.data().size() + 32;
    if (queuedOutput_ > kDroppedBytes) {
      dropped_ += static_cast<std::uint64_t>(logs.lines_size());
      return;
    }
    if (dropped_ > 0) {
      link::LogLine& note = *logs.add_lines();
      note.set_data(fmt::format("[{} lines of output were lost while control could not be reached]\n", dropped_));
      note.set_file_descriptor(kSystem);
      note.set_at_unix_nanos(logs.lines(0).at_unix_nanos());
      dropped_ = 0;
    }
  }
  enqueue(std::move(message), bytes);
}

void AgentLink::leave() {
  leaving_ = true;
  if (state_ == State::open) return writeNext();
  if (state_ == State::idle) state_ = State::stopped;
}

void AgentLink::stop() {
  const bool open = state_ == State::open || state_ == State::dialling;
  state_ = State::stopped;
  if (open) line_.hangUp();
}

bool AgentLink::hasRoom() const { return state_ != State::open || queuedOutput_ <= kRoomBytes; }

void AgentLink::tick() {
  const Time now = clock_.now();
  if (state_ == State::idle && dialAt_ <= now) dial();
  if (state_ != State::open || beatAt_ > now) return;
  beatAt_ = now + kBeat;
  if (now - heardAt_ > kSilence) return line_.hangUp();
  link::FromWorker message;
  message.mutable_beat();
  enqueue(std::move(message), 0);
}

std::optional<Time> AgentLink::nextDeadline() const {
  if (state_ == State::idle) return dialAt_;
  if (state_ == State::open) return beatAt_;
  return std::nullopt;
}

}  // namespace gridiron::worker
