#include "wire/link.h"

#include <google/protobuf/repeated_field.h>

#include <algorithm>
#include <chrono>

namespace gridiron::wire {

namespace {

void addVariables(const std::vector<std::pair<std::string, std::string>>& variables,
                  google::protobuf::RepeatedPtrField<link::Variable>& to) {
  for (const auto& [name, value] : variables) {
    link::Variable& added = *to.Add();
    added.set_name(name);
    added.set_value(value);
  }
}

}  // namespace

link::Mount toLink(const MountOrder& mount) {
  link::Mount message;
  message.set_mount_id(mount.id.value);
  for (const MountedFile& file : mount.files) {
    link::MountedFile& added = *message.add_files();
    added.set_path(file.path);
    added.set_sha256_hex(file.sha256Hex);
    added.set_mode(file.mode);
    added.set_size(file.size);
  }
  return message;
}

link::StartInstance toLink(const StartOrder& order) {
  link::StartInstance message;
  message.set_task_id(order.instance.value);
  message.set_function_id(order.function.value);
  message.set_image_id(order.image.value);
  message.set_client_version(order.clientVersion);
  message.set_needs_fastapi(order.needsFastapi);
  message.set_container_arguments(order.containerArguments);
  addVariables(order.environment, *message.mutable_environment());
  addVariables(order.secrets, *message.mutable_secrets());
  for (const MountOrder& mount : order.mounts) *message.add_mounts() = toLink(mount);
  message.set_workdir(order.workdir);
  message.set_milli_cpu(order.resources.milliCpu);
  message.set_prompt(order.prompt);
  message.set_memory_mb(order.resources.memoryMb);
  message.set_milli_cpu_limit(order.resources.milliCpuLimit);
  message.set_memory_limit_mb(order.resources.memoryLimitMb);
  for (const std::string& argument : order.argv) message.add_argv(argument);
  message.set_commit_as_image_id(order.commitAsImage.value);
  message.set_lane(order.lane);
  message.set_snapshot(order.snapshot);
  message.set_app_id(order.app.value);
  message.set_definition_id(order.definition.value);
  message.set_ports(order.ports);
  message.set_grace_ms(std::chrono::duration_cast<std::chrono::milliseconds>(order.grace).count());
  return message;
}

link::ImageFacts toLink(const image::Built& image) {
  link::ImageFacts facts;
  if (!image.pythonVersion.empty()) facts.set_python_version("Python " + image.pythonVersion);
  facts.set_libc_version(image.libc);
  facts.set_workdir(image.workdir);
  facts.set_builder_version(image.builderVersion);
  for (const auto& [name, version] : image.pythonPackages) (*facts.mutable_python_packages())[name] = version;
  for (const std::string& argument : image.entrypoint) facts.add_entrypoint(argument);
  for (const std::string& argument : image.command) facts.add_command(argument);
  return facts;
}

Result<Worker> readWorker(const link::WorkerHello& hello, Time connectedAt) {
  if (hello.worker_id().empty()) return makeError(Code::invalidArgument, "a worker's hello without its id");
  Worker worker;
  worker.id = WorkerId{hello.worker_id()};
  worker.host = hello.host();
  worker.milliCpu = hello.milli_cpu();
  worker.memoryMb = hello.memory_mb();
  worker.gpus.assign(hello.gpus().begin(), hello.gpus().end());
  worker.connectedAt = connectedAt;
  return worker;
}

std::vector<InstanceId> readInstances(const link::WorkerHello& hello) {
  std::vector<InstanceId> instances;
  for (const std::string& id : hello.task_ids()) instances.push_back(InstanceId{id});
  return instances;
}

std::vector<ZygoteView> readZygotes(const link::Zygotes& zygotes) {
  std::vector<ZygoteView> out;
  for (const link::Zygotes::Zygote& each : zygotes.zygotes()) {
    out.push_back({ImageId{each.image_id()},
                   each.client_version(),
                   each.memory_bytes(),
                   each.starts(),
                   Time(Nanos(each.begun_at_unix_nanos())),
                   each.parked(),
                   each.parked_bytes(),
                   {each.left_out().begin(), each.left_out().end()}});
  }
  return out;
}

std::vector<StartPhase> readPhases(const link::InstanceEvent& event) {
  std::vector<StartPhase> phases;
  for (const link::Phase& phase : event.phases()) phases.push_back({phase.name(), Nanos(phase.nanos())});
  return phases;
}

std::vector<StartPhase> readPhases(const link::StartDetail& detail) {
  constexpr int kMost = 32;
  std::vector<StartPhase> phases;
  for (const link::Phase& phase : detail.phases()) {
    if (static_cast<int>(phases.size()) < kMost)
      phases.push_back({phase.name(), std::max(Nanos(phase.nanos()), Nanos{0})});
  }
  return phases;
}

ExitInfo readExit(const link::InstanceEvent& event) {
  return ExitInfo{event.exit_code(), event.exit_signal(), event.out_of_memory(), event.error()};
}

ImageFacts readFacts(const link::ImageFacts& facts) {
  ImageFacts read;
  read.pythonVersion = facts.python_version();
  read.libcVersion = facts.libc_version();
  read.workdir = facts.workdir();
  read.pythonPackages.insert(facts.python_packages().begin(), facts.python_packages().end());
  read.entrypoint.assign(facts.entrypoint().begin(), facts.entrypoint().end());
  read.command.assign(facts.command().begin(), facts.command().end());
  return read;
}

}  // namespace gridiron::wire
