#include "image/build.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <sstream>

#include "base/digest.h"
#include "base/fd.h"
#include "image/archive.h"
#include "image/stack.h"

namespace gridiron::image {

namespace fs = std::filesystem;

namespace {

using Kind = Instruction::Kind;
using Pairs = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t kKeptOutput = 4096;
constexpr std::size_t kShownLines = 20;

struct Stage {
  std::string name;
  Base base;
  Variables args;  // declared in this stage
};

std::string lastLines(const std::string& output) {
  std::string_view tail = output;
  while (tail.ends_with('\n')) tail.remove_suffix(1);
  std::size_t at = tail.size();
  for (std::size_t lines = 0; lines < kShownLines && at != std::string_view::npos && at > 0; ++lines) {
    at = tail.rfind('\n', at - 1);
  }
  return std::string(at == std::string_view::npos || at == 0 ? tail : tail.substr(at + 1));
}

// What values go into a layer's name; a secret only as a hash.
std::string flatten(const Pairs& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) out += name + "=" + sha256(value).hex() + "\n";
  return out;
}

std::string flattenWords(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += std::to_string(word.size()) + ":" + word;
  return out;
}

Variables platformArgs() {
  utsname machine{};
  ::uname(&machine);
  const std::string name = machine.machine;
  const std::string arch = name == "x86_64" ? "amd64" : name == "aarch64" ? "arm64" : name;
  return {{"TARGETARCH", arch}, {"TARGETOS", "linux"}, {"TARGETPLATFORM", "linux/" + arch},
          {"BUILDARCH", arch},  {"BUILDOS", "linux"},  {"BUILDPLATFORM", "linux/" + arch}};
}

std::optional<std::string> flagOf(const Instruction& instruction, std::string_view name) {
  for (const auto& [known, value] : instruction.flags) {
    if (known == name) return value;
  }
  return std::nullopt;
}

std::optional<unsigned> numberOf(const std::string& text, int radix) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, radix);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// The third column of the line that begins with "name:" (and for users the fourth too).
std::optional<std::vector<std::string>> accountOf(const Stack& view, const char* file, const std::string& name) {
  const auto text = view.read(file);
  if (!text.ok()) return std::nullopt;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> columns;
    std::istringstream stream(line);
    for (std::string column; std::getline(stream, column, ':');) columns.push_back(column);
    if (columns.size() >= 3 && columns.front() == name) return columns;
  }
  return std::nullopt;
}

Result<Owner> ownerOf(const Stack& view, const std::string& text) {
  const auto colon = text.find(':');
  const std::string user = text.substr(0, colon);
  const std::string group = colon == std::string::npos ? "" : text.substr(colon + 1);
  Owner owner;
  if (const auto number = numberOf(user, 10)) {
    owner = {*number, *number};
  } else if (const auto account = accountOf(view, "/etc/passwd", user); account && account->size() >= 4) {
    owner = {numberOf((*account)[2], 10).value_or(0), numberOf((*account)[3], 10).value_or(0)};
  } else {
    return makeError(Code::invalidArgument, "the image has no user '{}'", user);
  }
  if (group.empty()) return owner;
  if (const auto number = numberOf(group, 10)) {
    owner.group = *number;
  } else if (const auto account = accountOf(view, "/etc/group", group)) {
    owner.group = numberOf((*account)[2], 10).value_or(0);
  } else {
    return makeError(Code::invalidArgument, "the image has no group '{}'", group);
  }
  return owner;
}

class Build {
 public:
  Build(const Recipe& recipe, const BuildTools& tools) : recipe_(recipe), tools_(tools) {}

  Result<Base> run() {
    std::string text;
    for (const std::string& piece : recipe_.dockerfile) text += piece + "\n";
    ASSIGN_OR_RETURN(const std::vector<Instruction> instructions, parseDockerfile(text));
    RETURN_IF_ERROR(layOutContext());
    int number = 0;
    for (const Instruction& instruction : instructions) {
      const std::string step =
          fmt::format("step {}/{} (line {}) '{}'", ++number, instructions.size(), instruction.line, instruction.text);
      tools_.log(fmt::format("=> Step {}/{}: {}\n", number, instructions.size(), instruction.text));
      if (auto done = carryOut(instruction); !done.ok()) return done.error().within(step);
    }
    if (stages_.empty()) return makeError(Code::invalidArgument, "the Dockerfile has no FROM");
    return stages_.back().base;
  }

 private:
  Stage& stage() { return stages_.back(); }
  Base& base() { return stages_.back().base; }

  Result<void> layOutContext() {
    std::vector<std::string> roots;
    if (!recipe_.contextFiles.empty()) {
      ASSIGN_OR_RETURN(WorkDirectory files, WorkDirectory::make(fs::temp_directory_path().string()));
      for (const auto& [name, bytes] : recipe_.contextFiles) {
        const fs::path inside = fs::path("/" + name).lexically_normal();
        const std::string path = files.path() + inside.string();
        RETURN_IF_ERROR(makeDirectories(fs::path(path).parent_path().string()));
        RETURN_IF_ERROR(writeFileAtomic(path, bytes, 0644, Durable::no));
      }
      roots.push_back(files.path());
      contextFiles_.emplace(std::move(files));
    }
    if (!recipe_.contextDirectory.empty()) roots.push_back(recipe_.contextDirectory);
    context_.emplace(std::move(roots));
    return {};
  }

  Result<void> carryOut(const Instruction& instruction) {
    switch (instruction.kind) {
      case Kind::from:
        return from(instruction);
      case Kind::arg:
        return arg(instruction);
      case Kind::env:
        return env(instruction);
      case Kind::run:
        return runStep(instruction);
      case Kind::copy:
      case Kind::add:
        return copy(instruction);
      case Kind::workdir:
        return workdir(instruction);
      case Kind::shell:
        base().shell = instruction.words;
        return {};
      case Kind::cmd:
        base().command = commandOf(instruction);
        return {};
      case Kind::entrypoint:
        base().entrypoint = commandOf(instruction);
        base().command.clear();
        return {};
      case Kind::user:
        if (instruction.rest != "root" && instruction.rest != "0") {
          tools_.log("   noted, but steps and containers run as the container's root\n");
        }
        return {};
      case Kind::ignored:
        return {};
    }
    return {};
  }

  // What $NAME means in this instruction: ARG under ENV.
  Variables variables() const {
    Variables known = stages_.empty() ? globalArgs_ : stages_.back().args;
    if (!stages_.empty()) {
      for (const auto& [name, value] : stages_.back().base.environment) known[name] = value;
    }
    return known;
  }

  Result<void> from(const Instruction& instruction) {
    Variables known = platformArgs();
    for (const auto& [name, value] : globalArgs_) known[name] = value;
    ASSIGN_OR_RETURN(const std::string tag, expandWord(instruction.words.front(), known));
    Stage next;
    next.name = instruction.words.size() == 3 ? instruction.words[2] : "";
    if (const Stage* earlier = findStage(tag)) {
      next.base = earlier->base;
    } else {
      ASSIGN_OR_RETURN(next.base, tools_.base(tag));
    }
    stages_.push_back(std::move(next));
    return {};
  }

  const Stage* findStage(const std::string& name) const {
    const auto found = std::find_if(stages_.begin(), stages_.end(), [&](const Stage& s) { return s.name == name; });
    if (found != stages_.end() && !name.empty()) return &*found;
    const auto number = numberOf(name, 10);
    return number && *number < stages_.size() ? &stages_[*number] : nullptr;
  }

  Result<void> arg(const Instruction& instruction) {
    ASSIGN_OR_RETURN(const auto assignments, parseAssignments(instruction, variables()));
    Variables& into = stages_.empty() ? globalArgs_ : stage().args;
    for (const Assignment& given : assignments) {
      const auto isIt = [&](const auto& pair) { return pair.first == given.name; };
      const auto chosen = std::find_if(recipe_.buildArgs.begin(), recipe_.buildArgs.end(), isIt);
      const Variables platform = platformArgs();
      if (chosen != recipe_.buildArgs.end()) {
        into[given.name] = chosen->second;
      } else if (given.hasValue) {
        into[given.name] = given.value;
      } else if (!stages_.empty() && globalArgs_.contains(given.name)) {
        into[given.name] = globalArgs_.at(given.name);
      } else if (platform.contains(given.name)) {
        into[given.name] = platform.at(given.name);
      }
    }
    return {};
  }

  Result<void> env(const Instruction& instruction) {
    ASSIGN_OR_RETURN(const auto assignments, parseAssignments(instruction, variables()));
    for (const Assignment& given : assignments) base().environment[given.name] = given.value;
    return {};
  }

  std::vector<std::string> commandOf(const Instruction& instruction) {
    if (instruction.exec) return instruction.words;
    std::vector<std::string> argv = shell();
    argv.push_back(instruction.rest);
    return argv;
  }

  std::vector<std::string> shell() {
    return base().shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : base().shell;
  }

  void push(const std::string& key, const std::string& path) {
    base().key = key;
    base().layers.insert(base().layers.begin(), path);
  }

  Result<void> workdir(const Instruction& instruction) {
    ASSIGN_OR_RETURN(const std::string given, expandWord(instruction.rest, variables()));
    const fs::path full = fs::path(base().workdir.empty() ? "/" : base().workdir) / given;
    std::string path = full.lexically_normal().string();
    if (path.size() > 1 && path.ends_with('/')) path.pop_back();
    base().workdir = path;
    if (Stack(base().layers).isDirectory(path)) return {};
    const std::string key = layerKey({base().key, "workdir", path});
    ASSIGN_OR_RETURN(const auto made, tools_.layers.make(key, [&](const std::string& layer) {
      return LayerWriter(layer, base().layers).makeDirectory(path, std::nullopt, {});
    }));
    push(key, made.path);
    return {};
  }

  Pairs stepVariables() {
    Variables merged = stage().args;
    for (const auto& [name, value] : base().environment) merged[name] = value;
    for (const auto& [name, value] : recipe_.secrets) merged[name] = value;
    return {merged.begin(), merged.end()};
  }

  Result<void> runStep(const Instruction& instruction) {
    const std::vector<std::string> argv = commandOf(instruction);
    const Pairs variables = stepVariables();
    const std::string key = layerKey({base().key, "run", flattenWords(argv), flatten(variables), base().workdir});
    ASSIGN_OR_RETURN(const auto made, tools_.layers.make(key, [&](const std::string& upper) -> Result<void> {
      Step step;
      step.lowers = base().layers;
      step.upper = upper;
      step.argv = argv;
      step.environment = stepEnvironment(tools_.host, variables);
      step.workdir = base().workdir.empty() ? "/" : base().workdir;
      step.binds = tools_.host.binds;
      return runLogged(step);
    }));
    if (made.cached) tools_.log("   cached\n");
    push(key, made.path);
    return {};
  }

  Result<void> runLogged(const Step& step) {
    std::string tail;
    ASSIGN_OR_RETURN(const int exitCode, tools_.run(step, [&](std::string_view piece) {
      tools_.log(piece);
      tail += piece;
      if (tail.size() > 2 * kKeptOutput) tail.erase(0, tail.size() - kKeptOutput);
    }));
    if (exitCode != 0) {
      return makeError(Code::failedPrecondition, "exit code {}; its last output:\n{}", exitCode, lastLines(tail));
    }
    removeBuildFiles(step.upper);
    return {};
  }

  // Where COPY reads from, and what names its content.
  struct Source {
    Stack stack;
    std::string key;  // "" = hash what is copied
    std::string what;
  };
  Result<Source> sourceOf(const Instruction& instruction) {
    const auto from = flagOf(instruction, "from");
    if (!from) return Source{*context_, "", "the build context"};
    ASSIGN_OR_RETURN(const std::string name, expandWord(*from, variables()));
    if (const Stage* earlier = findStage(name)) return Source{Stack(earlier->base.layers), earlier->base.key, name};
    auto image = tools_.base(name);
    if (image.ok()) return Source{Stack(image->layers), image->key, name};
    const auto isUv = name.find("astral-sh/uv");
    if (isUv == std::string::npos || image.error().code == Code::cancelled) return image.error();
    const auto colon = name.find(':', isUv);
    ASSIGN_OR_RETURN(const std::string uv, tools_.uv(colon == std::string::npos ? "" : name.substr(colon + 1), base()));
    return Source{Stack({uv}), "uv:" + fs::path(uv).filename().string(), name};
  }

  struct Piece {
    std::string source, target;
    bool unpack = false;
  };

  Result<std::vector<Piece>> piecesOf(const Instruction& instruction, const Source& source) {
    std::vector<std::string> words;
    for (const std::string& word : instruction.words) {
      ASSIGN_OR_RETURN(std::string expanded, expandWord(word, variables()));
      words.push_back(std::move(expanded));
    }
    const std::string given = words.back();
    words.pop_back();
    const fs::path joined = fs::path(base().workdir.empty() ? "/" : base().workdir) / given;
    std::string target = joined.lexically_normal().string();
    bool intoDirectory = given.ends_with('/') || given == "." || given.ends_with("/.");
    while (target.size() > 1 && target.ends_with('/')) target.pop_back();
    std::vector<std::string> sources;
    for (const std::string& word : words) {
      if (word.find("://") != std::string::npos) {
        return makeError(Code::invalidArgument, "ADD of a URL is not supported: RUN curl -O {}", word);
      }
      const std::vector<std::string> matches = source.stack.glob(word);
      if (matches.empty()) return makeError(Code::notFound, "'{}' is not in {}", word, source.what);
      sources.insert(sources.end(), matches.begin(), matches.end());
    }
    intoDirectory = intoDirectory || sources.size() > 1 || Stack(base().layers).isDirectory(target);
    std::vector<Piece> pieces;
    for (const std::string& path : sources) {
      const auto entry = source.stack.find(path);
      if (!entry) return makeError(Code::notFound, "'{}' is a dangling link in {}", path, source.what);
      const bool unpack = instruction.kind == Kind::add && !entry->isDirectory() && isArchive(entry->host);
      const std::string name = fs::path(path).filename().string();
      const bool asFile = !entry->isDirectory() && !unpack && intoDirectory;
      pieces.push_back({entry->path, asFile ? (target == "/" ? "" : target) + "/" + name : target, unpack});
    }
    return pieces;
  }

  Result<void> copy(const Instruction& instruction) {
    ASSIGN_OR_RETURN(const Source source, sourceOf(instruction));
    ASSIGN_OR_RETURN(const std::vector<Piece> pieces, piecesOf(instruction, source));
    Owner owner;
    if (const auto chown = flagOf(instruction, "chown")) {
      ASSIGN_OR_RETURN(const std::string who, expandWord(*chown, variables()));
      ASSIGN_OR_RETURN(owner, ownerOf(Stack(base().layers), who));
    }
    std::optional<mode_t> mode;
    if (const auto chmod = flagOf(instruction, "chmod")) {
      mode = numberOf(*chmod, 8);
      if (!mode) return makeError(Code::invalidArgument, "--chmod={} is no octal number", *chmod);
    }
    std::string inputs = fmt::format("{}:{} {:o} {}", owner.user, owner.group, mode.value_or(01000000), source.key);
    for (const Piece& piece : pieces) {
      inputs += "\n" + piece.source + "\n" + piece.target + (piece.unpack ? " unpacked " : " ");
      if (!source.key.empty()) continue;
      ASSIGN_OR_RETURN(const std::string hash, hashTree(source.stack, piece.source));
      inputs += hash;
    }
    const std::string key = layerKey({base().key, "copy", inputs});
    ASSIGN_OR_RETURN(const auto made, tools_.layers.make(key, [&](const std::string& layer) -> Result<void> {
      LayerWriter writer(layer, base().layers);
      for (const Piece& piece : pieces) {
        if (piece.unpack) {
          RETURN_IF_ERROR(writer.makeDirectory(piece.target, std::nullopt, {}));
          RETURN_IF_ERROR(unpackArchive(source.stack.find(piece.source)->host,
                                        layer + writer.view().resolve(piece.target, Stack::Last::follow),
                                        Whiteouts::asFiles));
        } else {
          RETURN_IF_ERROR(writer.copy(source.stack, piece.source, piece.target, owner, mode));
        }
      }
      return {};
    }));
    if (made.cached) tools_.log("   cached\n");
    push(key, made.path);
    return {};
  }

  const Recipe& recipe_;
  const BuildTools& tools_;
  std::optional<WorkDirectory> contextFiles_;
  std::optional<Stack> context_;
  Variables globalArgs_;  // declared before the first FROM
  std::vector<Stage> stages_;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> stepEnvironment(const HostSettings& host, const Pairs& environment) {
  Variables merged{{"PATH", kDefaultPath}, {"HOME", "/root"}};
  for (const auto& [name, value] : host.environment) merged[name] = value;
  for (const auto& [name, value] : environment) merged[name] = value;
  return {merged.begin(), merged.end()};
}

void removeBuildFiles(const std::string& upper) {
  std::error_code ignored;
  fs::remove_all(upper + kBuildFiles, ignored);
}

Result<Base> buildRecipe(const Recipe& recipe, const BuildTools& tools) { return Build(recipe, tools).run(); }

}  // namespace gridiron::image
