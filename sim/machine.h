#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "calls/calls.h"
#include "worker/agent.h"

namespace gridiron::sim {

class World;
class Machine;
struct Workload;

// A sandbox that does what its workload says: the client's loop in a container, from its start to its end.
struct Box {
  InstanceId id;
  const Workload* workload = nullptr;
  Resources resources;
  int machine = 0;
  int life = 0;          // of the worker's process that started it; when that has ended it reaches the grid no more
  bool alive = true;     // on its machine, or on its way up there
  bool started = false;  // the sandbox runs
  bool killed = false;   // before it ran
  bool leaving = false;  // asks for nothing more
  bool asking = false;
  int asks = 0;    // how often it has asked for inputs
  int unsaid = 0;  // outputs on their way
  std::map<InputId, Input> runs;
  Time startedAt{}, endedAt{}, orphanSince{};
};
using BoxPtr = std::shared_ptr<Box>;

// The session between a worker's process and a control: both directions in order; all arrives or, from some moment on,
// nothing. While the machine is cut from the network what was sent waits.
struct Session {
  Machine* machine = nullptr;
  int life = 0, epoch = 0;  // of the worker's process, of control
  bool broken = false;
  Time up{}, down{};  // when the last message arrives
  std::deque<std::function<void()>> held;
};
using SessionPtr = std::shared_ptr<Session>;

// A machine: its worker's process, which is the production agent, and the sandboxes on it.
class Machine final : public worker::Hands {
 public:
  Machine(World& world, int number);
  WorkerId id() const { return WorkerId{"wk-" + std::to_string(number_)}; }
  bool up() const { return agent_ != nullptr; }
  bool comesBack() const { return up() || booting_; }
  bool isCut() const { return cut_; }
  bool reachable() const { return up() && !cut_ && session_ && !session_->broken; }
  // Can the container ask something of the grid? Its door is its worker's.
  bool reaches(const Box& box) const { return box.alive && box.life == life_ && agent_ && !cut_; }
  const std::map<InstanceId, BoxPtr>& boxes() const { return boxes_; }  // present ones

  void boot();  // the worker's process begins
  // The process is killed, or the whole machine with what runs on it.
  void crash(bool wholeMachine, bool comesBack);
  void fillDisk();  // nothing can be started on it
  void freeDisk() { full_ = false; }
  void cut(bool from);          // the network
  void loseSession(bool told);  // told: both ends see it; else each by the other's silence
  void lose(const SessionPtr& session, bool told);
  void receive(const SessionPtr& session, std::function<void(worker::Agent&)> message);  // on its way from control

  static constexpr std::int64_t kMemoryMb = 1000;

  // Hands
  void start(const std::shared_ptr<const link::StartInstance>& order) override;
  void signal(const std::string& task, int signo) override;
  void kill(const std::string& task) override;
  void commit(const link::StartInstance&) override {}  // nothing is built here
  void remove(const std::string& task) override;
  void build(link::BuildImage) override {}
  void cancelBuild(const std::string&) override {}
  std::vector<std::string> finishedImages() const override { return {}; }
  // Line
  void dial() override;
  void write(link::FromWorker message) override;
  void writesDone() override {}
  void hangUp() override;

 private:
  void tell(int life, const std::function<void(worker::Agent&)>& event);
  void lookAgain();
  void end(const BoxPtr& box, sandbox::Exit exit);
  // The client's loop (box.cc).
  void run(const BoxPtr& box);
  void beat(const BoxPtr& box);
  void ask(const BoxPtr& box);
  void askAgain(const BoxPtr& box);
  void take(const BoxPtr& box, const std::vector<Lease>& leases);
  void yieldNext(const BoxPtr& box, const Input& input, int next);
  void readBody(const BoxPtr& box, const Input& input, std::int64_t after);
  void finish(const BoxPtr& box, const std::vector<InputId>& ids, OutcomeStatus status);
  void put(const BoxPtr& box, std::vector<Input> inputs, OutcomeStatus status);
  void leaveIfDone(const BoxPtr& box);

  World& world_;
  const int number_;
  int life_ = 0;
  bool cut_ = false, booting_ = false, full_ = false;
  std::unique_ptr<worker::Agent> agent_;
  SessionPtr session_;  // that the worker's process has
  Time timerAt_{};
  std::map<InstanceId, BoxPtr> boxes_;
};

}  // namespace gridiron::sim
