#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "base/testing.h"
#include "sandbox/sandbox.h"

namespace gridiron::sandbox {

// All that the container sent to a stream until it was closed.
std::string readAll(Fd fd);
// Its next line, without the newline.
std::string readLine(const Fd& fd);

// How a container ended and what it said.
struct Ran {
  Exit exit;
  std::string out, err;
};

// Traces of the containers of `instance` on this machine: cgroups, links (a network namespace lives and dies with its
// link), mounts, directories.
std::set<std::string> traces(const std::string& instance, const std::string& stateDirectory);

// Containers whose root is the host's /usr behind a lower of links: sh and python3 of the host run in them.
class SandboxTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  Spec shell(const std::string& script);
  Spec python(const std::string& script);
  Result<std::unique_ptr<Sandbox>> start(const Spec& spec) { return sandboxes_->start(spec, nullptr); }
  // Starts it and waits for its end. A start that fails is a failed test.
  Ran run(const Spec& spec);
  Result<std::unique_ptr<Sandboxes>> open() { return openSandboxes(options_); }

  const TemporaryDirectory temporary_{"/var/tmp"};  // on a disk: overlays cannot lie on every kind of /tmp
  const std::string& directory_ = temporary_.path();
  Sandboxes::Options options_;
  std::unique_ptr<Sandboxes> sandboxes_;
  int started_ = 0;
};

}  // namespace gridiron::sandbox
