// bench_sandbox STATE INIT ROOT: the grid's sandbox for bench/sandbox. Each line that comes, a network (none, nat) and
// a program's words, is one container; the answer is how long it took from asking for it to its first byte, in
// milliseconds, or "error …". ROOT is the lowest layer, with the host's /usr in it.

#include <unistd.h>

#include <chrono>
#include <iostream>
#include <sstream>

#include "sandbox/sandbox.h"

namespace gridiron {
namespace {

using sandbox::Network;

// Milliseconds to the first byte of its output.
Result<double> runOne(sandbox::Sandboxes& sandboxes, const sandbox::Spec& spec) {
  const auto begun = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const auto box, sandboxes.start(spec, nullptr));
  const Fd output = box->takeStdout();
  char first = 0;
  if (::read(output.get(), &first, 1) != 1) return makeError(Code::aborted, "{} says nothing", spec.argv[0]);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begun;
  box->wait();
  RETURN_IF_ERROR(box->remove());
  return took.count();
}

int serve(const std::string& state, const std::string& init, const std::string& root) {
  sandbox::Sandboxes::Options options;
  options.stateDirectory = state;
  options.initPath = init;
  options.instance = "bench";
  options.bridge = "gridironbench";
  options.subnet = "10.214.0.0/16";
  auto sandboxes = sandbox::openSandboxes(options);
  if (!sandboxes.ok() || !(*sandboxes)->sweep().ok()) {
    std::cerr << (sandboxes.ok() ? "cannot sweep" : sandboxes.error().message) << "\n";
    return 1;
  }
  int count = 0;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string network;
    words >> network;
    sandbox::Spec spec;
    spec.name = "bench-" + std::to_string(++count);
    spec.lowers = {root};
    spec.binds = {{"/usr", "/usr", true}};
    for (std::string word; words >> word;) spec.argv.push_back(word);
    spec.environment = {{"PATH", "/usr/bin:/bin"}};
    spec.hostname = "bench";
    spec.limits.prompt = true;  // as somebody waits for it
    spec.network = network == "nat" ? Network::nat : Network::none;
    const Result<double> took =
        spec.argv.empty() ? makeError(Code::invalidArgument, "no program in '{}'", line) : runOne(**sandboxes, spec);
    if (took.ok()) {
      std::cout << *took << std::endl;
    } else {
      std::cout << "error " << took.error().message << std::endl;
    }
  }
  return 0;
}

}  // namespace
}  // namespace gridiron

int main(int argc, char** argv) {
  if (argc == 4) return gridiron::serve(argv[1], argv[2], argv[3]);
  std::cerr << "bench_sandbox STATE INIT ROOT\n";
  return 2;
}
