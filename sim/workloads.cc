#include "sim/world.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

namespace {

Workload workload(const std::string& name, int memoryMb) {
  Workload w;
  w.name = name;
  w.function.id = FunctionId{"fu-" + name};
  w.function.app = AppId{"ap-" + name};
  w.function.tag = name;
  w.function.definitionId = DefinitionId{"de-0"};
  w.function.resources.memoryMb = memoryMb;
  w.function.timeout = 2h;  // no time-out may hide a lost input
  w.function.startupTimeout = 30s;
  w.function.scaling.scaledownWindow = 5s;
  return w;
}

}  // namespace

// All there are; a schedule takes some of them.
std::vector<Workload> allWorkloads() {
  std::vector<Workload> all;
  all.push_back(workload("plain", 200));
  all.push_back(workload("retried", 200));
  all.back().function.retries = RetryPolicy{2, 2.0, 500ms, 5s};
  all.back().raises = 30;
  all.back().poison = 15;
  all.push_back(workload("concurrent", 400));
  all.back().function.maxConcurrentInputs = 3;
  all.back().function.retries = RetryPolicy{1, 1.0, 200ms, 5s};
  all.back().raises = 20;
  all.push_back(workload("batched", 300));
  all.back().function.batching = Batching{3, 700ms};
  all.push_back(workload("crashing", 300));
  all.back().crashes = 15;
  all.back().outOfMemory = 5;
  all.back().startFails = 5;
  all.back().function.retries = RetryPolicy{3, 1.0, 1s, 5s};
  all.push_back(workload("deaf", 500));
  all.back().ignoresSignals = true;
  all.back().hangs = 25;
  all.back().function.timeout = 6s;
  all.push_back(workload("broken", 100));
  all.back().importFails = 60;
  all.push_back(workload("kept", 100));
  all.back().function.scaling.minContainers = 1;
  all.push_back(workload("once", 250));
  all.back().function.singleUse = true;
  all.back().function.scaling.maxContainers = 2;
  all.push_back(workload("slow", 300));
  all.back().inputs = 25;  // it fills the machines for minutes
  all.back().shortest = 5s;
  all.back().longest = 40s;
  all.push_back(workload("generator", 200));
  all.back().function.isGenerator = true;
  all.back().yields = 5;
  all.back().breaks = 5;
  all.push_back(workload("web", 250));
  all.back().kind = CallKind::web;
  all.back().function.web.kind = WebKind::asgiApp;
  all.back().function.maxConcurrentInputs = 2;
  all.back().yields = 4;
  all.back().breaks = 5;
  all.back().raises = 10;
  return all;
}

}  // namespace gridiron::sim
