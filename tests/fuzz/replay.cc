// fuzz_replay CORPUS: gives every target the files of CORPUS/<target>/, and each of them cut short. A target without
// files, and files without a target, are failures: they have been forgotten.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "tests/fuzz/fuzz.h"

namespace gridiron::fuzz {
namespace {

std::string contentOf(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void replay(const Named& named, const std::string& bytes) {
  named.target(bytes);
  for (const std::size_t part :
       {bytes.size() / 3, bytes.size() / 2, bytes.size() - std::min<std::size_t>(1, bytes.size())})
    named.target(std::string_view(bytes).substr(0, part));
}

int run(const std::filesystem::path& corpus) {
  int wrong = 0;
  std::set<std::string> names;
  for (const Named& named : targets()) {
    names.insert(named.name);
    int files = 0;
    named.target({});
    if (std::filesystem::is_directory(corpus / named.name)) {
      for (const auto& entry : std::filesystem::directory_iterator(corpus / named.name)) {
        std::fprintf(stderr, "%s\n", entry.path().c_str());  // which one it was, should it crash
        replay(named, contentOf(entry.path()));
        ++files;
      }
    }
    std::printf("%s: %d files\n", named.name, files);
    if (files == 0) ++wrong;
  }
  for (const auto& entry : std::filesystem::directory_iterator(corpus)) {
    if (names.contains(entry.path().filename().string())) continue;
    std::printf("%s: there is no such target\n", entry.path().filename().c_str());
    ++wrong;
  }
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace gridiron::fuzz

int main(int argc, char** argv) {
  if (argc == 2) return gridiron::fuzz::run(argv[1]);
  std::fprintf(stderr, "usage: fuzz_replay CORPUS\n");
  return 2;
}
