#include "main/doctor.h"

#include <dlfcn.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <thread>

#include "image/base.h"
#include "main/local_worker.h"
#include "sandbox/sandbox.h"

namespace gridiron {
namespace {

using Level = Finding::Level;

const char* cgroupsName(sandbox::HostFacts::Cgroups cgroups) {
  switch (cgroups) {
    case sandbox::HostFacts::Cgroups::v1:
      return "v1";
    case sandbox::HostFacts::Cgroups::hybrid:
      return "hybrid";
    case sandbox::HostFacts::Cgroups::v2:
      return "v2";
    case sandbox::HostFacts::Cgroups::none:
      break;
  }
  return "none";
}

void examineContainers(std::vector<Finding>& findings) {
  auto facts = sandbox::probeHost();
  auto yes = [](bool has) { return has ? "yes" : "no"; };
  Finding summary{Level::ok, "containers", "", ""};
  summary.detail = fmt::format("Linux {}, cgroups {}, root {}, overlayfs {}, nftables {}, seccomp {}, pidfd {}",
                               facts.kernel, cgroupsName(facts.cgroups), yes(facts.root), yes(facts.overlay),
                               yes(facts.nftables), yes(facts.seccomp), yes(facts.pidfd));
  findings.push_back(summary);
  if (!facts.rootIsMount)
    findings.push_back(
        {Level::note, "containers", "the root directory is no mount point (a plain chroot)",
         "nothing to do: `gridiron up` makes it one for itself. If it says that it could not: mount --bind "
         "DIR DIR before the chroot"});
  for (const auto& problem : facts.problems) findings.push_back({Level::problem, "containers", problem, ""});
  if (facts.problems.empty() && !facts.root)
    findings.push_back({Level::problem, "containers", "not running as root", "run gridiron as root"});
}

// The nearest folder above `path` that exists: what a folder to be made will be on.
std::string existing(std::string path) {
  std::error_code ignored;
  while (path.size() > 1 && !std::filesystem::exists(path, ignored))
    path = std::filesystem::path(path).parent_path().string();
  return path;
}

void examineDisk(std::vector<Finding>& findings, const std::string& name, const std::string& path, double wantGib) {
  struct statvfs facts {};
  Finding finding{Level::ok, "disk (" + name + ")", "", ""};
  if (::statvfs(existing(path).c_str(), &facts) != 0) {
    finding.level = Level::problem;
    finding.detail = errnoError("look at " + path).message;
    finding.advice = "choose another folder with " + flagOf(name);
    findings.push_back(finding);
    return;
  }
  double gib = static_cast<double>(facts.f_bavail) * static_cast<double>(facts.f_frsize) / (1 << 30);
  finding.detail = fmt::format("{:.1f} GiB free for {}", gib, path);
  if (gib < wantGib) {
    finding.level = gib < wantGib / 10 ? Level::problem : Level::warning;
    finding.advice = fmt::format(
        "free some space (images take gigabytes; {:.0f} GiB is comfortable), or choose a "
        "folder on another disk with {}",
        wantGib, flagOf(name));
  }
  findings.push_back(finding);
}

void examineMachine(std::vector<Finding>& findings) {
  double gib =
      static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 30);
  Finding finding{Level::ok, "machine", "", ""};
  finding.detail = fmt::format("{} CPUs, {:.1f} GiB of memory", std::thread::hardware_concurrency(), gib);
  if (gib < 1) {
    finding.level = Level::warning;
    finding.advice = "a container with a web framework takes 100 MiB and more: use a larger machine";
  }
  findings.push_back(finding);
}

bool onPath(const std::string& program) {
  const char* path = ::getenv("PATH");
  std::string rest = path ? path : "/usr/bin:/bin";
  for (std::size_t at = 0; at <= rest.size();) {
    auto end = std::min(rest.find(':', at), rest.size());
    if (::access((rest.substr(at, end - at) + "/" + program).c_str(), X_OK) == 0) return true;
    at = end + 1;
  }
  return false;
}

void examinePrograms(std::vector<Finding>& findings) {
  struct Needed {
    const char *program, *package, *why;
  };
  for (const auto& needed :
       {Needed{"nft", "nftables", "containers' network needs it"},
        Needed{"ip", "iproute2", "containers' network needs it"},
        Needed{"mmdebstrap", "mmdebstrap", "base images are made with it when no registry is reached"},
        Needed{"python3", "python3", "client packages are prepared with it"}}) {
    if (onPath(needed.program)) continue;
    findings.push_back({Level::warning, "programs", std::string(needed.program) + " is not installed: " + needed.why,
                        std::string("apt-get install ") + needed.package});
  }
}

// The few functions of NVIDIA's management library that are asked here; it comes with the driver, so it is looked up
// when there is one.
struct Nvml {
  int (*init)() = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*byIndex)(unsigned, void**) = nullptr;
  int (*name)(void*, char*, unsigned) = nullptr;
  int (*shutdown)() = nullptr;

  explicit Nvml(void* library) {
    auto find = [&](auto& function, const char* symbol) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(::dlsym(library, symbol));
    };
    find(init, "nvmlInit_v2");
    find(count, "nvmlDeviceGetCount_v2");
    find(byIndex, "nvmlDeviceGetHandleByIndex_v2");
    find(name, "nvmlDeviceGetName");
    find(shutdown, "nvmlShutdown");
  }
  bool complete() const { return init && count && byIndex && name && shutdown; }
};

void examineGpus(std::vector<Finding>& findings) {
  void* library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    findings.push_back({Level::note, "GPUs", "none (no NVIDIA driver: libnvidia-ml.so.1 is not there)",
                        "for GPU functions, install NVIDIA's driver"});
    return;
  }
  Nvml nvml(library);
  unsigned count = 0;
  if (!nvml.complete() || nvml.init() != 0 || nvml.count(&count) != 0) {
    findings.push_back({Level::warning, "GPUs", "the NVIDIA driver is installed but does not answer",
                        "run nvidia-smi: it says why (often the kernel module and the library differ in version)"});
    ::dlclose(library);
    return;
  }
  std::string names;
  for (unsigned i = 0; i < count; ++i) {
    void* device = nullptr;
    std::array<char, 96> name{};
    if (nvml.byIndex(i, &device) == 0 && nvml.name(device, name.data(), name.size()) == 0)
      names += (names.empty() ? "" : ", ") + std::string(name.data());
  }
  nvml.shutdown();
  ::dlclose(library);
  findings.push_back({count ? Level::ok : Level::note, "GPUs", count ? names : "a driver, but no GPU", ""});
}

void examineSnapshots(std::vector<Finding>& findings, const Settings& settings) {
  const std::string root = criuRoot(settings), fetched = image::criuTree(settings.cache);
  Finding finding{Level::ok, "memory snapshots", "", ""};
  if (settings.snapshotSpaceMb == 0) {
    finding = {Level::note, "memory snapshots", "off: every start of a function that wants them is a plain one",
               "set snapshot_space to some MiB"};
  } else if (::access((root + "/usr/sbin/criu").c_str(), X_OK) == 0) {
    const Result<std::string> version = sandbox::checkCriu(root);
    finding.detail = version.ok() ? *version + ", at " + root : version.error().message;
    if (!version.ok()) {
      finding.level = Level::warning;
      finding.advice = "starts are plain ones meanwhile; name another criu (4 or newer) with criu_root";
    }
  } else if (root == fetched && onPath("mmdebstrap")) {
    finding.detail = "criu is fetched from the Debian mirror when a function first wants one (30 MB, to " + root + ")";
  } else {
    finding.level = Level::warning;
    finding.detail = "no criu at " + root + ": starts of functions that want them are plain ones";
    finding.advice = root == fetched ? "apt-get install mmdebstrap, and it is fetched when first needed"
                                     : "install criu 4 or newer there, or leave criu_root empty";
  }
  findings.push_back(finding);
}

void examineDoor(std::vector<Finding>& findings, const Settings& settings) {
  bool loopback = settings.listen.starts_with("127.") || settings.listen.starts_with("[::1]");
  bool tls = !settings.tlsCertificate.empty();
  Finding finding{Level::ok, "door", "listens on " + settings.listen + (tls ? " with TLS" : " without TLS"), ""};
  if (!loopback && !tls) {
    finding.level = Level::warning;
    finding.advice = "tokens and secrets would cross the network readable: set tls_certificate and tls_key";
  }
  std::vector<std::string> files = {settings.tlsCertificate, settings.tlsKey};
  for (const auto& more : settings.moreCertificates) files.insert(files.end(), {more.certificate, more.key});
  for (const auto& file : files) {
    if (file.empty() || ::access(file.c_str(), R_OK) == 0) continue;
    finding.level = Level::problem;
    finding.detail += "; " + errnoError("read " + file).message;
    finding.advice = "give gridiron's user the right to read it, or name another file";
  }
  findings.push_back(finding);
}

}  // namespace

std::vector<Finding> examineHost(const Settings& settings) {
  std::vector<Finding> findings;
  examineContainers(findings);
  examineMachine(findings);
  examineDisk(findings, "data", settings.data, 20);
  examineDisk(findings, "cache", settings.cache, 10);
  examinePrograms(findings);
  examineSnapshots(findings, settings);
  examineDoor(findings, settings);
  examineGpus(findings);
  return findings;
}

const char* nameOf(Finding::Level level) {
  switch (level) {
    case Level::ok:
      return "ok";
    case Level::note:
      return "note";
    case Level::warning:
      return "warning";
    case Level::problem:
      break;
  }
  return "problem";
}

}  // namespace gridiron
