// Dockerfile commands, their words and assignments.
#include "image/dockerfile.h"

#include "tests/fuzz/fuzz.h"

FUZZ(dockerfile) {
  using namespace gridiron::image;
  const Variables variables{{"A", "1"}, {"EMPTY", ""}, {"PATH", "/bin:$A"}};
  (void)expandWord(bytes.substr(0, 512), variables);
  const auto instructions = parseDockerfile(bytes);
  if (!instructions.ok()) {
    gridiron::fuzz::require(!instructions.error().message.empty(), "an error says what is wrong");
    return;
  }
  for (const Instruction& one : *instructions) {
    gridiron::fuzz::require(one.line >= 1, "an instruction begins in a line");
    if (one.kind == Instruction::Kind::env || one.kind == Instruction::Kind::arg)
      (void)parseAssignments(one, variables);
    for (const std::string& word : one.words) (void)expandWord(word, variables);
  }
}
