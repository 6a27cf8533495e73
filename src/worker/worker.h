#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/loop.h"
#include "sandbox/sandbox.h"
#include "worker/image_shelf.h"

namespace gridiron::worker {

struct Options {
  std::string controlUrl;      // "http://127.0.0.1:8400", "https://grid.example.com"
  std::string caFile;          // for https, "" = the system's
  std::string workerId;        // stays the same over restarts
  std::string secret;          // the grid's worker secret; never logged
  std::string host;            // name to show; "" = the machine's
  std::string dataDirectory;   // containers' arguments and changes; on one file system with the images
  std::string cacheDirectory;  // files and mounts by content
  std::int64_t milliCpu = 0;   // 0 = the machine's
  std::int64_t memoryMb = 0;   // 0 = the machine's
  std::vector<std::string> gpus;
  int containerPort = 8401;            // of the door each container finds at its own 127.0.0.1
  int startThreads = 8;                // starts at once
  int builds = 2;                      // image builds at once
  std::string laneProgram;             // guest/fast_lane.py; "" = no container has a lane
  std::string zygoteProgram;           // guest/zygote.py; "" = every start is plain
  std::string zygoteHelper;            // guest/zygote.c, built
  std::string snapshotProgram;         // guest/snapshot.py; "" = there are no memory snapshots
  std::int64_t snapshotBytes = 0;      // of all snapshots together, on disk; 0 = there are none
  std::string criuRoot;                // a tree with usr/sbin/criu; fetched when it is not there and the machine's own
  bool fetchCriu = false;              // the shelf knows how to fetch it
  std::int64_t zygoteMemoryBytes = 0;  // of all zygotes together; 0 = every start is plain
};

// The agent of one machine. Constructed, then `spawn(io, worker.run())`; everything happens on io's thread but the
// blocking parts of starts and builds, which run on threads of its own. `sandboxes` and `images` outlive it.
class Worker {
 public:
  Worker(asio::io_context& io, Options options, sandbox::Sandboxes& sandboxes, ImageShelf& images);
  ~Worker();  // kills what still runs and joins its threads

  // Keeps a session with control, reconnecting with back-off, and executes its commands until stop().
  Task<void> run();
  // Takes no new starts, stops every container (SIGTERM, after `grace` SIGKILL), reports their ends, leaves control.
  Task<void> stop(Nanos grace);

  std::size_t containers() const;  // running or on their way up or down

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
