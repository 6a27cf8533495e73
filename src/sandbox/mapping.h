#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace gridiron::sandbox {

constexpr unsigned kFirstUser = 100'000;  // the container's root here

// Gives the user namespace of process `pid` the maps of every container: its users 0 to 65535 are 100000 and up here.
Result<void> writeMaps(int pid);

// A user namespace with these maps, kept alive by the descriptor alone; layers are seen through it.
Result<Fd> makeMapping();

// Whether the file system at `directory` can be seen through `mapping`.
bool canBeMapped(const std::string& directory, int mapping);

}  // namespace gridiron::sandbox
