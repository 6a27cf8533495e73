#pragma once

#include <optional>
#include <string>

#include "image/base.h"
#include "image/image.h"

namespace gridiron::image {

// What images/<id>.json holds: the image, and its key for the layers built upon it.
struct Record {
  Built built;
  std::string key;
};
std::string writeRecord(const Record& record);
std::optional<Record> readRecord(const std::string& text);

// A base with its settings, kept beside what was pulled; the same fields.
std::string writeBase(const Base& base);
std::optional<Base> readBase(const std::string& text);

// What an interpreter said of itself in answer to probeArgv(), into `built`. False when nothing was understood.
bool readProbe(const std::string& output, Built& built);
std::vector<std::string> probeArgv(const std::string& python);

}  // namespace gridiron::image
