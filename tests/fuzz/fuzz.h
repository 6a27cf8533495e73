#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

// One target a file: FUZZ(its_name) { … bytes … }, for any bytes at all. Built with libFuzzer each is a program of its
// own; without it they are all in fuzz_replay, which gives each the files of its corpus.
namespace gridiron::fuzz {

using Target = void (*)(std::string_view bytes);

struct Named {
  const char* name;
  Target target;
};
inline std::vector<Named>& targets() {
  static std::vector<Named> all;
  return all;
}
struct Register {
  Register(const char* name, Target target) { targets().push_back({name, target}); }
};

// What must hold for every input.
inline void require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what.c_str());
  std::abort();
}

// Takes the first byte off `bytes`: a choice of the fuzzer's. 0 when there is none.
inline unsigned choice(std::string_view& bytes) {
  if (bytes.empty()) return 0;
  const auto first = static_cast<unsigned char>(bytes.front());
  bytes.remove_prefix(1);
  return first;
}

}  // namespace gridiron::fuzz

#ifdef GRIDIRON_LIBFUZZER
#define FUZZ(name)                                                                    \
  static void fuzz_##name(std::string_view bytes);                                    \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    fuzz_##name(std::string_view(reinterpret_cast<const char*>(data), size));         \
    return 0;                                                                         \
  }                                                                                   \
  static void fuzz_##name(std::string_view bytes)
#else
#define FUZZ(name)                                                             \
  static void fuzz_##name(std::string_view bytes);                             \
  static const gridiron::fuzz::Register registered_##name(#name, fuzz_##name); \
  static void fuzz_##name(std::string_view bytes)
#endif
