#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/call.h"
#include "model/function.h"
#include "store/store.h"

namespace gridiron {

struct CallOptions {
  FunctionId function;
  CallKind kind = CallKind::unary;
  CallMode mode = CallMode::sync;
  bool returnExceptions = false;
  bool fromSpawnMap = false;
  InputId parent;
  std::string key;  // of the request, so that its repetition over a restart makes no second call; "": none
};

struct NewInput {
  int index = 0;
  Payload args;
  std::string method;
};

// An input whose failure the caller does not take as its result.
struct RetriedInput {
  int index = 0;
  int again = 0;  // which try of the caller's it shall be; 0: the one after the last
  Payload args;
  std::string method;
};

struct AcceptedInput {
  int index = 0;
  InputId id;
};

// What a container gets to run.
struct Lease {
  Input input;
  CallMode mode = CallMode::sync;
  CallKind kind = CallKind::unary;
};

struct OutputQuery {
  std::string after = "0-0";                   // entry id of the last output seen; "" is "0-0"
  std::optional<std::pair<int, int>> indices;  // only these of the caller's indices, both ends included
  bool clearOnSuccess = false;                 // the caller will not ask again: it may be forgotten in a few minutes
  int most = 0;                                // 0: no limit but `mostBytes`
  std::size_t mostBytes = 64u << 20;
};

struct OutputPage {
  std::vector<Output> outputs;  // in the order they were settled
  std::string lastEntryId;      // to go on from: "<sequence>-0"
  int unfinishedInputs = 0;
  bool finished = false;  // no output will follow
};

struct CallInfo {
  Call call;
  int inputs = 0;
  int unfinished = 0;
  int succeeded = 0;
  int failed = 0;     // all others that have ended; of those:
  int cancelled = 0;  //   by a caller
  int timedOut = 0;   //   by the function's timeout
};

// What plan/ reads: the work that waits and runs for one function.
struct Demand {
  FunctionId function;
  int queued = 0;   // may start now
  int running = 0;  // with a container
  Time oldestQueued{};
  bool operator==(const Demand&) const = default;
};

// in: request bodies to the container. out: what it yields or answers.
enum class Direction { in, out };

// Was the loss of a container its own doing (a crash: costs an attempt) or the grid's (stopped, worker lost: does not,
// some times)? restart: control forgot it, which is not counted at all.
enum class Blame { container, grid, restart };

enum class Settled { accepted, stale };
enum class Terminate { no, containers };

// Told of changes after they were made. Loop thread; must not call back into Calls but may note, wake and post. The
// inputs come without their args.
class CallsObserver {
 public:
  virtual ~CallsObserver() = default;
  // The function has something to lease, or one of its inputs became due.
  virtual void inputsQueued(const FunctionId&) {}
  virtual void inputStarted(const Input&) {}
  // Attempt over. `final`: the output is the input's; else it will run again.
  virtual void inputEnded(const Input&, const Outcome&, bool /*final*/) {}
  virtual void outputsReady(const CallId&) {}
  virtual void dataReady(const CallId&, Direction) {}
  // takeCancelled(instance) has something.
  virtual void cancelWanted(const InstanceId&) {}
  // An input ran out of time, or was cancelled with its container: the container must be interrupted.
  virtual void interruptWanted(const InstanceId&, const std::string& /*why*/) {}
};

// A call's life from accepted to settled. Knows nothing of machines: containers are names that lease and settle, and
// whoever knows that one is gone says so by abandon(). Inputs of unary and map calls are in the store before put()
// returns and their outputs before settle() does (on disk: see Store); web calls live in memory only. Loop thread only.
class Calls {
 public:
  struct Options {
    std::int64_t queueInputs = 1'000'000;                      // waiting ones of one function
    std::int64_t queueWorkspaceInputs = 2'000'000;             // of all functions of a workspace
    std::int64_t queueWorkspaceBytes = std::int64_t{4} << 30;  // of the args of its inputs that are not settled
    std::size_t streamBound = 64u << 20;                       // bytes waiting in one direction of one call
    int lossesAllowed = 3;                                     // of containers, without fault of the input
    Nanos keepResults = std::chrono::hours(24 * 7);            // in the store
    Nanos keepInMemory = std::chrono::minutes(10);             // finished and not asked for
  };
  Calls(Store& store, const Functions& functions, const Clock& clock);
  Calls(Store& store, const Functions& functions, const Clock& clock, Options options);
  ~Calls();

  void observe(CallsObserver& observer);  // must outlive this; told once, however often it is given
  // After a restart: takes the unfinished calls from the store. Containers go on holding what they were noted to hold
  // (see holders); what else ran is queued again. Once, before the rest.
  Result<void> load();
  // Containers that hold inputs. After load: those that must be there still, or be abandoned.
  std::vector<InstanceId> holders() const;

  // A call of a function that exists (else notFound). Unary and web calls take one input, maps any number. An
  // unfinished call of before a restart that was made with the same key is given again.
  Result<CallId> open(const CallOptions& options);
  // All or none. exhausted when a queue is full (the text has its depth and bound); an index seen before gives the id
  // it got then. notFound, failedPrecondition (cancelled) otherwise.
  // `also` is stored with them, or not at all.
  Result<std::vector<AcceptedInput>> put(const CallId& call, std::vector<NewInput> inputs, Batch also = {});
  // Runs settled inputs of the call again: each gets a successor at its index, whose output takes the place of the one
  // that was, with a later entry. All or none. What runs already, or is of a later try than is asked for, is left and
  // its id given. notFound for an index that never was, exhausted and failedPrecondition as for put.
  Result<std::vector<AcceptedInput>> retry(const CallId& call, std::vector<RetriedInput> wanted);
  // No inputs will follow the `count` ones.
  Result<void> finishInputs(const CallId& call, int count);

  // Hands out up to `most` queued inputs of `function`, oldest first. A batched function gets a batch of one method as
  // soon as it is full or has lingered; then `most` is not looked at. A container whose slots are all taken and that
  // asks again has lost our answer: it gets the same ones. So does one that asks with the `ticket` of its last question
  // (it asks one at a time, the same one until it is answered); a question from before that gets nothing. Empty:
  // nothing to do (yet; see nextDeadline).
  std::vector<Lease> lease(const InstanceId& instance, const FunctionId& function, int most = 1,
                           const std::string& ticket = {});
  // Hands out this one input, for a way to the container that is not its asking: lease does not give it again, and
  // nothing but `inputEnded` tells when it is ended without the container. Its request may have gone out, so it is
  // never run again. Nothing when it does not wait (any more), when the container has no slot, or when what has waited
  // longest for the function came by no door: the container is to ask for that first.
  std::optional<Lease> take(const InstanceId& instance, const InputId& input);
  // Has what waited longest for the function come by the door?
  bool isWebNext(const FunctionId& function) const;
  // The store learns who holds what has run for two seconds, so that a restart need not run it again. Call every
  // second.
  void noteLeases();
  // Does the store know who holds the input? Then it would hold it after a restart, too, and who has been told that its
  // output came must not be asked for it again: that answer waits until the output is durable.
  bool leaseIsNoted(const InputId& id) const;
  // `instance` says that it has run `attempt` of the input. If its lease was forgotten with a restart and nobody else
  // has had the input since, it holds it (again).
  void reclaim(const InstanceId& instance, const FunctionId& function, const InputId& input, int attempt);
  // The outcome of an input that `instance` holds, exactly once. stale: it does not hold it (any more); nothing was
  // changed and there is no use in trying again; also when `attempt` is told and is not the one that runs. An Error:
  // not stored, try again.
  Result<Settled> settle(const InstanceId& instance, const InputId& input, Outcome outcome,
                         std::optional<int> attempt = std::nullopt);
  // `instance` is no more and what it held did not end: it is run again or gets internalFailure with `why`.
  void abandon(const InstanceId& instance, const std::string& why, Blame blame);
  // Every waiting input of the function ends so (its containers cannot start).
  void failWaiting(const FunctionId& function, const Outcome& outcome);

  // notFound when there is no such call or it was forgotten.
  Result<OutputPage> outputs(const CallId& call, const OutputQuery& query);
  Result<CallInfo> info(const CallId& call);
  // An input that is not settled, without its args.
  std::optional<Input> input(const InputId& id) const;
  // Of the function's inputs that are not settled: those that run, and of each call the newest that wait, newest calls
  // first; `most` in all. Without their args.
  std::vector<Input> unsettled(const FunctionId& function, int most) const;
  // What waits is settled as terminated at once, what runs too, and its container is told (takeCancelled) or, with
  // Terminate::containers, interrupted. Nothing happens to a finished call.
  Result<void> cancel(const CallId& call, Terminate terminate = Terminate::no);
  // The door is done with a web call: cancels what is left of it and forgets it.
  void close(const CallId& call);
  // Inputs that `instance` runs and shall stop. What it does not end is told again, a second later at the earliest.
  std::vector<InputId> takeCancelled(const InstanceId& instance);

  std::vector<Demand> demand() const;  // functions with something queued or running
  Demand demandOf(const FunctionId& function) const;
  int heldBy(const InstanceId& instance) const;  // inputs it has not settled
  // The input that runs alone in the container: whose the lines are that it prints now.
  std::optional<Input> currentInput(const InstanceId& instance) const;

  // The call's data streams. Pushing a chunk of an index seen before is ignored, one out of order is invalidArgument, a
  // full stream is exhausted: try again when the reader has acknowledged. A chunk with index 0 gets the next one.
  // `from`: the container that yields them; failedPrecondition when another has the call's input now.
  Result<void> push(const CallId& call, Direction direction, std::vector<DataChunk> chunks,
                    const InstanceId& from = {});
  // Chunks with an index above `after`. notFound as for outputs; dataLoss when the call ended well before a
  // restart: streams are in memory only.
  Result<std::vector<DataChunk>> read(const CallId& call, Direction direction, std::int64_t after) const;
  // The reader has those up to `upTo` for good.
  void acknowledge(const CallId& call, Direction direction, std::int64_t upTo);

  // Does what is due: retries, time-outs, lingering batches, forgetting. Call at nextDeadline (and whenever you like).
  void expire();
  std::optional<Time> nextDeadline() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// "<sequence>-0" ↔ sequence; anything unreadable is 0.
std::string entryId(std::int64_t sequence);
std::int64_t sequenceOf(const std::string& entryId);

}  // namespace gridiron
