#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace gridiron::worker {

// The memory snapshots of a worker: what main processes of containers were once, on disk, for later containers to go on
// from. Within a limit of space; what was used least lately goes first. Kept over restarts; what is half made is never
// offered and does not outlive a restart. Any thread; blocks for the disk. See docs/decisions/snapshots.md.
class Snapshots {
 public:
  struct Options {
    std::string directory;        // is made, for the machine's root alone: memory holds secrets
    std::int64_t spaceBytes = 0;  // of all together; 0 = there are none
    // What makes snapshots is at hand; when not, it is being fetched.
    std::function<bool()> ready = nullptr;
  };
  // Whose a snapshot is; `key` tells all that it depends on.
  struct Name {
    std::string app, function, definition, key;
  };

  // One that is kept. Its folders stay while anybody holds this.
  class Kept {
   public:
    Kept(std::string folder, Name name) : folder_(std::move(folder)), name_(std::move(name)) {}
    ~Kept();
    std::string images() const { return folder_ + "/images"; }    // Spec::images
    std::string changes() const { return folder_ + "/changes"; }  // a layer: what the container had changed
    const Name& name() const { return name_; }

   private:
    friend class Snapshots;
    const std::string folder_;
    const Name name_;
    std::atomic<bool> gone_ = false;  // it is offered no more
  };

  struct Impl;
  // One that is being made. What is in its folders goes with this, unless keep() takes it.
  class Making {
   public:
    Making(std::shared_ptr<Impl> all, Name name, std::string folder)
        : all_(std::move(all)), name_(std::move(name)), folder_(std::move(folder)) {}
    ~Making();
    std::string images() const { return folder_ + "/images"; }
    std::string changes() const { return folder_ + "/changes"; }
    const Name& name() const { return name_; }

   private:
    friend class Snapshots;
    const std::shared_ptr<Impl> all_;
    const Name name_;
    const std::string folder_;
  };

  explicit Snapshots(Options options);
  ~Snapshots();

  // What a start is to do: go on from `kept`, or make one, or neither.
  struct Offer {
    std::shared_ptr<const Kept> kept;
    std::unique_ptr<Making> making;
  };
  Offer offer(const Name& name);
  // Both its folders are complete. An error when it does not fit, or is no longer wanted.
  Result<void> keep(std::unique_ptr<Making> making);
  // To make it or to go on from it failed. Three times in a row retire it: the text is then for the app's log.
  std::optional<std::string> failed(const Name& name, const std::string& why);
  void worked(const Name& name);

  void forgetApp(const std::string& app);
  void forgetOlder(const std::string& function, const std::string& definition);
  std::vector<std::string> apps() const;  // that it has some of

  struct View {
    int kept = 0;
    std::int64_t bytes = 0;
    std::int64_t failures = 0;  // since the worker began
  };
  View view() const;

 private:
  std::shared_ptr<Impl> impl_;
};

// What the processes of this machine depend on besides what they are made of: kernel and processor.
std::string machineMarks();

}  // namespace gridiron::worker
