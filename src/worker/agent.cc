#include "worker/agent.h"

#include <signal.h>

namespace gridiron::worker {

namespace {

link::InstanceEvent eventOf(const std::string& task, link::InstanceEvent::State state) {
  link::InstanceEvent event;
  event.set_task_id(task);
  event.set_state(state);
  return event;
}

}  // namespace

Agent::Agent(link::WorkerHello self, Hands& hands, const Clock& clock, std::function<double()> jitter)
    : self_(std::move(self)), hands_(hands), clock_(clock), link_(hands, clock, std::move(jitter)) {}

Agent::~Agent() = default;

link::WorkerHello Agent::hello() const {
  link::WorkerHello hello = self_;
  for (const auto& [task, container] : containers_) hello.add_task_ids(task);
  for (const std::string& image : hands_.finishedImages()) hello.add_image_ids(image);
  for (const std::string& app : hands_.snapshotApps()) hello.add_snapshot_app_ids(app);
  return hello;
}

std::size_t Agent::containers() const { return containers_.size(); }

Agent::Container* Agent::find(const std::string& task, State state) {
  const auto found = containers_.find(task);
  return found == containers_.end() || found->second.state != state ? nullptr : &found->second;
}

// --- what is told to control ---

void Agent::report(link::InstanceEvent event) {
  event.set_at_unix_nanos(clock_.now().time_since_epoch().count());
  link::FromWorker message;
  *message.mutable_instance() = std::move(event);
  link_.send(std::move(message));
}

// Image.run_function: what the container changed has become an image, or not.
void Agent::reportBuild(const link::StartInstance& order, const Result<link::ImageFacts>& facts) {
  link::FromWorker message;
  link::BuildEvent& event = *message.mutable_build();
  event.set_image_id(order.commit_as_image_id());
  event.set_finished(true);
  if (facts.ok()) {
    *event.mutable_facts() = *facts;
  } else {
    event.set_error(facts.error().message);
  }
  link_.send(std::move(message));
}

void Agent::reportExit(const std::string& task, Container& container) {
  link::InstanceEvent event = eventOf(task, link::InstanceEvent::EXITED);
  event.set_exit_code(container.exit.code);
  event.set_exit_signal(container.exit.signal);
  event.set_out_of_memory(container.exit.outOfMemory);
  container.end = event;
  report(std::move(event));
}

void Agent::reportError(const std::string& task, const std::string& error) {
  link::InstanceEvent event = eventOf(task, link::InstanceEvent::EXITED);
  event.set_error(error);
  report(std::move(event));
}

// --- from control ---

// The hello names those that have ended and are not removed yet: control waits for their ends.
void Agent::connected() {
  link_.connected();
  for (const auto& [task, container] : containers_) {
    if (container.end) report(*container.end);
  }
}

void Agent::command(link::ToWorker command) {
  link_.heard();
  if (command.has_start()) {
    start(std::move(*command.mutable_start()));
  } else if (command.has_stop()) {
    const auto found = containers_.find(command.stop().task_id());
    const auto grace = std::chrono::milliseconds(command.stop().grace_ms());
    if (found != containers_.end()) stop(found->first, found->second, grace);
  } else if (command.has_signal()) {
    const std::string& task = command.signal().task_id();
    if (find(task, State::running)) hands_.signal(task, command.signal().signal());
  } else if (command.has_build()) {
    hands_.build(std::move(*command.mutable_build()));
  } else if (command.has_cancel_build()) {
    hands_.cancelBuild(command.cancel_build().image_id());
  } else if (command.has_forget()) {
    hands_.forget(std::move(*command.mutable_forget()));
  } else if (command.has_prepare() && !stopping_) {
    hands_.prepare(std::move(*command.mutable_prepare()));
  } else if (command.has_retire()) {
    hands_.retire(command.retire().function_id());
  }
}

void Agent::start(link::StartInstance order) {
  const std::string task = order.task_id();
  if (containers_.contains(task)) return;
  if (stopping_) return reportError(task, "the worker is shutting down");
  Container container;
  container.order = std::make_shared<const link::StartInstance>(std::move(order));
  const auto wanted = container.order;
  containers_.emplace(task, std::move(container));
  report(eventOf(task, link::InstanceEvent::STARTING));
  hands_.start(wanted);
}

void Agent::stop(const std::string& task, Container& container, Nanos grace) {
  if (container.state == State::ended) return;
  const bool again = std::exchange(container.stopping, true);
  if (container.state == State::starting || grace <= Nanos::zero()) {
    container.killAt.reset();
    return hands_.kill(task);
  }
  container.killAt = clock_.now() + grace;
  if (!again) hands_.signal(task, SIGTERM);
}

// --- from the machine ---

void Agent::started(const std::string& task, const std::vector<sandbox::Phase>& phases) {
  Container* container = find(task, State::starting);
  if (!container) return;
  container->state = State::running;
  link::InstanceEvent event = eventOf(task, link::InstanceEvent::RUNNING);
  for (const sandbox::Phase& phase : phases) {
    link::Phase& added = *event.add_phases();
    added.set_name(phase.why.empty() ? phase.name : phase.name + ": " + phase.why);
    added.set_nanos(phase.took.count());
  }
  report(std::move(event));
}

void Agent::notStarted(const std::string& task, const Error& error) {
  Container* container = find(task, State::starting);
  if (!container) return;
  container->state = State::ended;
  if (!container->order->commit_as_image_id().empty()) reportBuild(*container->order, error);
  container->end = eventOf(task, link::InstanceEvent::EXITED);
  container->end->set_error(error.message);
  if (error.code == Code::aborted) container->end->set_exit_signal(SIGKILL);  // it is not the start that failed
  report(*container->end);
  hands_.remove(task);
}

void Agent::exited(const std::string& task, const sandbox::Exit& exit) {
  Container* container = find(task, State::running);
  if (!container) return;
  container->state = State::ended;
  container->killAt.reset();
  container->exit = exit;
  const link::StartInstance& order = *container->order;
  if (!order.commit_as_image_id().empty()) {
    if (exit.code == 0) return hands_.commit(order);
    reportBuild(order, makeError(Code::aborted, "the function ended with exit code {}", exit.code));
  }
  reportExit(task, *container);
  hands_.remove(task);
}

void Agent::committed(const std::string& task, const Result<link::ImageFacts>& facts) {
  Container* container = find(task, State::ended);
  if (!container) return;
  reportBuild(*container->order, facts);
  reportExit(task, *container);
  hands_.remove(task);
}

void Agent::removed(const std::string& task) { containers_.erase(task); }

void Agent::stop(Nanos grace) {
  stopping_ = true;
  for (auto& [task, container] : containers_) stop(task, container, grace);
}

void Agent::tick() {
  link_.tick();
  const Time now = clock_.now();
  for (auto& [task, container] : containers_) {
    if (!container.killAt || *container.killAt > now) continue;
    container.killAt.reset();
    hands_.kill(task);
  }
}

std::optional<Time> Agent::nextDeadline() const {
  std::optional<Time> next = link_.nextDeadline();
  for (const auto& [task, container] : containers_) {
    if (container.killAt && (!next || *container.killAt < *next)) next = container.killAt;
  }
  return next;
}

}  // namespace gridiron::worker
