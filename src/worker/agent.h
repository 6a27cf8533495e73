#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "link.pb.h"
#include "sandbox/sandbox.h"
#include "worker/agent_link.h"

namespace gridiron::worker {

// What the agent has done on its machine. Every function returns at once; what it leads to is told to the agent later,
// never from within the call.
class Hands : public Line {
 public:
  // Makes the container that `order` wants: leads to one of started() and notStarted().
  virtual void start(const std::shared_ptr<const link::StartInstance>& order) = 0;
  virtual void signal(const std::string& task, int signo) = 0;  // to a started container
  // Everything in it, at once; one that is on its way up never runs. Leads to exited() or notStarted(). Repeatable.
  virtual void kill(const std::string& task) = 0;
  // What the container changed becomes the image `order` names: leads to committed().
  virtual void commit(const link::StartInstance& order) = 0;
  // Leaves nothing of a container that has ended or was not started: leads to removed().
  virtual void remove(const std::string& task) = 0;

  virtual void build(link::BuildImage order) = 0;
  virtual void cancelBuild(const std::string& imageId) = 0;
  virtual std::vector<std::string> finishedImages() const = 0;
  // Apps that there are memory snapshots of; what is of no use any more.
  virtual std::vector<std::string> snapshotApps() const { return {}; }
  virtual void forget(link::ForgetSnapshots) {}
  // Containers of the image are to be expected.
  virtual void prepare(link::PrepareImage) {}
  // What was parked for the function and no other is of no use.
  virtual void retire(const std::string& /*function*/) {}
};

// What a worker decides, without doing any of it: events come in by its functions, what is to be done goes out by
// Hands. The worker runs it, and the simulator does. One thread; not called from within a function of Hands.
class Agent {
 public:
  // `self`: who the worker is and what it has (worker_id to gpus of a hello). `jitter`: see AgentLink. `hands` and
  // `clock` outlive it.
  Agent(link::WorkerHello self, Hands& hands, const Clock& clock, std::function<double()> jitter);
  ~Agent();

  // --- from control ---
  // A session has begun. What may have been lost with the one before is told again.
  void connected();
  // Told of the session's end and progress.
  AgentLink& link() { return link_; }
  const AgentLink& link() const { return link_; }
  void command(link::ToWorker command);
  // What a session begins with.
  link::WorkerHello hello() const;

  // --- from the machine, about containers in their order ---
  void started(const std::string& task, const std::vector<sandbox::Phase>& phases);
  void notStarted(const std::string& task, const Error& error);
  void exited(const std::string& task, const sandbox::Exit& exit);  // and its last output was sent
  void committed(const std::string& task, const Result<link::ImageFacts>& facts);
  void removed(const std::string& task);

  // Takes no new starts and stops every container (SIGTERM, after `grace` SIGKILL).
  void stop(Nanos grace);
  std::size_t containers() const;  // running or on their way up or down

  // Does what is due. Call at nextDeadline.
  void tick();
  std::optional<Time> nextDeadline() const;

 private:
  enum class State { starting, running, ended };
  struct Container {
    std::shared_ptr<const link::StartInstance> order;
    State state = State::starting;
    bool stopping = false;
    std::optional<Time> killAt;
    sandbox::Exit exit;
    std::optional<link::InstanceEvent> end;  // as it was told
  };
  void start(link::StartInstance order);
  void stop(const std::string& task, Container& container, Nanos grace);
  void report(link::InstanceEvent event);
  void reportBuild(const link::StartInstance& order, const Result<link::ImageFacts>& facts);
  void reportExit(const std::string& task, Container& container);
  void reportError(const std::string& task, const std::string& error);
  Container* find(const std::string& task, State state);

  const link::WorkerHello self_;
  Hands& hands_;
  const Clock& clock_;
  AgentLink link_;
  std::map<std::string, Container> containers_;
  bool stopping_ = false;
};

}  // namespace gridiron::worker
