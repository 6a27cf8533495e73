// What a worker says to control.
#include "wire/link.h"

#include "tests/fuzz/fuzz.h"

FUZZ(link) {
  using namespace gridiron;
  link::FromWorker message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const auto worker = wire::readWorker(message.hello(), Time{});
  if (worker.ok()) fuzz::require(!worker->id.value.empty(), "a worker has a name");
  (void)wire::readInstances(message.hello());
  (void)wire::readZygotes(message.zygotes());
  (void)wire::readPhases(message.instance());
  (void)wire::readPhases(message.start_detail());
  (void)wire::readExit(message.instance());
  (void)wire::readFacts(message.build().facts());
}
