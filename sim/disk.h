#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "store/store.h"

namespace gridiron::sim {

// A store on a disk that obeys the simulator: a change is seen at once and durable when sync() says so; a crash forgets
// the others. It is also a witness: a second output of an input that does not say what the first said is reported.
class Disk final : public Store {
 public:
  Disk();

  using Complain = std::function<void(std::string)>;
  void onWrong(Complain complain) { complain_ = std::move(complain); }

  enum class Mood { well, full, failing };  // failing: every other change is refused
  void setMood(Mood mood) { mood_ = mood; }
  Mood mood() const { return mood_; }
  void sync(Mark upTo) { memory_->sync(upTo); }
  void hideInstances(bool hidden) { hidden_ = hidden; }  // a bug's
  void crash() { memory_->crash(); }                     // what was not durable is gone

  Result<void> apply(const Batch& batch) override;
  Mark written() const override { return memory_->written(); }
  Mark durable() const override { return memory_->durable(); }
  void onDurable(std::function<void()> advanced) override { memory_->onDurable(std::move(advanced)); }
  void hurry(Mark) override {}  // the simulator says when
  void flush() override { memory_->flush(); }
  std::uint64_t syncs() const override { return memory_->syncs(); }
  Result<std::optional<Object>> get(const std::string& kind, const std::string& id) override {
    return memory_->get(kind, id);
  }
  Result<std::optional<Object>> find(const std::string& kind, const std::string& workspace,
                                     const std::string& environment, const std::string& name) override {
    return memory_->find(kind, workspace, environment, name);
  }
  Result<std::vector<Object>> list(const ObjectQuery& query) override { return memory_->list(query); }
  Result<std::optional<StoredCall>> call(const CallId& id) override { return memory_->call(id); }
  Result<std::vector<CallId>> unfinishedCalls() override { return memory_->unfinishedCalls(); }
  Result<std::vector<CallId>> callsBy(const InputId& parent) override { return memory_->callsBy(parent); }
  Result<std::vector<LogEntry>> logs(const LogQuery& query) override { return memory_->logs(query); }
  Result<std::vector<LogBucket>> countLogs(const LogQuery& query, Nanos width) override {
    return memory_->countLogs(query, width);
  }
  Result<std::optional<Instance>> instance(const InstanceId& id) override { return memory_->instance(id); }
  Result<std::vector<Instance>> instances(const AppId& app, bool liveOnly, int limit) override {
    if (hidden_) return std::vector<Instance>();
    return memory_->instances(app, liveOnly, limit);
  }
  Result<std::vector<UsageRecord>> usage(const UsageQuery& query) override { return memory_->usage(query); }
  Result<bool> prune(Time, Time) override { return false; }  // schedules are shorter than anything is kept

 private:
  std::unique_ptr<CrashingStore> memory_;
  Mood mood_ = Mood::well;
  int refused_ = 0;
  bool hidden_ = false;
  Complain complain_;
};

}  // namespace gridiron::sim
