#include "model/call.h"
#include "model/instance.h"

namespace gridiron {

const char* nameOf(OutcomeStatus status) {
  switch (status) {
    case OutcomeStatus::unspecified:
      return "unspecified";
    case OutcomeStatus::success:
      return "success";
    case OutcomeStatus::failure:
      return "failure";
    case OutcomeStatus::terminated:
      return "terminated";
    case OutcomeStatus::timeout:
      return "timeout";
    case OutcomeStatus::initFailure:
      return "init failure";
    case OutcomeStatus::internalFailure:
      return "internal failure";
    case OutcomeStatus::idleTimeout:
      return "idle timeout";
    case OutcomeStatus::memoryEviction:
      return "memory eviction";
  }
  return "unknown";
}

const char* nameOf(InstanceState state) {
  switch (state) {
    case InstanceState::starting:
      return "starting";
    case InstanceState::ready:
      return "ready";
    case InstanceState::draining:
      return "draining";
    case InstanceState::gone:
      return "gone";
  }
  return "unknown";
}

}  // namespace gridiron
