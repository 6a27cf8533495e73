#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>

#include "base/clock.h"
#include "link.pb.h"

namespace gridiron::worker {

// What the agent has done about its session with control. As Hands: returns at once, what it leads to is told later.
class Line {
 public:
  virtual ~Line() = default;
  // A session that begins with the worker's hello: leads to connected(), or to disconnected() at once.
  virtual void dial() = 0;
  // On the open session, one message at a time: leads to written(), unless the session ends.
  virtual void write(link::FromWorker message) = 0;
  virtual void writesDone() = 0;  // nothing more will be written: control ends the session when it has read all
  virtual void hangUp() = 0;      // leads to disconnected()
};

// The agent's half of the session with control: dials, and again with back-off whenever the session is lost; keeps what
// is to be told until it can be; beats, and gives a silent control up. Events queue while there is no session; lines of
// output beyond a bound are then dropped, and that is said in their place. One thread.
class AgentLink {
 public:
  // `jitter` gives numbers in [0.5, 1), by which pauses are multiplied.
  AgentLink(Line& line, const Clock& clock, std::function<double()> jitter);

  // --- events ---
  void begin();  // dials
  void connected();
  void heard();    // control has said something
  void written();  // what was given to Line::write
  void disconnected();

  // Sent in the order of the calls.
  void send(link::FromWorker message);
  // Nothing is taken to be sent any more; the session ends in good order when all has been written.
  void leave();
  void stop();  // at once and for good

  bool isStopped() const { return state_ == State::stopped; }  // has left or was stopped: nothing follows
  // All that was sent before `mark()` gave this has been handed to the session, or there is none.
  std::uint64_t mark() const { return accepted_; }
  bool isFlushed(std::uint64_t mark) const { return state_ != State::open || written_ >= mark; }
  // False: whoever reads output shall wait, so that a busy link holds the writer back.
  bool hasRoom() const;

  void tick();
  std::optional<Time> nextDeadline() const;

 private:
  enum class State { idle, dialling, open, stopped };
  struct Queued {
    link::FromWorker message;
    std::size_t outputBytes = 0;
  };
  void enqueue(link::FromWorker message, std::size_t outputBytes);
  void writeNext();
  void dial();

  Line& line_;
  const Clock& clock_;
  std::function<double()> jitter_;
  State state_ = State::idle;
  std::deque<Queued> queue_;
  std::size_t queuedOutput_ = 0;
  std::uint64_t accepted_ = 0, written_ = 0, dropped_ = 0;
  bool writing_ = false, leaving_ = false, done_ = false;
  Nanos pause_;
  Time heardAt_{}, beatAt_{}, dialAt_{};
};

}  // namespace gridiron::worker
