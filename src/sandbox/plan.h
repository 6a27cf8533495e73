#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "sandbox/child.h"
#include "sandbox/sandbox.h"

namespace gridiron::sandbox {

// The directory of one container under the state directory: upper/ and work/ unless the upper is the caller's, and
// record (what lies elsewhere). Undone by its destructor.
class BoxDirectory {
 public:
  static Result<std::unique_ptr<BoxDirectory>> make(const std::string& boxes, const Spec& spec);
  // What an earlier process left at `path`, from its record.
  static Result<void> sweep(const std::string& path);
  ~BoxDirectory();
  BoxDirectory(const BoxDirectory&) = delete;
  BoxDirectory& operator=(const BoxDirectory&) = delete;

  const std::string& path() const { return path_; }
  const std::string& upper() const { return upper_; }
  const std::string& work() const { return work_; }
  // A mount point had to be made in the container at `path` after all: it will be taken out of the upper again.
  Result<void> noteMade(const std::string& path);
  // Repeatable.
  Result<void> remove();

 private:
  BoxDirectory() = default;
  std::string path_, upper_, work_;
  std::vector<std::string> made_;
};

// On /proc, /sys or /dev, which are mounts of their own and reach no upper.
bool underMounts(const std::string& path);

// The mount points of the lowest layer, parents first: those that every container has and those of `binds`.
struct MountPoints {
  std::vector<std::string> directories, files;
  static MountPoints of(const std::vector<Attachment>& attachments);
};

// The texts of /etc/hosts and /etc/resolv.conf in a container. Pure functions.
std::string hostsText(const std::string& hostname, const std::string& address, const std::string& gridAddress);
std::string resolverText(const std::string& hosts, const std::string& systemd);

// What does not change from start to start.
struct Common {
  int init = -1;  // guest/init as a detached, read-only mount
  const std::vector<sock_filter>* filter = nullptr;
  int mapping = -1;  // a user namespace whose maps the layers are seen through; -1: containers have the host's ids
};

// Opens guest/init for all containers: on a mount of its own, so that none can write to it by /proc/1/exe.
Result<Fd> openInit(const std::string& path, int mapping);

// A ChildPlan and the owners of all it points to.
class PreparedChild {
 public:
  // Opens every layer and bind as a detached mount. `address` is the container's, "" without a network of its own.
  static Result<std::unique_ptr<PreparedChild>> make(const Spec& spec, const Common& common, const BoxDirectory& box,
                                                     const std::string& address, const std::string& gridAddress);
  ChildPlan& plan() { return plan_; }
  Fd takeOutput() { return std::move(outputRead_); }
  Fd takeErrors() { return std::move(errorsRead_); }
  void setNursery(int pidfd) { plan_.nursery = pidfd; }
  void setTaskFiles(std::vector<int> files);
  void setControl(int fd, int parentEnd) {
    plan_.control = fd;
    plan_.parentControl = parentEnd;
  }

 private:
  PreparedChild() = default;
  Result<void> openLayers(const Spec& spec, const BoxDirectory& box);
  Result<void> openDevices();
  void addFiles(const Spec& spec, const std::string& address, const std::string& gridAddress);
  void addMountPoints();
  Result<void> openBinds(const Spec& spec);
  Result<void> openStreams(const Spec& spec);
  void fillTexts(const Spec& spec, const BoxDirectory& box);
  void attach(Fd mount, const std::string& target, bool directory);
  const char* keep(std::string text);

  int mapping_ = -1;
  ChildPlan plan_;
  std::vector<Fd> fds_;
  std::vector<int> lowers_, taskFiles_;
  std::vector<std::unique_ptr<std::string>> texts_;
  std::vector<Attachment> attachments_;
  std::vector<SmallFile> files_;
  std::vector<const char*> argv_, environment_, baseDirectories_, baseFiles_;
  sock_fprog filter_{};
  Fd outputRead_, errorsRead_;
};

}  // namespace gridiron::sandbox
