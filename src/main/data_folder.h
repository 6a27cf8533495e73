#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace gridiron {

// The folder that one grid owns. Holding this object is holding its lock: a second process gets an error that names
// the first. The lock goes with the process, however it ends and whatever children it leaves. Once in a process: a
// second one of the same folder would take the first's place, and its end would be the lock's.
class DataFolder {
 public:
  // Makes the folder (0700) when it is missing. failedPrecondition: another process has it.
  static Result<DataFolder> lock(const std::string& path);

  const std::string& path() const { return path_; }

 private:
  DataFolder(std::string path, Fd file) : path_(std::move(path)), file_(std::move(file)) {}
  std::string path_;
  Fd file_;
};

// Where commands reach the grid that runs on `data`.
inline std::string adminSocketPath(const std::string& data) { return data + "/admin.sock"; }
// What is where in the folder; the grid and the commands that work without one agree by these.
inline std::string databasePath(const std::string& data) { return data + "/grid.db"; }
inline std::string blobsPath(const std::string& data) { return data + "/blobs"; }
inline std::string keyPath(const std::string& data) { return data + "/key"; }  // seals the secrets

}  // namespace gridiron
