#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "image/image.h"
#include "sandbox/sandbox.h"

namespace gridiron::worker {

// The zygotes of a worker: one for each kind of container that starts here often enough, begun in the background, kept
// within a limit of memory and of their number, renewed daily and when more was learnt. Any thread; nothing but the
// destructor waits.
class Zygotes {
 public:
  struct Options {
    std::string program;           // guest/zygote.py on this host; "" = there are none
    std::string helper;            // guest/zygote.c, built
    std::string directory;         // what was learnt, a file a kind
    std::int64_t memoryBytes = 0;  // of all together; 0 = there are none
  };
  // What the containers of one zygote have in common.
  struct Kind {
    image::Built image;
    std::string clientVersion;
    std::vector<sandbox::Bind> packages;                           // the client's
    std::vector<std::pair<std::string, std::string>> environment;  // what all of them have
    std::string key() const;
  };
  // A zygote, or why there is none.
  struct Offer {
    std::shared_ptr<sandbox::Zygote> zygote;
    std::string why;
  };

  // `sandboxes` and `clock` outlive it.
  Zygotes(sandbox::Sandboxes& sandboxes, const Clock& clock, Options options);
  ~Zygotes();  // ends what is being started, and all zygotes that no container came from

  Offer offer(const Kind& kind);
  // A container of `kind` is up and done with its first input, or got none soon; until then it has imported the modules
  // `imports`, a name a line (others are passed over), which its zygote did not have. The time to begin a zygote, or a
  // better one.
  void ready(const Kind& kind, std::string_view imports);
  // Containers of `kind` are to be expected: one is begun unless there is one, or the memory for it would have to be
  // another's.
  void expect(const Kind& kind);

  // The zygote that offer() would give, without counting a start, and whether it is there to stay: another is neither
  // being made nor to be made.
  struct Current {
    std::shared_ptr<sandbox::Zygote> zygote;
    bool stays = false;
  };
  Current current(const Kind& kind) const;
  std::int64_t residentBytes() const;  // of all that live

  struct View {
    std::string kind;  // Kind::key()
    std::string imageId, clientVersion;
    std::int64_t residentBytes = 0;
    std::int64_t starts = 0;  // containers that it and those before it were offered to
    Time begunAt{};
    int parked = 0;  // containers that wait for the next starts: Parking's
    std::int64_t parkedBytes = 0;
    std::vector<std::string> leftOut;  // "grpc (known not to survive a fork)"
    bool operator==(const View&) const = default;
  };
  std::vector<View> all() const;  // those that live
  // Lets go of those that have ended or that nothing came from for a day. Call it now and then.
  void tend();

  // What all zygotes of a machine with so much memory may hold unless its owner says otherwise; 0 = it is too small.
  static std::int64_t memoryFor(std::int64_t machineBytes);

  void settle();  // for tests: waits until nothing is being started or ended

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
