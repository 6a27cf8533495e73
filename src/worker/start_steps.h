#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "link.pb.h"
#include "sandbox/sandbox.h"
#include "worker/image_shelf.h"
#include "worker/parking.h"
#include "worker/snapshots.h"
#include "worker/zygotes.h"

namespace gridiron::worker {

// Runs the named steps of something and remembers how long each took. A failed step's error carries its name.
class Steps {
 public:
  template <class Step>
  auto run(const std::string& name, Step&& step) -> decltype(step()) {
    const auto begun = std::chrono::steady_clock::now();
    auto result = step();
    add(name, std::chrono::steady_clock::now() - begun);
    if (!result.ok()) return result.error().within(name);
    return result;
  }
  void add(std::string name, Nanos took, std::string why = {}) {
    phases_.push_back({std::move(name), took, std::move(why)});
  }
  const std::vector<sandbox::Phase>& phases() const { return phases_; }

 private:
  std::vector<sandbox::Phase> phases_;
};

// Where a start finds and puts things.
struct StartSetting {
  sandbox::Sandboxes* sandboxes = nullptr;
  ImageShelf* images = nullptr;
  std::string dataDirectory;
  int containerPort = 0;
  Zygotes* zygotes = nullptr;      // nullptr: all starts are plain
  Parking* parking = nullptr;      // nullptr: no container is there before it is wanted
  std::string laneProgram{};       // guest/fast_lane.py
  Snapshots* snapshots = nullptr;  // nullptr: there are none
  std::string snapshotProgram{};   // guest/snapshot.py
  std::string snapshotMarks{};     // of all that a process depends on and no order names
};

// A started container.
struct Started {
  std::unique_ptr<sandbox::Sandbox> sandbox;
  Fd listener;                                  // at 127.0.0.1:containerPort inside it
  std::shared_ptr<const Parking::Shape> shape;  // of one that could come from a zygote
  Fd imports;                                   // a fork writes the names of the modules that it imports to it
  std::string name;                             // its files are those of a container of this name
  bool ports = false;                           // what listens in it is to be reached
  std::shared_ptr<const Snapshots::Kept> kept;  // what it goes on from
  std::unique_ptr<Snapshots::Making> making;    // what is to be made of it, when it asks for that
};

// Whether a start may have to do with memory snapshots.
enum class UseSnapshots { no, yes };

// The environment of a container of `order` on `image`: the image's, under the order's, under its secrets, under what
// the client's entrypoint relies on.
std::vector<std::pair<std::string, std::string>> environmentOf(const link::StartInstance& order,
                                                               const image::Built& image, int containerPort);

// Where the files of a container of that name are.
std::string containerDirectory(const StartSetting& setting, const std::string& name);

// Where the changes of a container are kept when an image is to be made of them.
std::string changesDirectory(const StartSetting& setting, const std::string& taskId);

// Starts the container that `order` asks for over the image's layers and `mounts` (directories, topmost first). Blocks;
// any thread. On failure nothing is left behind. Progress that is worth telling (a client package being fetched) goes
// to `log`.
Result<Started> startContainer(const StartSetting& setting, const link::StartInstance& order,
                               const std::vector<std::string>& mounts, Steps& steps, const image::BuildLog& log,
                               UseSnapshots use = UseSnapshots::yes);

// Makes a snapshot of what `sandbox` runs, which waits and has no connections: `making` is complete after that. It
// waits on. Blocks for as long as writing its memory takes.
Result<void> makeSnapshot(const StartSetting& setting, sandbox::Sandbox& sandbox, const Snapshots::Making& making);
// What a container waits for that asked for a snapshot, or that goes on from one: it is the container `taskId`.
Result<void> letGoOn(const StartSetting& setting, const std::string& taskId);

// Parks a container of `shape` that comes from `zygote`. Blocks; any thread. On failure nothing is left behind.
Result<Parking::Slot> parkContainer(const StartSetting& setting, const Parking::Shape& shape,
                                    std::shared_ptr<sandbox::Zygote> zygote);
void discardParked(const StartSetting& setting, Parking::Slot slot);

// Has the zygote begun that containers of the image would come from, unless there is one. Any thread; may wait for the
// client's package.
void prepareZygote(const StartSetting& setting, const link::PrepareImage& expected);

// Removes what was laid down for the container `name` beside the sandbox. Blocks.
void removeContainerFiles(const StartSetting& setting, const std::string& name);

}  // namespace gridiron::worker
