#include "worker/start_steps.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/digest.h"

#include "base/id.h"
#include "base/subprocess.h"

namespace gridiron::worker {

namespace fs = std::filesystem;

namespace {

constexpr const char* kArgumentsPath = "/__modal/container_arguments.bin";
constexpr const char* kLaneProgram = "/__modal/fast_lane.py";
constexpr const char* kLaneDirectory = "/__modal/lane";
// The client's own entrypoint, with the lane put in. Nothing of it stays in __main__, which becomes the entrypoint's.
constexpr const char* kLaneStart =
    "exec(compile(open('/__modal/fast_lane.py').read(), '/__modal/fast_lane.py', 'exec'), {'__name__': "
    "'gridiron_lane'})";
constexpr const char* kSnapshotProgram = "/__modal/snapshot.py";
constexpr const char* kRestoreDirectory = "/__modal/restore";
constexpr const char* kSnapshotStart =
    "exec(compile(open('/__modal/snapshot.py').read(), '/__modal/snapshot.py', 'exec'), {'__name__': "
    "'gridiron_snapshot'})";
constexpr Nanos kDumpPatience = std::chrono::seconds(30);
constexpr Nanos kRestorePatience = std::chrono::seconds(10);
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::vector<std::string> argvOf(const link::StartInstance& order, const image::Built& image) {
  if (order.argv_size() > 0) return {order.argv().begin(), order.argv().end()};
  // An image's ENTRYPOINT runs in front, as it would for `docker run`: it prepares and then executes its arguments.
  std::vector<std::string> argv = image.entrypoint;
  argv.push_back(image.pythonPath);
  if (order.lane()) {
    argv.insert(argv.end(), {"-c", kLaneStart});
  } else {
    argv.insert(argv.end(), {"-m", "modal._container_entrypoint"});
  }
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
Result<void> layDownArguments(const StartSetting& setting, const std::string& arguments, sandbox::Spec& spec) {
  const std::string directory = containerDirectory(setting, spec.name);
  RETURN_IF_ERROR(makeDirectories(directory, 0700));
  const std::string path = directory + "/container_arguments.bin";
  RETURN_IF_ERROR(writeFileAtomic(path, arguments, 0600, Durable::no));
  spec.binds.push_back({path, kArgumentsPath, true});
  return {};
}

// The parked container's arguments go into the file that it sees already, and its files to where those of `taskId` are
// looked for (its lane's door): what is mounted stays mounted.
Result<void> handOver(const StartSetting& setting, const std::string& arguments, const std::string& taskId,
                      Parking::Slot& slot) {
  const std::string from = containerDirectory(setting, slot.name), to = containerDirectory(setting, taskId);
  const std::string path = from + "/container_arguments.bin";
  std::ofstream file(path, std::ios::binary);
  file << arguments << std::flush;
  if (!file) return errnoError("write " + path);
  if (::rename(from.c_str(), to.c_str()) != 0) return errnoError("rename " + from);
  slot.name = taskId;
  return {};
}

// The folder where it opens its door for web requests, and what opens it.
Result<void> layDownLane(const StartSetting& setting, sandbox::Spec& spec) {
  const std::string directory = containerDirectory(setting, spec.name) + "/lane";
  RETURN_IF_ERROR(makeDirectories(directory, 0700));
  spec.binds.push_back({setting.laneProgram, kLaneProgram, true});
  spec.binds.push_back({directory, kLaneDirectory, false});
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
  spec.limits.cpuWeight = order.milli_cpu();
  spec.limits.prompt = order.prompt();
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

// Why containers of `image` cannot come from a zygote; "" when they may.
std::string whyPlain(const image::Built& image) {
  if (!image.entrypoint.empty()) return "the image has an entrypoint of its own";
  if (!image.libc.starts_with("glibc")) return "the image's C library is " + image.libc;
  return "";
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
  if (std::string why = whyPlain(image); !why.empty()) return why;
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

// What is known of `spec` before a program is.
std::shared_ptr<const Parking::Shape> shapeOf(std::shared_ptr<const Zygotes::Kind> kind, const sandbox::Spec& spec) {
  auto shape = std::make_shared<Parking::Shape>();
  shape->kind = std::move(kind);
  shape->spec.lowers = spec.lowers;
  shape->spec.binds = spec.binds;
  shape->spec.hostname = spec.hostname;
  shape->spec.limits.prompt = spec.limits.prompt;
  shape->spec.argv = {shape->kind->image.pythonPath};
  return shape;
}

// A pipe for the names of what a fork imports: the end to read, the end to write.
Result<std::pair<Fd, Fd>> importsPipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return errnoError("make a pipe");
  return std::pair<Fd, Fd>{Fd(ends[0]), Fd(ends[1])};
}

// Has the container come from a zygote, if there is one. Gives why it does not.
Result<std::string> useZygote(const StartSetting& setting, const link::StartInstance& order, const image::Built& image,
                              sandbox::Spec& spec, Started& started) {
  if (setting.zygotes == nullptr || order.argv_size() > 0 || order.client_version().empty()) return std::string();
  if (std::string why = whyPlain(order, image); !why.empty()) return why;
  started.shape = shapeOf(kindOf(setting, order, image, spec.binds), spec);
  Zygotes::Offer offer = setting.zygotes->offer(*started.shape->kind);
  if (!offer.zygote) return std::move(offer.why);
  spec.zygote = std::move(offer.zygote);
  return std::string();
}

// Is the fast lane turned off in the container's variables (docs/web.md)?
bool isOff(const std::vector<std::pair<std::string, std::string>>& environment) {
  return std::any_of(environment.begin(), environment.end(), [](const auto& variable) {
    return variable.first == "GRIDIRON_FAST_LANE" && variable.second == "off";
  });
}

// True when a parked container has become it.
bool useParked(const StartSetting& setting, const link::StartInstance& order, const sandbox::Spec& spec, Steps& steps,
               Started& out) {
  if (setting.parking == nullptr || !spec.zygote) return false;
  std::optional<Parking::Slot> slot = setting.parking->take(*out.shape, spec.zygote);
  if (!slot) return false;
  const Result<void> handed = handOver(setting, order.container_arguments(), order.task_id(), *slot);
  auto become = handed.ok() ? slot->parked->become(spec) : handed.error();
  if (!become.ok()) {
    spdlog::info("{}: not from a parked container: {}", order.task_id(), become.error().message);
    discardParked(setting, std::move(*slot));
    return false;
  }
  out.sandbox = std::move(*become);
  out.listener = std::move(slot->listener);
  out.imports = std::move(slot->imports);
  out.name = slot->name;
  for (const sandbox::Phase& phase : out.sandbox->phases()) steps.add(phase.name, phase.took, phase.why);
  return true;
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

bool mayUseSnapshots(const StartSetting& setting, const link::StartInstance& order, const image::Built& image) {
  return setting.snapshots != nullptr && !order.snapshot().empty() && order.argv_size() == 0 &&
         order.commit_as_image_id().empty() && image.entrypoint.empty();
}

// Whose snapshot could be used: one of a container that was, in all but its id, the same.
Snapshots::Name snapshotName(const StartSetting& setting, const link::StartInstance& order, const image::Built& image,
                             const sandbox::Spec& spec) {
  std::string all = order.snapshot() + "\n" + setting.snapshotMarks + "\n" + image.imageId + "\n" + spec.workdir;
  for (const std::string& layer : spec.lowers) all += "\n" + layer;
  for (const sandbox::Bind& bind : spec.binds) all += "\n" + bind.source + ":" + bind.target;
  for (const std::string& argument : spec.argv) all += "\n" + argument;
  for (const auto& [name, value] : spec.environment) {
    if (name != "MODAL_TASK_ID") all += '\0' + name + "=" + value;
  }
  return {order.app_id(), order.function_id(), order.definition_id(), sha256(all).hex()};
}

// The folder where it will find who it is, and what makes its random state new then.
Result<void> prepareSnapshot(const StartSetting& setting, sandbox::Spec& spec) {
  const std::string directory = containerDirectory(setting, spec.name) + "/restore";
  RETURN_IF_ERROR(makeDirectories(directory, 0700));
  spec.binds.push_back({setting.snapshotProgram, kSnapshotProgram, true});
  spec.binds.push_back({directory, kRestoreDirectory, true});
  spec.environment.emplace_back("MODAL_ENABLE_SNAP_RESTORE", "1");
  spec.environment.emplace_back("MODAL_RESTORE_STATE_PATH", std::string(kRestoreDirectory) + "/state.json");
  spec.argv.back() = kSnapshotStart;
  spec.argv[spec.argv.size() - 2] = "-c";
  return {};
}

// What it is told by files.
Result<void> layDown(const StartSetting& setting, const link::StartInstance& order, sandbox::Spec& spec) {
  RETURN_IF_ERROR(layDownArguments(setting, order.container_arguments(), spec));
  return order.lane() ? layDownLane(setting, spec) : Result<void>{};
}

// True when the container goes on from a memory snapshot, or has begun as one that a snapshot is made of.
bool startBySnapshot(const StartSetting& setting, const link::StartInstance& order, const image::Built& image,
                     sandbox::Spec spec, Steps& steps, Started& out, const image::BuildLog& log) {
  if (!mayUseSnapshots(setting, order, image)) return false;
  Snapshots::Offer offer = setting.snapshots->offer(snapshotName(setting, order, image, spec));
  if (!offer.kept && !offer.making) return false;
  const auto begin = [&]() -> Result<void> {
    RETURN_IF_ERROR(layDown(setting, order, spec));
    RETURN_IF_ERROR(prepareSnapshot(setting, spec));
    if (offer.making) spec.upper = changesDirectory(setting, order.task_id());
    if (offer.kept) {
      spec.images = offer.kept->images();
      spec.patience = kRestorePatience;
      spec.lowers.insert(spec.lowers.begin(), offer.kept->changes());
      RETURN_IF_ERROR(letGoOn(setting, order.task_id()));
    }
    return startInSandbox(setting, spec, "a memory snapshot is made of it", steps, out);
  };
  const Result<void> started = begin();
  out.name = order.task_id();
  out.kept = std::move(offer.kept);
  out.making = std::move(offer.making);
  if (started.ok()) return true;
  spdlog::warn("{}: a start with a memory snapshot: {}", order.task_id(), started.error().message);
  if (out.kept) {
    const auto retired = setting.snapshots->failed(out.kept->name(), started.error().message);
    if (retired) log(*retired);
  }
  out = Started{};
  removeContainerFiles(setting, order.task_id());
  return false;
}

}  // namespace

Result<void> makeSnapshot(const StartSetting& setting, sandbox::Sandbox& sandbox, const Snapshots::Making& making) {
  RETURN_IF_ERROR(sandbox.dump(making.images(), kDumpPatience));
  // Whiteouts and attributes too: it becomes a layer.
  Command copy;
  copy.argv = {"cp", "-a", "--reflink=auto", changesDirectory(setting, sandbox.name()) + "/.", making.changes()};
  ASSIGN_OR_RETURN(const Finished copied, runCommand(copy));
  if (copied.exitCode != 0) return makeError(Code::internal, "copy its changes: {}", copied.output);
  return {};
}

Result<void> letGoOn(const StartSetting& setting, const std::string& taskId) {
  const std::string path = containerDirectory(setting, taskId) + "/restore/state.json";
  return writeFileAtomic(path, fmt::format("{{\"task_id\": \"{}\"}}", taskId), 0644, Durable::no);
}

std::string containerDirectory(const StartSetting& setting, const std::string& name) {
  return setting.dataDirectory + "/containers/" + name;
}

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
  if (order.lane()) all["GRIDIRON_LANE"] = std::string(kLaneDirectory) + "/door";
  all["MODAL_TASK_ID"] = order.task_id();
  all["MODAL_IMAGE_ID"] = order.image_id();
  return {all.begin(), all.end()};
}

Result<Started> startContainer(const StartSetting& setting, const link::StartInstance& order,
                               const std::vector<std::string>& mounts, Steps& steps, const image::BuildLog& log,
                               UseSnapshots use) {
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
  const bool again = use == UseSnapshots::yes && startBySnapshot(setting, order, image, spec, steps, out, log);
  out.ports = order.ports() && !(order.lane() && isOff(spec.environment));
  if (again) return out;
  ASSIGN_OR_RETURN(const std::string why, useZygote(setting, order, image, spec, out));
  if (useParked(setting, order, spec, steps, out)) return out;
  out.name = order.task_id();
  Fd importsEnd;
  if (spec.zygote) {
    ASSIGN_OR_RETURN(auto pipe, importsPipe());
    out.imports = std::move(pipe.first);
    importsEnd = std::move(pipe.second);
    spec.imports = importsEnd.get();
  }
  RETURN_IF_ERROR(steps.run("arguments", [&] { return layDown(setting, order, spec); }));
  Result<void> started = startInSandbox(setting, spec, why, steps, out);
  if (!started.ok() && spec.zygote) {
    // Containers below a zygote's end with it, also those that are only being made.
    spec.zygote.reset();
    spec.imports = -1;
    out.imports.reset();
    started = startInSandbox(setting, spec, started.error().message, steps, out);
  }
  if (started.ok()) return out;
  removeContainerFiles(setting, order.task_id());
  return started.error();
}

Result<Parking::Slot> parkContainer(const StartSetting& setting, const Parking::Shape& shape,
                                    std::shared_ptr<sandbox::Zygote> zygote) {
  Parking::Slot out;
  out.name = "parked-" + randomAlnum(12);
  out.zygote = zygote;
  sandbox::Spec spec = shape.spec;
  spec.name = out.name;
  spec.zygote = std::move(zygote);
  ASSIGN_OR_RETURN(auto pipe, importsPipe());
  out.imports = std::move(pipe.first);
  spec.imports = pipe.second.get();
  const auto park = [&]() -> Result<void> {
    RETURN_IF_ERROR(layDownArguments(setting, "", spec));
    if (!setting.laneProgram.empty()) RETURN_IF_ERROR(layDownLane(setting, spec));  // used by who serves the web
    ASSIGN_OR_RETURN(out.parked, setting.sandboxes->park(spec, [&](sandbox::Sandbox& sandbox) -> Result<void> {
      ASSIGN_OR_RETURN(out.listener, sandbox.listenInside(setting.containerPort));
      return {};
    }));
    return {};
  };
  const Result<void> parked = park();
  if (parked.ok()) return out;
  removeContainerFiles(setting, out.name);
  return parked.error();
}

void discardParked(const StartSetting& setting, Parking::Slot slot) {
  slot.parked.reset();
  removeContainerFiles(setting, slot.name);
}

void prepareZygote(const StartSetting& setting, const link::PrepareImage& expected) {
  const auto image = setting.images->find(expected.image_id());
  if (!image || image->pythonPath.empty() || !whyPlain(*image).empty()) return;
  const auto packages = setting.images->clientPackage(expected.client_version(), *image, expected.needs_fastapi(),
                                                      [](std::string_view) {});
  if (!packages.ok()) return;  // a start says so
  sandbox::Spec spec;
  addPackages(*packages, spec);
  link::StartInstance order;
  order.set_image_id(expected.image_id());
  order.set_client_version(expected.client_version());
  setting.zygotes->expect(*kindOf(setting, order, *image, spec.binds));
}

void removeContainerFiles(const StartSetting& setting, const std::string& name) {
  if (name.empty() || name.find('/') != std::string::npos) return;
  std::error_code ignored;
  fs::remove_all(containerDirectory(setting, name), ignored);
}

}  // namespace gridiron::worker
