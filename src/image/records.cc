#include "image/records.h"

#include <nlohmann/json.hpp>

namespace gridiron::image {

namespace {

using Json = nlohmann::json;
using Words = std::vector<std::string>;
using Names = std::map<std::string, std::string>;

constexpr const char* kMark = "GRIDIRON-PYTHON ";
constexpr const char* kProbe =
    "import json, platform, importlib.metadata as m\n"
    "names = {d.metadata['Name']: d.version for d in m.distributions() if d.metadata['Name']}\n"
    "print('\\nGRIDIRON-PYTHON ' + json.dumps({'version': platform.python_version(), "
    "'libc': ' '.join(platform.libc_ver()), 'packages': names}))\n";

Json parsed(const std::string& text) { return Json::parse(text, nullptr, false); }

}  // namespace

std::string writeRecord(const Record& record) {
  const Built& b = record.built;
  return Json{{"id", b.imageId},
              {"key", record.key},
              {"layers", b.layers},
              {"environment", b.environment},
              {"workdir", b.workdir},
              {"entrypoint", b.entrypoint},
              {"command", b.command},
              {"shell", b.shell},
              {"python", {{"version", b.pythonVersion}, {"path", b.pythonPath}, {"packages", b.pythonPackages}}},
              {"libc", b.libc},
              {"builder", b.builderVersion}}
      .dump(1);
}

std::optional<Record> readRecord(const std::string& text) {
  const Json json = parsed(text);
  if (!json.is_object()) return std::nullopt;
  try {
    Record record;
    Built& b = record.built;
    json.at("id").get_to(b.imageId);
    json.at("key").get_to(record.key);
    json.at("layers").get_to(b.layers);
    json.at("environment").get_to(b.environment);
    json.at("workdir").get_to(b.workdir);
    json.at("entrypoint").get_to(b.entrypoint);
    json.at("command").get_to(b.command);
    json.at("shell").get_to(b.shell);
    json.at("python").at("version").get_to(b.pythonVersion);
    json.at("python").at("path").get_to(b.pythonPath);
    json.at("python").at("packages").get_to(b.pythonPackages);
    json.at("libc").get_to(b.libc);
    json.at("builder").get_to(b.builderVersion);
    return record;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::string writeBase(const Base& base) {
  return Json{{"key", base.key},         {"layers", base.layers},         {"environment", base.environment},
              {"workdir", base.workdir}, {"entrypoint", base.entrypoint}, {"command", base.command},
              {"shell", base.shell}}
      .dump(1);
}

std::optional<Base> readBase(const std::string& text) {
  const Json json = parsed(text);
  if (!json.is_object()) return std::nullopt;
  try {
    Base base;
    json.at("key").get_to(base.key);
    json.at("layers").get_to(base.layers);
    json.at("environment").get_to(base.environment);
    json.at("workdir").get_to(base.workdir);
    json.at("entrypoint").get_to(base.entrypoint);
    json.at("command").get_to(base.command);
    json.at("shell").get_to(base.shell);
    return base;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::vector<std::string> probeArgv(const std::string& python) { return {python, "-c", kProbe}; }

bool readProbe(const std::string& output, Built& built) {
  const auto mark = output.rfind(kMark);
  if (mark == std::string::npos) return false;
  const auto begin = mark + std::string(kMark).size();
  const Json json = parsed(output.substr(begin, output.find('\n', begin) - begin));
  if (!json.is_object()) return false;
  built.pythonVersion = json.value("version", "");
  const std::string libc = json.value("libc", "");
  if (built.libc.empty() && libc.size() > 1) built.libc = libc;
  built.pythonPackages = json.value("packages", Names{});
  return !built.pythonVersion.empty();
}

}  // namespace gridiron::image
