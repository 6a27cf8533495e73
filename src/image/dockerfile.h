#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace gridiron::image {

// One instruction as written, continuation lines joined and comments taken out. Variables are not yet replaced.
struct Instruction {
  enum class Kind {
    from,
    run,
    copy,
    add,
    env,
    arg,
    workdir,
    cmd,
    entrypoint,
    shell,
    user,
    ignored
  };  // ignored: LABEL, EXPOSE and others that nothing here acts on
  Kind kind = Kind::ignored;
  int line = 0;                                            // where it begins, from 1
  std::string text;                                        // for the log: "RUN apt-get update"
  std::vector<std::pair<std::string, std::string>> flags;  // --from=x → {"from", "x"}
  bool exec = false;                                       // CMD, ENTRYPOINT, RUN: the ["a", "b"] form, in `words`
  std::string rest;                                        // what follows keyword and flags
  std::vector<std::string> words;                          // of the exec form; of COPY and ADD; of FROM
};

// Reads a Dockerfile. What is not supported or malformed is an Error that names the line and the instruction.
// https://docs.docker.com/reference/dockerfile/
Result<std::vector<Instruction>> parseDockerfile(std::string_view text);

// Variables by name, for $NAME and ${NAME}, ${NAME:-otherwise}, ${NAME:+instead}.
using Variables = std::map<std::string, std::string>;

// `word` with variables replaced and, as the shell does it, quotes and backslashes taken away.
Result<std::string> expandWord(std::string_view word, const Variables& variables);

// Splits "A=1 B='x y'" (and the old "A anything") into names and expanded values; for ENV and ARG. An ARG without a
// value gives an empty `second` and hasValue false.
struct Assignment {
  std::string name, value;
  bool hasValue = true;
};
Result<std::vector<Assignment>> parseAssignments(const Instruction& instruction, const Variables& variables);

}  // namespace gridiron::image
