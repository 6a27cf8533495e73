#pragma once

#include <string>
#include <vector>

namespace gridiron {

// Columns as wide as their widest cell, two spaces between; a column of numbers is set to the right. Ends in a newline.
std::string formatTable(const std::vector<std::string>& titles, const std::vector<std::vector<std::string>>& rows);

// "340 ms", "12.5 s", "3.2 min", "4.1 h"
std::string formatSeconds(double seconds);
// How long ago, from seconds since 1970: "12 s", "3 min", "5 h", "2 d"; "" for 0.
std::string formatAge(double since, double now);

}  // namespace gridiron
