#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "model/instance.h"
#include "model/worker.h"

namespace gridiron::edge {

// A part of the phase "import": a package, or a module of the app's own (less what it imports).
struct ImportPart {
  std::string name;
  bool own = false;
  Nanos took{};
  bool operator==(const ImportPart&) const = default;
};

// A phase of a start as people see it: "exec: WHY" of the worker's is "boot" with the note WHY; "import NAME" and "own
// import NAME" are parts of "import".
struct NotedPhase {
  std::string name, note;
  Nanos took{};
  std::vector<ImportPart> parts{};
};
std::vector<NotedPhase> notedPhases(const std::vector<StartPhase>& phases);

// The cold starts `starts` of one function by phase, in milliseconds: `{"starts": n, "total": {…}, "phases": [{"name",
// "count", "p50_ms", "p99_ms", "share", "note"}], "dearest": "…"}`. `share` is a phase's part of all that the starts
// took; `note` is why a boot was no fork, most often. "import" has `parts` where they are known: {"name", "own", …} as
// a phase, `share` of the import. `dearest` is for people: the dearest phase, and of an import the dearest part, with
// what is known of it; `leftOut` names modules that the function's zygotes do not have, with the reasons. A pure
// function.
nlohmann::json coldSummary(std::span<const Instance> starts, const std::vector<std::string>& leftOut);

}  // namespace gridiron::edge
