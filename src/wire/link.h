#pragma once

#include <vector>

#include "catalog/images.h"
#include "fleet/fleet.h"
#include "image/image.h"
#include "link.pb.h"
#include "model/instance.h"
#include "model/worker.h"

// The link's messages ⇄ our values.
namespace gridiron::wire {

link::StartInstance toLink(const StartOrder& order);
link::Mount toLink(const MountOrder& mount);
link::ImageFacts toLink(const image::Built& image);

// invalidArgument when it does not say who it is.
Result<Worker> readWorker(const link::WorkerHello& hello, Time connectedAt);
std::vector<InstanceId> readInstances(const link::WorkerHello& hello);
std::vector<ZygoteView> readZygotes(const link::Zygotes& zygotes);
std::vector<StartPhase> readPhases(const link::InstanceEvent& event);
// At most some dozens of them.
std::vector<StartPhase> readPhases(const link::StartDetail& detail);
ExitInfo readExit(const link::InstanceEvent& event);
ImageFacts readFacts(const link::ImageFacts& facts);

}  // namespace gridiron::wire
