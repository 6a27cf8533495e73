// Any bytes: our HTTP/1 parser and Beast's agree on every request that ours takes.
//   clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -DBOOST_ERROR_CODE_HEADER_ONLY -Isrc
//   src/net/h1_parser_fuzz.cc src/net/h1_parser.cc
//     src/net/http.cc src/base/result.cc -lfmt
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "net/h1_differential.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t cut = 1 + data[0] % 17;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const std::string difference = gridiron::net::compareReadings(bytes, cut);
  if (!difference.empty()) {
    std::fprintf(stderr, "%s\n", difference.c_str());
    std::abort();
  }
  return 0;
}
