#include "sandbox/plan.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

namespace gridiron::sandbox {
namespace {

// The usual ones of a container, less CAP_MKNOD (no device filter guards the host's disks) and CAP_NET_RAW (no forged
// packets; ping works without).
constexpr int kCapabilities[] = {CAP_CHOWN,       CAP_DAC_OVERRIDE, CAP_FOWNER,  CAP_FSETID,           CAP_KILL,
                                 CAP_SETGID,      CAP_SETUID,       CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT,
                                 CAP_AUDIT_WRITE, CAP_SETFCAP};
constexpr const char* kDevices[] = {"null", "zero", "full", "random", "urandom", "tty"};

std::uint64_t capabilityMask() {
  std::uint64_t out = 0;
  for (const int capability : kCapabilities) out |= std::uint64_t{1} << capability;
  return out;
}

enum class Depth { one, recursive };

// A detached mount of `source`. With `mapping` its owners are seen through that user namespace's maps; a file system
// that cannot do this is shown as it is when `mustMap` is false.
Result<Fd> openMount(const std::string& source, Depth depth, std::uint64_t attributes, int mapping, bool mustMap) {
  const unsigned recursive = depth == Depth::recursive ? AT_RECURSIVE : 0;
  Fd mount(::open_tree(AT_FDCWD, source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive));
  if (!mount.valid()) return errnoError("open " + source + " as a mount");
  const auto set = [&](std::uint64_t bits) {
    mount_attr change{};
    change.attr_set = bits;
    if ((bits & MOUNT_ATTR_IDMAP) != 0) change.userns_fd = static_cast<std::uint64_t>(mapping);
    return bits == 0 || ::mount_setattr(mount.get(), "", AT_EMPTY_PATH | recursive, &change, sizeof change) == 0;
  };
  if (mapping >= 0) {
    if (set(attributes | MOUNT_ATTR_IDMAP)) return mount;
    if (mustMap) return errnoError("map the owners of " + source);
  }
  if (!set(attributes)) return errnoError("set the mount attributes of " + source);
  return mount;
}

std::string parentOf(const std::string& path) { return path.substr(0, std::max<std::size_t>(1, path.rfind('/'))); }
std::string nameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Result<void> checkPlain(const std::string& name) {
  if (!name.empty() && name.find_first_of(",:\\/") == std::string::npos) return {};
  return makeError(Code::invalidArgument, "\"{}\" cannot be the name of an upper directory", name);
}

Result<void> checkTarget(const std::string& target) {
  const bool climbs = target.find("/../") != std::string::npos || target.ends_with("/..");
  if (target.size() > 1 && target.front() == '/' && !climbs) return {};
  return makeError(Code::invalidArgument, "\"{}\" is not an absolute path to bind at", target);
}

bool isDirectory(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string textOr(const std::string& path, const std::string& otherwise) {
  auto text = readFile(path);
  return text.ok() ? std::move(*text) : otherwise;
}

}  // namespace

std::string hostsText(const std::string& hostname, const std::string& address, const std::string& gridAddress) {
  std::string out = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
  if (!hostname.empty()) out += (address.empty() ? "127.0.0.1" : address) + " " + hostname + "\n";
  if (!gridAddress.empty()) out += gridAddress + " grid.internal\n";
  return out;
}

// A resolver on the host's loopback cannot be reached from a network namespace: then what systemd forwards to is asked.
std::string resolverText(const std::string& hosts, const std::string& systemd) {
  const bool reachable = hosts.find("nameserver") != std::string::npos &&
                         hosts.find("nameserver 127.") == std::string::npos &&
                         hosts.find("nameserver ::1") == std::string::npos;
  return reachable || systemd.empty() ? hosts : systemd;
}

Result<Fd> openInit(const std::string& path, int mapping) {
  return openMount(path, Depth::one, MOUNT_ATTR_RDONLY, mapping, false);
}

Result<std::unique_ptr<PreparedChild>> PreparedChild::make(const Spec& spec, const Common& common,
                                                           const BoxDirectory& box, const std::string& address,
                                                           const std::string& gridAddress) {
  if (spec.argv.empty()) return Error{Code::invalidArgument, "a container needs a program to run"};
  std::unique_ptr<PreparedChild> out(new PreparedChild);
  out->mapping_ = common.mapping;
  out->plan_.userNamespace = common.mapping >= 0;
  out->plan_.ownNetwork = spec.network != Network::host;
  out->plan_.readOnlyRoot = spec.nursery;
  out->filter_ = {static_cast<unsigned short>(common.filter->size()), const_cast<sock_filter*>(common.filter->data())};
  out->plan_.filter = &out->filter_;
  out->plan_.capabilities = capabilityMask();
  RETURN_IF_ERROR(out->openLayers(spec, box));
  RETURN_IF_ERROR(out->openDevices());
  out->addFiles(spec, address, gridAddress);
  RETURN_IF_ERROR(out->openBinds(spec));
  out->addMountPoints();
  RETURN_IF_ERROR(out->openStreams(spec));
  out->plan_.init = common.init;
  out->fillTexts(spec, box);
  return out;
}

Result<void> PreparedChild::openLayers(const Spec& spec, const BoxDirectory& box) {
  std::string stack;
  for (const std::string& lower : spec.lowers) {
    ASSIGN_OR_RETURN(Fd mount, openMount(lower, Depth::one, MOUNT_ATTR_RDONLY, mapping_, true));
    stack += "l" + std::to_string(lowers_.size()) + ":";
    lowers_.push_back(mount.get());
    fds_.push_back(std::move(mount));
  }
  RETURN_IF_ERROR(checkPlain(nameOf(box.upper())));
  ASSIGN_OR_RETURN(Fd upper, openMount(parentOf(box.upper()), Depth::one, 0, mapping_, true));
  plan_.upper = upper.get();
  fds_.push_back(std::move(upper));
  // A throw-away upper need not reach the disk.
  const std::string options = "userxattr,index=off,lowerdir=" + stack + "b,upperdir=u/" + nameOf(box.upper()) +
                              ",workdir=u/" + nameOf(box.work()) + (spec.upper.empty() ? ",volatile" : "");
  plan_.overlayOptions = keep(options);
  if (spec.network == Network::host) {
    ASSIGN_OR_RETURN(Fd sys, openMount("/sys", Depth::one, MOUNT_ATTR_RDONLY, -1, false));
    plan_.sys = sys.get();
    fds_.push_back(std::move(sys));
  }
  return {};
}

Result<void> PreparedChild::openDevices() {
  for (const char* device : kDevices) {
    const std::string path = std::string("/dev/") + device;
    ASSIGN_OR_RETURN(Fd mount, openMount(path, Depth::one, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, -1, false));
    attach(std::move(mount), path, false);
  }
  return {};
}

void PreparedChild::addFiles(const Spec& spec, const std::string& address, const std::string& gridAddress) {
  const std::string hostname = spec.hostname.empty() ? spec.name : spec.hostname;
  const bool shared = spec.network == Network::host;
  const std::string resolver = textOr("/etc/resolv.conf", "");
  const std::string own = hostsText(hostname, address, gridAddress);
  const std::pair<const char*, std::string> files[] = {
      {"hosts", shared ? textOr("/etc/hosts", own) : own},
      {"resolv.conf", shared ? resolver : resolverText(resolver, textOr("/run/systemd/resolve/resolv.conf", ""))},
      {"hostname", hostname + "\n"}};
  for (const auto& [name, text] : files) {
    files_.push_back({name, keep(std::string("/etc/") + name), keep(text), text.size()});
  }
  plan_.files = files_.data();
  plan_.fileCount = static_cast<int>(files_.size());
}

MountPoints MountPoints::of(const std::vector<Attachment>& attachments) {
  MountPoints out;
  std::set<std::string> known;
  const auto addParents = [&](const std::string& path) {
    for (std::size_t at = 1; at < path.size(); ++at) {
      if (path[at] == '/' && known.insert(path.substr(0, at)).second) out.directories.push_back(path.substr(0, at));
    }
  };
  const auto add = [&](const std::string& path, bool directory) {
    addParents(path);
    if (path.ends_with('/') || !known.insert(path).second) return;
    (directory ? out.directories : out.files).push_back(path);
  };
  for (const char* directory : {"/proc", "/sys", "/dev"}) add(directory, true);
  for (const char* file : {"/etc/hosts", "/etc/resolv.conf", "/etc/hostname"}) add(file, false);
  for (const Attachment& attachment : attachments) {
    if (!underMounts(attachment.target)) add(attachment.target, attachment.directory);
  }
  return out;
}

void PreparedChild::addMountPoints() {
  const MountPoints points = MountPoints::of(attachments_);
  baseDirectories_.push_back("b");
  for (const std::string& path : points.directories) baseDirectories_.push_back(keep("b" + path));
  for (const std::string& path : points.files) baseFiles_.push_back(keep("b" + path));
  baseDirectories_.push_back(nullptr);
  baseFiles_.push_back(nullptr);
  plan_.baseDirectories = baseDirectories_.data();
  plan_.baseFiles = baseFiles_.data();
}

Result<void> PreparedChild::openBinds(const Spec& spec) {
  for (const Bind& bind : spec.binds) {
    RETURN_IF_ERROR(checkTarget(bind.target));
    const bool device = bind.source.starts_with("/dev/");
    const std::uint64_t attributes = MOUNT_ATTR_NOSUID | (bind.readOnly ? MOUNT_ATTR_RDONLY : 0) |
                                     (device ? 0 : static_cast<std::uint64_t>(MOUNT_ATTR_NODEV));
    ASSIGN_OR_RETURN(Fd mount, openMount(bind.source, Depth::recursive, attributes, device ? -1 : mapping_, false));
    std::string target = std::filesystem::path(bind.target).lexically_normal().string();
    if (target.ends_with('/')) target.pop_back();
    attach(std::move(mount), target, isDirectory(bind.source));
  }
  return {};
}

Result<void> PreparedChild::openStreams(const Spec& spec) {
  int output[2], errors[2];
  if (::pipe2(output, O_CLOEXEC) != 0) return errnoError("make a pipe");
  outputRead_ = Fd(output[0]);
  fds_.emplace_back(output[1]);
  if (::pipe2(errors, O_CLOEXEC) != 0) return errnoError("make a pipe");
  errorsRead_ = Fd(errors[0]);
  fds_.emplace_back(errors[1]);
  plan_.output = output[1];
  plan_.errors = errors[1];
  // What opens them again while it is restored is the container's root.
  if (!spec.images.empty() && (::fchmod(output[1], 0622) != 0 || ::fchmod(errors[1], 0622) != 0))
    return errnoError("give the pipes of its output to it");
  if (spec.input < 0) return {};
  Fd input(::fcntl(spec.input, F_DUPFD_CLOEXEC, 0));
  if (!input.valid()) return errnoError("keep its input");
  plan_.input = input.get();
  fds_.push_back(std::move(input));
  return {};
}

void PreparedChild::attach(Fd mount, const std::string& target, bool directory) {
  attachments_.push_back({mount.get(), keep(target), directory});
  fds_.push_back(std::move(mount));
}

const char* PreparedChild::keep(std::string text) {
  texts_.push_back(std::make_unique<std::string>(std::move(text)));
  return texts_.back()->c_str();
}

void PreparedChild::fillTexts(const Spec& spec, const BoxDirectory& box) {
  argv_.push_back("gridiron-init");
  argv_.push_back(spec.nursery                          ? GRIDIRON_INIT_NURSERY
                  : spec.zygote || !spec.images.empty() ? GRIDIRON_INIT_HOLD
                                                        : GRIDIRON_INIT_RUN);
  for (const std::string& argument : spec.argv) argv_.push_back(keep(argument));
  argv_.push_back(nullptr);
  for (const auto& [name, value] : spec.environment) environment_.push_back(keep(name + "=" + value));
  environment_.push_back(nullptr);
  plan_.argv = argv_.data();
  plan_.environment = environment_.data();
  plan_.stage = keep(box.path());
  plan_.hostname = keep((spec.hostname.empty() ? spec.name : spec.hostname).substr(0, 64));
  plan_.workdir = keep(spec.workdir.empty() ? "/" : spec.workdir);
  plan_.shmOptions = keep(spec.limits.memoryBytes > 0 ? "size=" + std::to_string(spec.limits.memoryBytes) : "size=50%");
  plan_.lowers = lowers_.data();
  plan_.lowerCount = static_cast<int>(lowers_.size());
  plan_.attachments = attachments_.data();
  plan_.attachmentCount = static_cast<int>(attachments_.size());
}

void PreparedChild::setTaskFiles(std::vector<int> files) {
  taskFiles_ = std::move(files);
  plan_.taskFiles = taskFiles_.data();
  plan_.taskFileCount = static_cast<int>(taskFiles_.size());
}

}  // namespace gridiron::sandbox
