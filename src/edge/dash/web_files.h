#pragma once

#include <map>
#include <string_view>

namespace gridiron::edge {

// The files of web/ by name ("index.html"), as they were when the program was built.
const std::map<std::string_view, std::string_view>& webFiles();

}  // namespace gridiron::edge
