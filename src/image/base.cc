#include "image/base.h"

#include <unistd.h>

#include <array>
#include <regex>

#include "base/clock.h"
#include "base/fd.h"
#include "base/subprocess.h"
#include "image/stack.h"

namespace gridiron::image {

namespace {

// Raised when a base is made in another way: older ones are then left alone and made anew.
constexpr int kRecipe = 3;

struct Series {
  const char* python;
  const char* suite;
};
constexpr std::array kSeries = {Series{"3.13", "trixie"}, Series{"3.11", "bookworm"}, Series{"3.9", "bullseye"}};
struct Release {
  const char* number;
  const char* suite;
};
constexpr std::array kReleases = {Release{"13", "trixie"}, Release{"12", "bookworm"}, Release{"11", "bullseye"}};

// As in the official images: no caches of apt stay in a layer.
constexpr const char* kAptClean =
    "Dir::Cache::pkgcache \\\"\\\"; Dir::Cache::srcpkgcache \\\"\\\"; Acquire::GzipIndexes \\\"true\\\"; "
    "Acquire::Languages \\\"none\\\"; DPkg::Post-Invoke { \\\"rm -f /var/cache/apt/archives/*.deb || true\\\"; };";
constexpr const char* kImagePath = "/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string withoutLibrary(std::string tag) {
  for (const char* prefix : {"docker.io/", "index.docker.io/", "library/"}) {
    if (tag.starts_with(prefix)) tag.erase(0, std::string(prefix).size());
  }
  return tag;
}

Error notHere(const std::string& tag) {
  std::string had;
  for (const Series& series : kSeries) had += std::string(had.empty() ? "" : ", ") + "python:" + series.python;
  for (const Release& release : kReleases) had += std::string(", debian:") + release.suite;
  return makeError(Code::notFound,
                   "no registry gave {}, and of a Debian mirror only these can be made: {} (-slim or not, any micro "
                   "version)",
                   tag, had);
}

void addAptOptions(const HostSettings& host, std::vector<std::string>& argv) {
  for (const std::string& option : host.aptOptions) {
    // The bundle lies at its own path in build steps only; here apt is the host's.
    if (option.find(kBuildFiles) == std::string::npos) argv.push_back("--aptopt=" + option);
  }
}

// The official images: an empty base in all but the interpreter.
std::vector<std::string> mmdebstrapArgv(const Wanted& wanted, const std::string& target, const HostSettings& host,
                                        bool updates) {
  std::vector<std::string> argv{"mmdebstrap", "--variant=minbase", "--quiet", "--mode=auto"};
  argv.push_back(wanted.python.empty() ? "--include=ca-certificates"
                                       : "--include=ca-certificates,python3,python3-pip,python3-venv");
  addAptOptions(host, argv);
  for (const char* option :
       {"path-exclude=/usr/share/man/*", "path-exclude=/usr/share/info/*", "path-exclude=/usr/share/doc/*",
        "path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/locale/*", "force-unsafe-io"}) {
    argv.push_back(std::string("--dpkgopt=") + option);
  }
  argv.push_back(
      "--customize-hook=set -e; cd \"$1\"; rm -f etc/apt/apt.conf.d/99mmdebstrap etc/resolv.conf etc/hostname "
      "var/cache/apt/*.bin; "
      ": > etc/resolv.conf; : > etc/hostname; printf '127.0.0.1 localhost\\n::1 localhost\\n' > etc/hosts; "
      "echo \"" +
      std::string(kAptClean) + "\" > etc/apt/apt.conf.d/50no-caches");
  if (!wanted.python.empty()) {
    argv.push_back(
        "--customize-hook=set -e; chroot \"$1\" sh -ec 'rm -f /usr/lib/python3*/EXTERNALLY-MANAGED; "
        "python3 -m venv /usr/local; cd /usr/local/lib/python3.*; rm -rf dist-packages; "
        "ln -s site-packages dist-packages'");
  }
  argv.insert(argv.end(), {wanted.suite, target});
  if (host.aptSources.empty()) return argv;
  argv.push_back("deb " + host.aptSources[0] + " " + wanted.suite + " main");
  if (updates) argv.push_back("deb " + host.aptSources[0] + " " + wanted.suite + "-updates main");
  if (updates && host.aptSources.size() > 1) {
    argv.push_back("deb " + host.aptSources[1] + " " + wanted.suite + "-security main");
  }
  return argv;
}

Result<void> runMmdebstrap(std::vector<std::string> argv, const std::string& suite, const std::string& work,
                           const BuildLog& log) {
  removeTree(work + "/root");
  Command command;
  command.argv = std::move(argv);
  command.environment = {{"TMPDIR", work}, {"LC_ALL", "C.UTF-8"}, {"DEBIAN_FRONTEND", "noninteractive"}};
  command.withoutEnvironment = {"PYTHONDONTWRITEBYTECODE", "PIP_FIND_LINKS", "PYTHONPATH", "PYTHONHOME"};
  command.timeout = std::chrono::minutes(20);
  command.onOutput = log;
  auto finished = runCommand(command);
  if (!finished.ok()) {
    return finished.error().within("making a base needs the program mmdebstrap (Debian package mmdebstrap)");
  }
  if (finished->exitCode == 0) return {};
  const std::string& all = finished->output;
  return makeError(Code::unavailable, "mmdebstrap {} ended with {}{}: …{}", suite, finished->exitCode,
                   finished->timedOut ? " (out of time)" : "", all.substr(all.size() - std::min(all.size(), 1500UL)));
}

Result<void> makeRoot(const Wanted& wanted, const std::string& target, const std::string& folder,
                      const HostSettings& host, const BuildLog& log) {
  ASSIGN_OR_RETURN(const WorkDirectory work, WorkDirectory::make(folder));
  const std::string root = work.path() + "/root";
  Result<void> made = runMmdebstrap(mmdebstrapArgv(wanted, root, host, true), wanted.suite, work.path(), log);
  // A suite out of support has lost its -updates and -security on some mirrors.
  if (!made.ok()) made = runMmdebstrap(mmdebstrapArgv(wanted, root, host, false), wanted.suite, work.path(), log);
  RETURN_IF_ERROR(made);
  return renamePath(work.path() + "/root", target);
}

Base baseOf(const Wanted& wanted, const std::string& root, const std::string& name, const std::string& version) {
  Base base;
  base.key = "bootstrap:" + name;
  base.layers = {root};
  base.environment["PATH"] = kImagePath;
  base.command = {"bash"};
  if (!wanted.python.empty()) {
    base.environment["LANG"] = "C.UTF-8";
    base.environment["PYTHON_VERSION"] = version;
    base.command = {"python3"};
  }
  return base;
}

// "3.11.2" of a root, from the package's own records.
std::string pythonVersionOf(const std::string& root, const std::string& series) {
  const auto status = readFile(root + "/var/lib/dpkg/status");
  if (!status.ok()) return series;
  const auto package = status->find("Package: python" + series + "\n");
  const auto version = package == std::string::npos ? package : status->find("\nVersion: ", package);
  if (version == std::string::npos) return series;
  const auto begin = version + 10;
  return status->substr(begin, status->find_first_not_of("0123456789.", begin) - begin);
}

}  // namespace

Result<Wanted> bootstrappable(const std::string& tag) {
  const std::string name = withoutLibrary(tag);
  std::smatch parts;
  static const std::regex python(
      "python(?::(3\\.[0-9]+)(?:\\.[0-9]+)?)?(?::?-?(?:slim|bookworm|trixie|bullseye|latest|3)"
      "(?:-[a-z]+)?)?");
  if (std::regex_match(name, parts, python)) {
    const std::string wanted = parts[1].matched ? parts[1].str() : kSeries[0].python;
    for (const Series& series : kSeries) {
      if (wanted == series.python) return Wanted{series.suite, series.python};
    }
    return notHere(tag);
  }
  static const std::regex debian("debian(?::([a-z0-9]+)(?:[.][0-9]+)?(?:-[0-9]{8})?(?:-slim)?)?");
  if (std::regex_match(name, parts, debian)) {
    const std::string wanted = parts[1].matched ? parts[1].str() : "latest";
    if (wanted == "latest" || wanted == "stable") return Wanted{kReleases[0].suite, ""};
    for (const Release& release : kReleases) {
      if (wanted == release.number || wanted == release.suite) return Wanted{release.suite, ""};
    }
  }
  return notHere(tag);
}

Result<Base> bootstrap(const std::string& tag, const std::string& cacheDirectory, const HostSettings& host,
                       const BuildLog& log) {
  ASSIGN_OR_RETURN(const Wanted wanted, bootstrappable(tag));
  const std::string name =
      wanted.suite + (wanted.python.empty() ? "" : "-python" + wanted.python) + "-r" + std::to_string(kRecipe);
  const std::string folder = cacheDirectory + "/bases";
  const std::string root = folder + "/" + name;
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(folder + "/" + name + ".lock"));
  if (::access(root.c_str(), F_OK) != 0) {
    log(fmt::format("making a base for {} from the Debian mirror ({})\n", tag, wanted.suite));
    const SystemClock clock;
    const Time begin = clock.now();
    RETURN_IF_ERROR(makeRoot(wanted, root, folder, host, log));
    log(fmt::format("base made in {:.0f} s; it is kept\n", toSeconds(clock.now()) - toSeconds(begin)));
  }
  const std::string version = wanted.python.empty() ? "" : pythonVersionOf(root, wanted.python);
  log(fmt::format("{} is answered by a base from the Debian mirror: {}{}\n", tag, wanted.suite,
                  version.empty() ? "" : ", Python " + version));
  return baseOf(wanted, root, name, version);
}

std::string criuTree(const std::string& cacheDirectory) { return cacheDirectory + "/bases/criu-trixie-r1"; }

Result<void> bootstrapCriu(const std::string& cacheDirectory, const HostSettings& host, const BuildLog& log) {
  const std::string suite = "trixie", tree = criuTree(cacheDirectory);
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(tree + ".lock"));
  if (::access(tree.c_str(), F_OK) == 0) return {};
  ASSIGN_OR_RETURN(const WorkDirectory work, WorkDirectory::make(cacheDirectory + "/bases"));
  // Unpacked only: nothing of it is run but criu.
  std::vector<std::string> argv{"mmdebstrap", "--variant=extract", "--quiet", "--mode=auto", "--include=criu"};
  addAptOptions(host, argv);
  argv.insert(argv.end(), {suite, work.path() + "/root"});
  if (!host.aptSources.empty()) argv.push_back("deb " + host.aptSources[0] + " " + suite + " main");
  RETURN_IF_ERROR(runMmdebstrap(std::move(argv), suite, work.path(), log));
  return renamePath(work.path() + "/root", tree);
}

}  // namespace gridiron::image
