#include "worker/start_steps.h"

#include <filesystem>
#include <map>

namespace gridiron::worker {

namespace fs = std::filesystem;

namespace {

constexpr const char* kArgumentsPath = "/__modal/container_arguments.bin";
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string containerDirectory(const StartSetting& setting, const std::string& taskId) {
  return setting.dataDirectory + "/containers/" + taskId;
}

std::vector<std::string> argvOf(const link::StartInstance& order, const image::Built& image) {
  if (order.argv_size() > 0) return {order.argv().begin(), order.argv().end()};
  // An image's ENTRYPOINT runs in front, as it would for `docker run`: it prepares and then executes its arguments.
  std::vector<std::string> argv = image.entrypoint;
  argv.insert(argv.end(), {image.pythonPath, "-m", "modal._container_entrypoint"});
  return argv;
}

std::string workdirOf(const link::StartInstance& order, const image::Built& image) {
  if (!order.workdir().empty()) return order.workdir();
  return image.workdir.empty() ? "/root" : image.workdir;
}

void addPackages(const image::Images::ClientPackage& packages, sandbox::Spec& spec) {
  const auto bind = [&spec](const std::string& source, const char* target) {
    if (!source.empty()) spec.binds.push_back({source, target, true});
  };
  bind(packages.pkg, "/pkg");
  bind(packages.dependencies, "/__modal/deps");
  bind(packages.extras, "/__modal/extras");
}

// The file may be read by the container's root only; it may hold a user's parameters.
Result<void> layDownArguments(const StartSetting& setting, const link::StartInstance& order, sandbox::Spec& spec) {
  const std::string directory = containerDirectory(setting, order.task_id());
  RETURN_IF_ERROR(makeDirectories(directory, 0700));
  const std::string path = directory + "/container_arguments.bin";
  RETURN_IF_ERROR(writeFileAtomic(path, order.container_arguments(), 0600, Durable::no));
  spec.binds.push_back({path, kArgumentsPath, true});
  return {};
}

sandbox::Spec specOf(const StartSetting& setting, const link::StartInstance& order, const image::Built& image,
                     const std::vector<std::string>& mounts) {
  sandbox::Spec spec;
  spec.name = order.task_id();
  spec.lowers = mounts;
  spec.lowers.insert(spec.lowers.end(), image.layers.begin(), image.layers.end());
  spec.argv = argvOf(order, image);
  spec.environment = environmentOf(order, image, setting.containerPort);
  spec.workdir = workdirOf(order, image);
  spec.hostname = "modal";
  spec.limits.memoryBytes = order.memory_limit_mb() * 1024 * 1024;
  spec.limits.milliCpu = order.milli_cpu_limit();
  if (!order.commit_as_image_id().empty()) spec.upper = changesDirectory(setting, order.task_id());
  return spec;
}

Result<void> checkOrder(const link::StartInstance& order, const image::Built& image) {
  if (order.argv_size() == 0 && image.pythonPath.empty()) {
    return makeError(Code::failedPrecondition, "image {} has no Python to run a function with", image.imageId);
  }
  if (order.task_id().empty() || order.task_id().find('/') != std::string::npos) {
    return makeError(Code::invalidArgument, "'{}' is no task id", order.task_id());
  }
  return {};
}

Result<Started> startInSandbox(const StartSetting& setting, const sandbox::Spec& spec, Steps& steps) {
  if (!spec.upper.empty()) RETURN_IF_ERROR(makeDirectories(spec.upper));
  Fd listener;
  const auto prepare = [&](sandbox::Sandbox& sandbox) -> Result<void> {
    ASSIGN_OR_RETURN(listener, sandbox.listenInside(setting.containerPort));
    return {};
  };
  auto started = setting.sandboxes->start(spec, prepare);
  if (!started.ok()) return started.error();
  for (const sandbox::Phase& phase : (*started)->phases()) steps.add(phase.name, phase.took);
  return Started{std::move(*started), std::move(listener)};
}

}  // namespace

std::string changesDirectory(const StartSetting& setting, const std::string& taskId) {
  return containerDirectory(setting, taskId) + "/changes";
}

std::vector<std::pair<std::string, std::string>> environmentOf(const link::StartInstance& order,
                                                               const image::Built& image, int containerPort) {
  std::map<std::string, std::string> all{{"PATH", kDefaultPath}, {"HOME", "/root"}, {"PYTHONUNBUFFERED", "1"}};
  for (const auto& [name, value] : image.environment) all[name] = value;
  for (const link::Variable& variable : order.environment()) all[variable.name()] = variable.value();
  for (const link::Variable& secret : order.secrets()) all[secret.name()] = secret.value();
  const auto pythonPath = all.find("PYTHONPATH");
  const std::string own = pythonPath == all.end() || pythonPath->second.empty() ? "" : ":" + pythonPath->second;
  all["PYTHONPATH"] = "/root:/pkg" + own;
  all["MODAL_SERVER_URL"] = fmt::format("http://127.0.0.1:{}", containerPort);
  all["MODAL_CONTAINER_ARGUMENTS_PATH"] = kArgumentsPath;
  all["MODAL_IS_REMOTE"] = "1";
  all["MODAL_TASK_ID"] = order.task_id();
  all["MODAL_IMAGE_ID"] = order.image_id();
  return {all.begin(), all.end()};
}

Result<Started> startContainer(const StartSetting& setting, const link::StartInstance& order,
                               const std::vector<std::string>& mounts, Steps& steps, const image::BuildLog& log) {
  ASSIGN_OR_RETURN(const image::Built image, steps.run("image", [&]() -> Result<image::Built> {
    auto found = setting.images->find(order.image_id());
    if (!found) return makeError(Code::notFound, "image {} is not on this worker", order.image_id());
    RETURN_IF_ERROR(checkOrder(order, *found));
    return std::move(*found);
  }));
  sandbox::Spec spec = specOf(setting, order, image, mounts);
  if (!order.client_version().empty()) {
    RETURN_IF_ERROR(steps.run("client", [&]() -> Result<void> {
      auto packages = setting.images->clientPackage(order.client_version(), image, order.needs_fastapi(), log);
      if (!packages.ok()) return packages.error();
      addPackages(*packages, spec);
      return {};
    }));
  }
  RETURN_IF_ERROR(steps.run("arguments", [&] { return layDownArguments(setting, order, spec); }));
  auto started = startInSandbox(setting, spec, steps);
  if (!started.ok()) removeContainerFiles(setting, order.task_id());
  return started;
}

void removeContainerFiles(const StartSetting& setting, const std::string& taskId) {
  if (taskId.empty() || taskId.find('/') != std::string::npos) return;
  std::error_code ignored;
  fs::remove_all(containerDirectory(setting, taskId), ignored);
}

}  // namespace gridiron::worker
