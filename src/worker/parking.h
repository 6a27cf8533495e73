#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "sandbox/sandbox.h"
#include "worker/zygotes.h"

namespace gridiron::worker {

// Containers that are parked for the next starts: made in the background when a start of the same shape has settled,
// taken once and never put back. How many is learnt from the starts of the last minutes; together with the zygotes they
// keep within a limit of memory. Any thread; nothing but the destructor waits.
class Parking {
 public:
  // What containers have in common that a parked one can become.
  struct Shape {
    std::shared_ptr<const Zygotes::Kind> kind;
    sandbox::Spec spec;  // nothing of a program, no secrets; of its limits whether it is prompt, as the last one was
    std::string key() const;
  };
  // A parked container, with what was made for it.
  struct Slot {
    std::unique_ptr<sandbox::Parked> parked;
    Fd listener, imports;                     // as of Started
    std::string name;                         // its files are those of a container of this name
    std::shared_ptr<sandbox::Zygote> zygote;  // that it came from
  };
  struct Options {
    std::int64_t memoryBytes = 0;  // of zygotes and parked containers together; 0 = none is parked
    std::function<Result<Slot>(const Shape&, std::shared_ptr<sandbox::Zygote>)> make;  // blocks
    std::function<void(Slot)> discard;                                                 // blocks
  };

  // `zygotes` and `clock` outlive it.
  Parking(Zygotes& zygotes, const Clock& clock, Options options);
  ~Parking();  // discards what is parked

  // One that came from `zygote`, if there is one.
  std::optional<Slot> take(const Shape& shape, const std::shared_ptr<sandbox::Zygote>& zygote);
  // A container of the shape was started for `function`, and what it was started for is over: the time to park others.
  void started(const Shape& shape, const std::string& function);
  // The function is not what it was: what is parked of shapes that no other function had containers of is let go.
  void retire(const std::string& function);
  // Parks what is missing, lets go of what is of no use any more. Call it now and then.
  void tend();

  struct View {
    std::string kind;  // of the zygote that they came from
    int parked = 0;
    std::int64_t bytes = 0;
  };
  // By kind.
  std::vector<View> all() const;

  void settle();  // for tests: waits until nothing is being parked or discarded

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gridiron::worker
