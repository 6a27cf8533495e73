#include "image/packages.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <sstream>

#include "base/digest.h"
#include "base/fd.h"
#include "image/build.h"
#include "image/stack.h"

namespace gridiron::image {

namespace fs = std::filesystem;

namespace {

// User's packages come first, the client's dependencies after them, what is only a convenience last.
constexpr const char* kSiteCustomize =
    "import sys\n"
    "sys.path.append('/__modal/deps')\n"
    "sys.path.append('/__modal/extras')\n";
// The newest builder whose images had the client's dependencies installed by pip.
constexpr const char* kLastWithInstalled = "2024.10";
constexpr int kMostUnpinned = 30;
constexpr std::array kFastapiBrings = {"typing-extensions",
                                       "idna",
                                       "anyio",
                                       "sniffio",
                                       "starlette",
                                       "pydantic",
                                       "pydantic-core",
                                       "annotated-types",
                                       "exceptiongroup",
                                       "typing-inspection",
                                       "annotated-doc",
                                       "python-multipart"};

std::string abiOf(const Built& image) {
  const auto second = image.pythonVersion.find('.', image.pythonVersion.find('.') + 1);
  std::string abi = "cp" + image.pythonVersion.substr(0, second);
  abi.erase(std::remove(abi.begin(), abi.end(), '.'), abi.end());
  utsname machine{};
  ::uname(&machine);
  return abi + "-" + (image.libc.starts_with("musl") ? "musl" : "glibc") + "-" + machine.machine;
}

// "Typing_Extensions" → "typing-extensions" (PEP 503, for single separators).
std::string normalName(std::string name) {
  for (char& c : name) c = c == '_' || c == '.' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

std::string shellQuoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// "$PIP" installs; an interpreter that came without pip gets the one it carries with it.
std::string pipPrologue(const Built& image) {
  const std::string python = shellQuoted(image.pythonPath);
  return "set -e\nPY=" + python +
         "\n\"$PY\" -m pip --version >/dev/null 2>&1 || \"$PY\" -m ensurepip >/dev/null\n"
         "pip_install() { \"$PY\" -m pip install -q --no-compile --no-cache-dir --root-user-action=ignore "
         "--disable-pip-version-check \"$@\"; }\n"
         "compile() { \"$PY\" -m compileall -q --invalidation-mode unchecked-hash \"$1\" >/dev/null || true; }\n";
}

std::vector<std::string> linesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    while (line.ends_with(' ') || line.ends_with('\r')) line.pop_back();
    lines.push_back(line);
  }
  return lines;
}

std::string nameOf(const std::string& requirement) {
  return normalName(requirement.substr(0, requirement.find_first_of("=<>!~; [")));
}

std::vector<std::string> namesIn(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& file : fs::directory_iterator(directory, ignored)) names.push_back(file.path().filename().string());
  return names;
}

bool isThere(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

bool plainVersion(const std::string& version) {
  return !version.empty() && version.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz.+-") == std::string::npos;
}

}  // namespace

std::string requirementFile(const std::vector<std::string>& files, const std::string& builderVersion,
                            const std::string& python) {
  const auto has = [&](const std::string& name) { return std::find(files.begin(), files.end(), name) != files.end(); };
  std::string digits = python.substr(0, python.find('.', python.find('.') + 1));
  digits.erase(std::remove(digits.begin(), digits.end(), '.'), digits.end());
  for (const std::string& name : {builderVersion + "." + digits + ".txt", builderVersion + ".txt"}) {
    if (has(name)) return name;
  }
  std::string newest;
  for (const std::string& name : files) {
    if (name.ends_with(".txt") && name.starts_with("20") && name.size() == std::string("2025.06.txt").size()) {
      newest = std::max(newest, name);
    }
  }
  return newest;
}

std::string missingRequirement(const std::string& pipOutput) {
  constexpr std::string_view kSaid = "No matching distribution found for ";
  const auto found = pipOutput.rfind(kSaid);
  if (found == std::string::npos) return "";
  const auto begin = found + kSaid.size();
  return pipOutput.substr(begin, pipOutput.find_first_of(" \n\r\x1b(;", begin) - begin);
}

std::string withoutPin(const std::string& list, const std::string& requirement) {
  const std::string name = nameOf(requirement);
  std::string out;
  for (const std::string& line : linesOf(list)) {
    const auto marker = line.find(';');
    const bool isIt =
        nameOf(line) == name && line.starts_with(requirement.substr(0, requirement.find_first_of("=<>~!")));
    out += (isIt ? name + (marker == std::string::npos ? "" : " " + line.substr(marker)) : line) + "\n";
  }
  return out;
}

std::string extrasConstraints(const std::map<std::string, std::string>& installed, const std::string& list) {
  std::map<std::string, std::string> versions;
  for (const auto& [name, version] : installed) versions[normalName(name)] = "==" + version;
  std::string out;
  for (const char* name : kFastapiBrings) {
    if (const auto found = versions.find(name); found != versions.end()) {
      out += found->first + found->second + "\n";
      continue;
    }
    for (const std::string& line : linesOf(list)) {
      if (nameOf(line) == name && line.find('=') != std::string::npos) out += line + "\n";
    }
  }
  return out;
}

Result<void> Packages::fetch(const Built& image, const std::string& script, const std::string& inside,
                             const std::string& target, std::string& output, const BuildLog& log) {
  ASSIGN_OR_RETURN(const WorkDirectory work, WorkDirectory::make(fs::path(target).parent_path().string()));
  Step step;
  step.lowers = image.layers;
  step.upper = work.path() + "/upper";
  RETURN_IF_ERROR(makeDirectories(step.upper));
  step.argv = {"/bin/sh", "-c", pipPrologue(image) + script};
  ASSIGN_OR_RETURN(const HostSettings* host, host_());
  step.environment = stepEnvironment(*host, {image.environment.begin(), image.environment.end()});
  // Settings of the image's own that would lead pip elsewhere than to the target.
  std::erase_if(step.environment, [](const auto& entry) {
    return entry.first == "PYTHONDONTWRITEBYTECODE" || entry.first == "PIP_TARGET" || entry.first == "PIP_USER" ||
           entry.first == "PYTHONPATH";
  });
  step.workdir = "/";
  step.binds = host->binds;
  ASSIGN_OR_RETURN(const int exitCode, run_(step, [&](std::string_view piece) {
                     log(piece);
                     output += piece;
                   }));
  if (exitCode != 0) {
    const auto from = output.size() - std::min<std::size_t>(output.size(), 1500);
    return makeError(Code::failedPrecondition, "exit code {}; its last output:\n{}", exitCode, output.substr(from));
  }
  return renamePath(step.upper + inside, target);
}

Result<std::string> Packages::package(const std::string& version, const Built& image, const BuildLog& log) {
  const std::string target = cache_ + "/pkg/" + version + "-" + abiOf(image);
  if (isThere(target)) return target;
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(target + ".lock"));
  if (isThere(target)) return target;
  log(fmt::format("fetching the client {} for Python {}\n", version, image.pythonVersion));
  const std::string script = "pip_install --no-deps --target /pkg modal==" + version +
                             "\n"
                             "NEEDS=$(sed -n 's/^Requires-Dist: *\\(synchronicity[^;]*\\).*/\\1/p' "
                             "/pkg/modal-*.dist-info/METADATA | tr -d ' ()' | head -1)\n"
                             "pip_install --no-deps --target /pkg \"${NEEDS:-synchronicity}\"\n"
                             "rm -rf /pkg/bin /pkg/*.dist-info\n"
                             "printf '%s' " +
                             shellQuoted(kSiteCustomize) + " > /pkg/sitecustomize.py\ncompile /pkg\n";
  std::string output;
  if (auto done = fetch(image, script, "/pkg", target, output, log); !done.ok()) {
    return done.error().within("client package modal==" + version);
  }
  return target;
}

Result<std::string> Packages::dependencies(const std::string& given, const Built& image, const BuildLog& log) {
  const std::string target = cache_ + "/deps/" + abiOf(image) + "-" + sha256(given).hex().substr(0, 16);
  if (isThere(target)) return target;
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(target + ".lock"));
  if (isThere(target)) return target;
  log(fmt::format("fetching the client's dependencies for Python {}\n", image.pythonVersion));
  std::string list = given;
  for (int unpinned = 0;; ++unpinned) {
    const std::string script = "printf '%s' " + shellQuoted(list) +
                               " > /tmp/gridiron-requirements.txt\n"
                               "pip_install --no-deps --target /__modal/deps -r /tmp/gridiron-requirements.txt\n"
                               "rm -rf /__modal/deps/bin\ncompile /__modal/deps\n";
    std::string output;
    const auto done = fetch(image, script, "/__modal/deps", target, output, log);
    if (done.ok()) return target;
    const std::string missing = missingRequirement(output);
    const std::string next = missing.empty() ? list : withoutPin(list, missing);
    if (next == list || unpinned >= kMostUnpinned) return done.error().within("the client's dependencies");
    log(fmt::format("the package index has no {}: the newest it has is taken\n", missing));
    list = next;
  }
}

Result<std::string> Packages::extras(const std::string& list, const Built& image, const BuildLog& log) {
  const std::string constraints = extrasConstraints(image.pythonPackages, list);
  const std::string target = cache_ + "/extras/fastapi-" + abiOf(image) + "-" + sha256(constraints).hex().substr(0, 16);
  if (isThere(target)) return target;
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(target + ".lock"));
  if (isThere(target)) return target;
  log("fetching FastAPI, which this image does not have\n");
  const std::string script = "printf '%s' " + shellQuoted(constraints) +
                             " > /tmp/gridiron-constraints.txt\n"
                             "pip_install --target /__modal/extras -c /tmp/gridiron-constraints.txt fastapi "
                             "python-multipart\nrm -rf /__modal/extras/bin\ncompile /__modal/extras\n";
  std::string output;
  if (auto done = fetch(image, script, "/__modal/extras", target, output, log); !done.ok()) {
    return done.error().within("FastAPI for the image's Python " + image.pythonVersion);
  }
  return target;
}

Result<Images::ClientPackage> Packages::client(const std::string& version, const Built& image, bool needsFastapi,
                                               const BuildLog& log) {
  // Builds of the client between releases carry a local part.
  const std::string release = version.substr(0, version.find('+'));
  if (!plainVersion(release)) return makeError(Code::invalidArgument, "'{}' is no client version", version);
  if (image.pythonVersion.empty()) {
    return makeError(Code::failedPrecondition, "image {} has no Python: functions need one (add_python=…)",
                     image.imageId);
  }
  Images::ClientPackage out;
  ASSIGN_OR_RETURN(out.pkg, package(release, image, log));
  const bool old = !image.builderVersion.empty() && image.builderVersion <= kLastWithInstalled;
  const std::string builders = out.pkg + "/modal/builder";
  const std::string file =
      requirementFile(namesIn(builders), old ? kLastWithInstalled : image.builderVersion, image.pythonVersion);
  std::string list;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(list, readFile(builders + "/" + file));
  }
  const bool installed = image.pythonPackages.contains("grpclib") && image.pythonPackages.contains("protobuf") &&
                         image.pythonPackages.contains("aiohttp");
  if (!list.empty() && !(old && installed)) {
    ASSIGN_OR_RETURN(out.dependencies, dependencies(list, image, log));
  }
  if (needsFastapi && !image.pythonPackages.contains("fastapi")) {
    ASSIGN_OR_RETURN(out.extras, extras(out.dependencies.empty() ? "" : list, image, log));
  }
  return out;
}

Result<std::string> Packages::uv(const std::string& wanted, const Built& over, const BuildLog& log) {
  if (over.pythonVersion.empty()) {
    return makeError(Code::unavailable, "no registry gave the image of uv, and without Python it cannot be installed");
  }
  std::string version = wanted.substr(0, wanted.find_first_not_of("0123456789."));
  while (version.ends_with('.')) version.pop_back();
  const std::string target = cache_ + "/uv/" + (version.empty() ? "newest" : version) + "-" + abiOf(over);
  if (isThere(target)) return target;
  ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(target + ".lock"));
  if (isThere(target)) return target;
  log("no registry gave the image of uv: its package is taken from the Python index\n");
  for (;;) {
    const std::string script = "pip_install --no-deps --target /gridiron-uv uv" +
                               (version.empty() ? "" : "==" + version) +
                               "\nmkdir /gridiron-out\nmv /gridiron-uv/bin/* /gridiron-out/\n";
    std::string output;
    const auto done = fetch(over, script, "/gridiron-out", target, output, log);
    if (done.ok()) return target;
    if (version.empty() || missingRequirement(output).empty()) return done.error().within("uv");
    log("the Python index has no uv " + version + ": the newest it has is taken\n");
    version.clear();
  }
}

}  // namespace gridiron::image
