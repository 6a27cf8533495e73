#include "calls/ledger.h"

#include <algorithm>

namespace gridiron {
namespace {

constexpr Nanos kUnsavedFor = std::chrono::hours(24);  // nothing but memory has it

// How many of the line, which are in the order of their places, the doom spares: at its head and at its tail.
int sparedOf(const InputQueue::Doom& doom, const Line& line) {
  int spared = 0;
  const InputEntry* entry = line.head;
  for (; entry && !doom.covers(entry->place); entry = entry->behind) ++spared;
  if (!entry) return spared;
  for (entry = line.tail; entry && !doom.covers(entry->place); entry = entry->before) ++spared;
  return spared;
}

}  // namespace

std::string orderedId(const char* prefix, Time now) {
  constexpr std::string_view kOrdered = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string time(8, '0');
  auto rest = now.time_since_epoch() / std::chrono::microseconds(100);
  for (auto digit = time.rbegin(); digit != time.rend(); ++digit, rest /= 62) {
    *digit = kOrdered[static_cast<std::size_t>(rest % 62)];
  }
  return fmt::format("{}-{}{}", prefix, time, randomAlnum(14));
}

Input InputEntry::describe() const {
  Input input;
  input.id = id;
  input.call = call->call.id;
  input.function = queue->id;
  input.index = index;
  input.method = method;
  input.state = state;
  input.attempt = attempt;
  input.losses = losses;
  input.again = again;
  if (holder) input.instance = holder->id;
  input.createdAt = createdAt;
  input.queuedAt = queuedAt;
  input.startedAt = startedAt;
  return input;
}

InputEntry* InOrder::next() {
  while (next_ != end_ && (open_.empty() || next_->first < open_.begin()->first)) {
    open_.emplace(next_->first, next_->second->line.head);
    ++next_;
  }
  if (open_.empty()) return nullptr;
  auto* entry = open_.begin()->second;
  open_.erase(open_.begin());
  if (entry->behind) open_.emplace(entry->behind->place, entry->behind);
  return entry;
}

// --- looking up ---

CallEntry* Calls::Impl::find(const CallId& id) const {
  const auto it = calls.find(id.value);
  return it == calls.end() ? nullptr : it->second.get();
}

InputEntry* Calls::Impl::find(const InputId& id) const {
  const auto it = inputs.find(id.value);
  return it == inputs.end() ? nullptr : it->second.get();
}

InputQueue& Calls::Impl::queueOf(const FunctionId& id) {
  auto& queue = queues[id];
  if (auto newest = functions.find(id)) queue.function = std::move(newest);
  if (!queue.workspace) {
    queue.id = id;
    queue.workspace = &workspaces[queue.function ? queue.function->workspace : ""];
  }
  return queue;
}

void Calls::Impl::forgetIdleQueue(InputQueue& queue) {
  if (queue.idle()) queues.erase(FunctionId(queue.id));
}

Result<CallEntry*> Calls::Impl::reach(const CallId& id) {
  if (auto* entry = find(id)) return entry;
  ASSIGN_OR_RETURN(auto stored, store.call(id));
  if (!stored) return makeError(Code::notFound, "function call '{}' not found or expired", id.value);
  return adopt(std::move(*stored));
}

CallEntry* Calls::Impl::adopt(StoredCall stored) {
  auto owned = std::make_unique<CallEntry>();
  auto& entry = *owned;
  entry.call = std::move(stored.call);
  entry.saved = entry.adopted = true;
  entry.unlined = entry.call.cancelled;
  entry.touched = clock.now();
  entry.outputs = std::move(stored.outputs);
  calls.emplace(entry.call.id.value, std::move(owned));
  for (const auto& output : entry.outputs) entry.byIndex[output.index].sequence = output.sequence;
  for (auto& input : stored.inputs) {
    if (input.state == InputState::settled) continue;
    const bool later = input.state == InputState::delayed && input.queuedAt > clock.now();
    const bool held = input.state == InputState::running && !input.instance.empty() && mayGoOn(input.function);
    const auto instance = input.instance;
    const auto startedAt = input.startedAt;
    auto& queue = queueOf(input.function);
    auto& added = addInput(entry, queue, std::move(input));
    added.forgotten = true;
    if (later) {
      delay(added);
    } else if (held) {
      added.place = back++;
      added.state = InputState::running;
      added.startedAt = startedAt;
      hold(holderOf(instance, queue), added);
      added.noted = true;
    } else {
      enqueue(added, back++);
    }
  }
  for (const auto& output : entry.outputs) {
    const auto& slot = entry.byIndex.at(output.index);
    if (slot.open || slot.sequence != output.sequence) {
      ++entry.replaced;
    } else {
      entry.count(output.outcome.status);
    }
  }
  if (entry.call.cancelled && entry.unfinished > 0) ending.insert(entry.call.id);
  noteIdle(entry);
  return &entry;
}

InputEntry& Calls::Impl::addInput(CallEntry& call, InputQueue& queue, Input input) {
  auto owned = std::make_unique<InputEntry>();
  auto& entry = *owned;
  entry.id = std::move(input.id);
  entry.call = &call;
  entry.queue = &queue;
  entry.args = std::move(input.args);
  entry.method = std::move(input.method);
  entry.index = input.index;
  entry.attempt = input.attempt;
  entry.losses = input.losses;
  entry.again = input.again;
  entry.createdAt = input.createdAt;
  entry.queuedAt = input.queuedAt;
  inputs.emplace(entry.id.value, std::move(owned));
  call.byIndex[entry.index].open = &entry;
  ++call.unfinished;
  weigh(queue, 0, std::ssize(entry.args.data));
  noteIdle(call);
  return entry;
}

void Calls::Impl::erase(CallEntry& call) {
  if (call.forgetting) forgetting.erase(*call.forgetting);
  ending.erase(call.call.id);
  calls.erase(std::string(call.call.id.value));
}

void Calls::Impl::noteIdle(CallEntry& call) {
  const bool idle = call.unfinished == 0 && call.unsaid == 0;
  if (idle == call.forgetting.has_value()) return;
  if (idle) {
    call.forgetting = forgetting.emplace(call.touched + keepOf(call), &call);
  } else {
    forgetting.erase(*std::exchange(call.forgetting, std::nullopt));
  }
}

Nanos Calls::Impl::keepOf(const CallEntry& call) const {
  return call.saved ? options.keepInMemory : std::max(options.keepInMemory, kUnsavedFor);
}

void Calls::Impl::forgetAt(CallEntry& call, Time when) {
  if (call.forgetting) forgetting.erase(*call.forgetting);
  call.forgetting = forgetting.emplace(when, &call);
}

// --- moving inputs between states ---

void Calls::Impl::weigh(InputQueue& queue, int inputs, std::int64_t bytes) {
  for (auto* load : {&queue.load, queue.workspace}) {
    load->inputs += inputs;
    load->bytes += bytes;
  }
}

void Calls::Impl::enqueue(InputEntry& entry, std::int64_t place) {
  auto& queue = *entry.queue;
  auto& call = *entry.call;
  auto& line = call.line;
  entry.place = place;
  entry.state = InputState::queued;
  weigh(queue, +1, 0);
  if (call.unlined) {
    ++queue.unlined;
    return;
  }
  // Places grow at the back and fall at the front, so a line stays in their order.
  if (!line.head) {
    line.head = line.tail = &entry;
    queue.lines.emplace(place, &call);
  } else if (place < line.head->place) {
    queue.lines.erase(line.head->place);
    queue.lines.emplace(place, &call);
    entry.behind = line.head;
    line.head = line.head->before = &entry;
  } else {
    entry.before = line.tail;
    line.tail = line.tail->behind = &entry;
  }
  ++line.count;
  ++queue.waiting;
  if (queue.doom && queue.doom->covers(place)) ++queue.doom->inLine;
  noteLinger(queue);
}

void Calls::Impl::leaveLine(InputEntry& entry) {
  auto& queue = *entry.queue;
  auto& line = entry.call->line;
  if (line.head == &entry) {
    queue.lines.erase(entry.place);
    if (entry.behind) queue.lines.emplace(entry.behind->place, entry.call);
  }
  (entry.before ? entry.before->behind : line.head) = entry.behind;
  (entry.behind ? entry.behind->before : line.tail) = entry.before;
  entry.before = entry.behind = nullptr;
  --line.count;
  --queue.waiting;
  if (queue.doom && queue.doom->covers(entry.place)) --queue.doom->inLine;
  noteLinger(queue);
}

void Calls::Impl::unlineAll(CallEntry& call) {
  call.unlined = true;
  const auto line = std::exchange(call.line, Line{});
  if (!line.head) return;
  auto& queue = *line.head->queue;
  queue.lines.erase(line.head->place);
  queue.waiting -= line.count;
  queue.unlined += line.count;
  if (queue.doom) queue.doom->inLine -= line.count - sparedOf(*queue.doom, line);
  noteLinger(queue);
}

void Calls::Impl::delay(InputEntry& entry) {
  auto& queue = *entry.queue;
  const auto before = queue.firstDue();
  entry.state = InputState::delayed;
  entry.place = back++;
  weigh(queue, +1, 0);
  queue.delayed.emplace(std::pair(entry.queuedAt, entry.place), &entry);
  noteDue(queue, before);
}

void Calls::Impl::unlink(InputEntry& entry) {
  auto& queue = *entry.queue;
  if (entry.state == InputState::queued) {
    weigh(queue, -1, 0);
    if (entry.call->unlined) {
      --queue.unlined;
    } else {
      leaveLine(entry);
    }
  } else if (entry.state == InputState::delayed) {
    weigh(queue, -1, 0);
    const auto before = queue.firstDue();
    queue.delayed.erase({entry.queuedAt, entry.place});
    noteDue(queue, before);
  } else if (entry.state == InputState::running) {
    timeouts.erase({entry.deadline, entry.place});
    entry.holder = nullptr;
  }
}

void Calls::Impl::release(Holder& holder, const InputId& id) {
  std::erase(holder.held, id);
  std::erase(holder.toCancel, id);
  std::erase(holder.told, id);
  holder.taken.erase(id);
  holder.settledWithout.erase(id);
  --holder.queue->running;
  forgetIdleQueue(*holder.queue);
}

void Calls::Impl::noteLinger(InputQueue& queue) {
  if (!queue.function || queue.function->batching.maxSize <= 1 || queue.waiting == 0) {
    if (!lingering.empty()) lingering.erase(queue.id);
    return;
  }
  lingering[queue.id] = queue.head()->queuedAt + queue.function->batching.linger;
}

void Calls::Impl::noteDue(InputQueue& queue, std::optional<Time> before) {
  const auto now = queue.firstDue();
  if (now == before) return;
  if (before) due.erase({*before, queue.id});
  if (now) due.emplace(*now, queue.id);
}

}  // namespace gridiron
