#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "sandbox/plan.h"

namespace gridiron::sandbox {
namespace {

Result<void> removeTree(const std::string& path) {
  std::error_code failed;
  std::filesystem::remove_all(path, failed);
  if (failed) return errnoError("remove " + path, failed.value());
  return {};
}

Result<void> makeOne(const std::string& path, mode_t mode) {
  return ::mkdir(path.c_str(), mode) == 0 || errno == EEXIST ? Result<void>{} : errnoError("mkdir " + path);
}

// Takes an empty mount point out of an upper again; one that has been filled or changed kind meanwhile stays.
void takeBack(const std::string& upper, const std::string& path) {
  const std::string real = upper + path;
  struct stat info {};
  if (::lstat(real.c_str(), &info) != 0) return;
  if (S_ISDIR(info.st_mode)) {
    (void)::rmdir(real.c_str());
  } else if (S_ISREG(info.st_mode) && info.st_size == 0) {
    (void)::unlink(real.c_str());
  }
}

}  // namespace

bool underMounts(const std::string& path) {
  for (const char* top : {"/proc", "/sys", "/dev"}) {
    if (path == top || path.starts_with(std::string(top) + "/")) return true;
  }
  return false;
}

Result<std::unique_ptr<BoxDirectory>> BoxDirectory::make(const std::string& boxes, const Spec& spec) {
  if (spec.name.empty() || spec.name.size() > 128 || spec.name.front() == '.' ||
      spec.name.find('/') != std::string::npos) {
    return makeError(Code::invalidArgument, "\"{}\" cannot be the name of a container", spec.name);
  }
  const std::string path = boxes + "/" + spec.name;
  if (::mkdir(path.c_str(), 0755) != 0) return errnoError("mkdir " + path);
  std::unique_ptr<BoxDirectory> out(new BoxDirectory);
  out->path_ = path;
  if (spec.upper.empty()) {
    out->upper_ = path + "/upper";
    out->work_ = path + "/work";
  } else {
    out->upper_ = std::filesystem::path(spec.upper).lexically_normal().string();
    while (out->upper_.size() > 1 && out->upper_.back() == '/') out->upper_.pop_back();
    out->work_ = out->upper_ + ".work-" + spec.name;
    std::ofstream(path + "/record") << "work " << out->work_ << "\nupper " << out->upper_ << "\n";
    RETURN_IF_ERROR(makeDirectories(out->upper_));
  }
  if (spec.upper.empty()) RETURN_IF_ERROR(makeOne(out->upper_, 0755));
  RETURN_IF_ERROR(makeOne(out->work_, 0700));
  return out;
}

Result<void> BoxDirectory::noteMade(const std::string& path) {
  if (path.empty() || path.front() != '/' || path.find("/../") != std::string::npos || underMounts(path)) return {};
  made_.push_back(path);
  std::ofstream(path_ + "/record", std::ios::app) << "made " << path << "\n";
  return {};
}

Result<void> BoxDirectory::remove() {
  if (path_.empty()) return {};
  for (; !made_.empty(); made_.pop_back()) takeBack(upper_, made_.back());
  RETURN_IF_ERROR(removeTree(work_));
  RETURN_IF_ERROR(removeTree(path_));
  path_.clear();
  return {};
}

BoxDirectory::~BoxDirectory() { (void)remove().ok(); }

Result<void> BoxDirectory::sweep(const std::string& path) {
  std::ifstream record(path + "/record");
  std::string upper;
  std::vector<std::string> made;
  std::string work;
  for (std::string line; std::getline(record, line);) {
    const std::size_t space = line.find(' ');
    if (space == std::string::npos) continue;
    const std::string key = line.substr(0, space), value = line.substr(space + 1);
    if (key == "upper") upper = value;
    if (key == "work") work = value;
    if (key == "made") made.push_back(value);
  }
  for (; !made.empty() && !upper.empty(); made.pop_back()) takeBack(upper, made.back());
  if (!work.empty()) RETURN_IF_ERROR(removeTree(work));
  return removeTree(path);
}

}  // namespace gridiron::sandbox
