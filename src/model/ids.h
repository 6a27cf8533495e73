#pragma once

#include "base/id.h"

namespace gridiron {

// The names of things. The prefixes are the wire's: clients read the kind of an object from them.
struct AppTag {
  static constexpr const char* prefix = "ap";
};
struct FunctionTag {
  static constexpr const char* prefix = "fu";
};
struct CallTag {
  static constexpr const char* prefix = "fc";
};
struct InputTag {
  static constexpr const char* prefix = "in";
};
struct ImageTag {
  static constexpr const char* prefix = "im";
};
struct MountTag {
  static constexpr const char* prefix = "mo";
};
struct SecretTag {
  static constexpr const char* prefix = "st";
};
struct InstanceTag {
  static constexpr const char* prefix = "ta";
};
struct EnvironmentTag {
  static constexpr const char* prefix = "en";
};
struct DefinitionTag {
  static constexpr const char* prefix = "de";
};
struct BlobTag {
  static constexpr const char* prefix = "bl";
};
struct ClassTag {
  static constexpr const char* prefix = "cs";
};
struct WorkerTag {
  static constexpr const char* prefix = "wk";
};

using AppId = Id<AppTag>;
using FunctionId = Id<FunctionTag>;
using CallId = Id<CallTag>;
using InputId = Id<InputTag>;
using ImageId = Id<ImageTag>;
using MountId = Id<MountTag>;
using SecretId = Id<SecretTag>;
using InstanceId = Id<InstanceTag>;  // a container; the client calls it a task
using EnvironmentId = Id<EnvironmentTag>;
using DefinitionId = Id<DefinitionTag>;
using BlobId = Id<BlobTag>;
using ClassId = Id<ClassTag>;
using WorkerId = Id<WorkerTag>;

// A fresh container id. Never ends in "V", which clients take for another kind of task.
InstanceId newInstanceId();

}  // namespace gridiron
