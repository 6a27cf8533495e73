#pragma once

#include <string>

#include "base/result.h"

namespace gridiron::image {

enum class Whiteouts {
  asFiles,   // ".wh.x" is a file like any other
  overlaid,  // an OCI layer: ".wh.x" becomes a device 0:0, ".wh..wh..opq" the user.overlay.opaque of its directory
};

// Whether the file at `path` is a tar archive, compressed or not.
bool isArchive(const std::string& path);

// Unpacks a tar archive (gzip, zstd, xz, bzip2 or plain) into a directory, with owners, modes, times and links. Entries
// never leave the directory: neither by "..", nor by an absolute name, nor through a link the archive made.
Result<void> unpackArchive(const std::string& archive, const std::string& directory, Whiteouts whiteouts);

// One regular file of an archive, as text; notFound when it is not in it.
Result<std::string> readFromArchive(const std::string& archive, const std::string& name);

}  // namespace gridiron::image
