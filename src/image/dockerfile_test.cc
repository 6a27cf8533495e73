#include "image/dockerfile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gridiron::image {
namespace {

using Kind = Instruction::Kind;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<Instruction> parsed(std::string_view text) {
  auto result = parseDockerfile(text);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? *result : std::vector<Instruction>{};
}

std::string refusal(std::string_view text) {
  auto result = parseDockerfile(text);
  EXPECT_FALSE(result.ok());
  return result.ok() ? "" : result.error().message;
}

TEST(Dockerfile, DebianSlimOfTheNewerBuilders) {
  const auto steps = parsed(
      "FROM python:3.11.12-slim-bookworm\n"
      "RUN apt-get update\n"
      "RUN apt-get install -y gcc gfortran build-essential\n"
      "RUN pip install --upgrade pip wheel uv\n"
      "RUN echo 'debconf debconf/frontend select Noninteractive' | debconf-set-selections\n"
      "CMD [\"sleep\", \"172800\"]");
  ASSERT_EQ(steps.size(), 6u);
  EXPECT_THAT(steps[0].words, ElementsAre("python:3.11.12-slim-bookworm"));
  EXPECT_EQ(steps[2].rest, "apt-get install -y gcc gfortran build-essential");
  EXPECT_EQ(steps[4].rest, "echo 'debconf debconf/frontend select Noninteractive' | debconf-set-selections");
  EXPECT_TRUE(steps[5].exec);
  EXPECT_THAT(steps[5].words, ElementsAre("sleep", "172800"));
  EXPECT_EQ(steps[5].line, 6);
}

TEST(Dockerfile, UvTakesACommandSubstitutionForTheShellToExpand) {
  const auto steps = parsed(
      "FROM base\nCOPY --from=ghcr.io/astral-sh/uv:0.9.1 /uv /.uv/uv\n"
      "RUN /.uv/uv pip install --python $(command -v python) --compile-bytecode numpy");
  EXPECT_THAT(steps[1].flags, ElementsAre(std::pair<std::string, std::string>("from", "ghcr.io/astral-sh/uv:0.9.1")));
  EXPECT_THAT(steps[1].words, ElementsAre("/uv", "/.uv/uv"));
  EXPECT_EQ(steps[2].rest, "/.uv/uv pip install --python $(command -v python) --compile-bytecode numpy");
}

TEST(Dockerfile, PoetrySpreadsOneRunOverThreeLinesWithABlankBehindTheBackslash) {
  const auto steps = parsed(
      "FROM base\nRUN cd /tmp/poetry && \\ \n  poetry config virtualenvs.create false && \\ \n"
      "  poetry install --no-root --compile\nRUN true");
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[1].rest,
            "cd /tmp/poetry &&   poetry config virtualenvs.create false &&   poetry install --no-root --compile");
  EXPECT_EQ(steps[2].line, 5);
}

TEST(Dockerfile, CommentsAndEmptyLinesAreNoPartOfAContinuedInstruction) {
  const auto steps = parsed("# top\nFROM x\n\nRUN a \\\n  # why\n\n  b\n# end\n");
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[1].rest, "a   b");
  EXPECT_EQ(steps[1].line, 4);
}

TEST(Dockerfile, KeywordsInAnyCaseAndStagesWithNames) {
  const auto steps =
      parsed("from debian:bookworm as build\nrun make\nFROM build\nCOPY --from=build --chown=0:0 a b /c/");
  EXPECT_THAT(steps[0].words, ElementsAre("debian:bookworm", "as", "build"));
  EXPECT_EQ(steps[1].kind, Kind::run);
  EXPECT_THAT(steps[3].words, ElementsAre("a", "b", "/c/"));
}

TEST(Dockerfile, TheEscapeCharacterCanBeChosen) {
  EXPECT_EQ(parsed("# escape=`\nFROM x\nRUN a `\n b\\\nRUN c").size(), 3u);
}

TEST(Dockerfile, ABracketThatIsNoJsonIsShell) {
  const auto steps = parsed("FROM x\nRUN [ -f /x ] && true\nRUN [\"a\", \"b c\"]");
  EXPECT_FALSE(steps[1].exec);
  EXPECT_TRUE(steps[2].exec);
  EXPECT_THAT(steps[2].words, ElementsAre("a", "b c"));
}

TEST(Dockerfile, RefusalsNameLineAndInstruction) {
  EXPECT_THAT(refusal("FROM x\nFETCH y"), HasSubstr("line 2: 'FETCH y': unknown instruction FETCH"));
  EXPECT_THAT(refusal("FROM x\n\nONBUILD RUN y"), HasSubstr("line 3"));
  EXPECT_THAT(refusal("FROM x\nRUN --mount=type=secret,id=a cat /run/secrets/a"), HasSubstr("type=cache"));
  EXPECT_THAT(refusal("FROM x\nRUN <<EOF"), HasSubstr("here-documents"));
  EXPECT_THAT(refusal("RUN x"), HasSubstr("no FROM before it"));
  EXPECT_THAT(refusal("FROM x y"), HasSubstr("line 1"));
  EXPECT_THAT(refusal("FROM x\nCOPY y"), HasSubstr("destination"));
  EXPECT_THAT(refusal("FROM x\nSHELL /bin/bash"), HasSubstr("JSON array"));
  EXPECT_THAT(refusal("# nothing\n"), HasSubstr("no instructions"));
}

TEST(ExpandWord, AsTheShellDoes) {
  const Variables variables = {{"A", "1"}, {"EMPTY", ""}, {"B", "two words"}};
  EXPECT_EQ(*expandWord("x$A/${B}", variables), "x1/two words");
  EXPECT_EQ(*expandWord("'$A'\"$A\"", variables), "$A1");
  EXPECT_EQ(*expandWord("'it'\"'\"'s'", variables), "it's");  // shlex.quote("it's")
  EXPECT_EQ(*expandWord("${NO:-${A}b}", variables), "1b");
  EXPECT_EQ(*expandWord("${EMPTY:-x}${EMPTY-y}", variables), "x");
  EXPECT_EQ(*expandWord("${A:+yes}${NO:+yes}", variables), "yes");
  EXPECT_EQ(*expandWord("\\$A $", variables), "$A $");
  EXPECT_FALSE(expandWord("${A", variables).ok());
  EXPECT_FALSE(expandWord("'open", variables).ok());
}

TEST(Assignments, OfEnvAndArg) {
  const auto env = parsed("FROM x\nENV A=1 B='x y' C=\"q$Z\"\nENV PATH=/v/bin:$PATH\nENV OLD some value");
  const Variables variables = {{"PATH", "/bin"}, {"Z", "z"}};
  const auto three = *parseAssignments(env[1], variables);
  ASSERT_EQ(three.size(), 3u);
  EXPECT_EQ(three[1].value, "x y");
  EXPECT_EQ(three[2].value, "qz");
  EXPECT_EQ(parseAssignments(env[2], variables)->front().value, "/v/bin:/bin");
  EXPECT_EQ(parseAssignments(env[3], variables)->front().value, "some value");
  const auto args = parsed("ARG V=3\nFROM x\nARG NAME");
  EXPECT_EQ(parseAssignments(args[0], {})->front().value, "3");
  EXPECT_FALSE(parseAssignments(args[2], {})->front().hasValue);
  EXPECT_FALSE(parseAssignments(parsed("FROM x\nENV A=1 B")[1], {}).ok());
}

}  // namespace
}  // namespace gridiron::image
