#include "worker/start_steps.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
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

// A mount that changes what an interpreter finds where packages are installed.
bool liesOverPackages(const link::Mount& mount) {
  return std::any_of(mount.files().begin(), mount.files().end(), [](const link::MountedFile& file) {
    const std::string& path = file.path();
    return path.find("/site-packages/") != std::string::npos || path.find("/dist-packages/") != std::string::npos ||
           path.starts_with("/pkg/") || path.starts_with("/__modal/") || path.starts_with("/usr/");
  });
}

// Why no zygote's child could be what `order` asks for; "" when one may.
std::string whyPlain(const link::StartInstance& order, const image::Built& image) {
  if (!order.commit_as_image_id().empty()) return "an image is made of it";
  if (!image.entrypoint.empty()) return "the image has an entrypoint of its own";
  if (!image.libc.starts_with("glibc")) return "the image's C library is " + image.libc;
  if (std::any_of(order.mounts().begin(), order.mounts().end(), liesOverPackages)) {
    return "a mount lies over installed packages";
  }
  return "";
}

std::shared_ptr<const Zygotes::Kind> kindOf(const StartSetting& setting, const link::StartInstance& order,
                                            const image::Built& image, const std::vector<sandbox::Bind>& packages) {
  link::StartInstance common;
  common.set_image_id(order.image_id());
  auto kind = std::make_shared<Zygotes::Kind>();
  kind->image = image;
  kind->clientVersion = order.client_version();
  kind->packages = packages;
  for (auto& variable : environmentOf(common, image, setting.containerPort)) {
    if (variable.first != "MODAL_TASK_ID") kind->environment.push_back(std::move(variable));
  }
  return kind;
}

// Has the container come from a zygote, if there is one. Gives why it does not.
Result<std::string> useZygote(const StartSetting& setting, const link::StartInstance& order, const image::Built& image,
                              sandbox::Spec& spec, Started& started, Fd& importsEnd) {
  if (setting.zygotes == nullptr || order.argv_size() > 0 || order.client_version().empty()) return std::string();
  if (std::string why = whyPlain(order, image); !why.empty()) return why;
  started.kind = kindOf(setting, order, image, spec.binds);
  Zygotes::Offer offer = setting.zygotes->offer(*started.kind);
  if (!offer.zygote) return std::move(offer.why);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return errnoError("make a pipe");
  started.imports = Fd(ends[0]);
  importsEnd = Fd(ends[1]);
  spec.imports = importsEnd.get();
  spec.zygote = std::move(offer.zygote);
  return std::string();
}

Result<void> startInSandbox(const StartSetting& setting, const sandbox::Spec& spec, const std::string& why,
                            Steps& steps, Started& out) {
  if (!spec.upper.empty()) RETURN_IF_ERROR(makeDirectories(spec.upper));
  const auto prepare = [&](sandbox::Sandbox& sandbox) -> Result<void> {
    ASSIGN_OR_RETURN(out.listener, sandbox.listenInside(setting.containerPort));
    return {};
  };
  auto started = setting.sandboxes->start(spec, prepare);
  if (!started.ok()) return started.error();
  for (const sandbox::Phase& phase : (*started)->phases()) {
    steps.add(phase.name, phase.took, phase.name == "exec" && phase.why.empty() ? why : phase.why);
  }
  out.sandbox = std::move(*started);
  return {};
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
  Started out;
  Fd importsEnd;
  ASSIGN_OR_RETURN(const std::string why, useZygote(setting, order, image, spec, out, importsEnd));
  RETURN_IF_ERROR(steps.run("arguments", [&] { return layDownArguments(setting, order, spec); }));
  const Result<void> started = startInSandbox(setting, spec, why, steps, out);
  if (started.ok()) return out;
  removeContainerFiles(setting, order.task_id());
  return started.error();
}

void removeContainerFiles(const StartSetting& setting, const std::string& taskId) {
  if (taskId.empty() || taskId.find('/') != std::string::npos) return;
  std::error_code ignored;
  fs::remove_all(containerDirectory(setting, taskId), ignored);
}

}  // namespace gridiron::worker
