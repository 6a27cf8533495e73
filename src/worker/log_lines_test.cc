#include "worker/log_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gridiron::worker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(LineSplitter, KeepsALineTogetherThatComesInPieces) {
  LineSplitter splitter;
  EXPECT_THAT(splitter.add("hel"), IsEmpty());
  EXPECT_THAT(splitter.add("lo\nwor"), ElementsAre("hello\n"));
  EXPECT_THAT(splitter.add("ld\n\n"), ElementsAre("world\n", "\n"));
  EXPECT_FALSE(splitter.hasPartial());
}

TEST(LineSplitter, GivesOutAPromptThatHasNoNewline) {
  LineSplitter splitter;
  splitter.add("Name? ");
  EXPECT_EQ(splitter.takePartial(), "Name? ");
  EXPECT_EQ(splitter.takePartial(), "");
  EXPECT_THAT(splitter.add("Ada\n"), ElementsAre("Ada\n"));
}

TEST(LineSplitter, DoesNotCutACharacterInTwo) {
  LineSplitter splitter;
  splitter.add("pri\xe2\x82");
  EXPECT_EQ(splitter.takePartial(), "pri");
  EXPECT_TRUE(splitter.hasPartial());
  EXPECT_THAT(splitter.add("\xac\n"), ElementsAre("€\n"));
}

TEST(LineSplitter, AHalfCharacterAtTheEndBecomesAReplacement) {
  LineSplitter splitter;
  splitter.add("x\xe2\x82");
  EXPECT_EQ(splitter.finish(), "x\xef\xbf\xbd");
}

TEST(LineSplitter, CutsLinesThatAreTooLong) {
  LineSplitter splitter(4);
  EXPECT_THAT(splitter.add("abcdefghij\n"), ElementsAre("abcd", "efgh", "ij\n"));
}

TEST(LineSplitter, EndsEvenWhenACharacterIsLongerThanTheLimit) {
  LineSplitter splitter(2);
  std::string all;
  for (const std::string& piece : splitter.add("\xf0\x9f\x98\x80\n")) all += piece;
  EXPECT_FALSE(all.empty());
  EXPECT_EQ(all.back(), '\n');
}

TEST(Masker, AValueThatComesInTwoPiecesIsNotPartedFromItself) {
  const Masker masker({"swordfish!", "tabernacle"});
  LineSplitter splitter(64, [&](std::string_view text) { return masker.unfinished(text); });
  splitter.add("key: sword");
  EXPECT_EQ(splitter.takePartial(), "key: ");
  std::string line = splitter.add("fish! ok\n").at(0);
  masker.mask(line);
  EXPECT_EQ(line, "*** ok\n");
}

TEST(Masker, WhatOnlyBeganLikeAValueIsGivenOutWithTheRest) {
  const Masker masker({"swordfish!"});
  LineSplitter splitter(64, [&](std::string_view text) { return masker.unfinished(text); });
  splitter.add("swo");
  EXPECT_EQ(splitter.takePartial(), "");
  EXPECT_THAT(splitter.add("op"), IsEmpty());
  EXPECT_EQ(splitter.takePartial(), "swoop");
}

TEST(Masker, ACutNeverGoesThroughAWholeValue) {
  const Masker masker({"first-secret", "secretive-one"});
  EXPECT_EQ(masker.unfinished("see first-secret"), std::string("first-secret").size());
  EXPECT_EQ(masker.unfinished("see first-secret."), 0u);
}

TEST(Masker, LongLinesAreNotCutInsideAValue) {
  const Masker masker({"swordfish!"});
  LineSplitter splitter(12, [&](std::string_view text) { return masker.unfinished(text); });
  std::string all;
  for (std::string piece : splitter.add("12345678swordfish!90\n")) {
    masker.mask(piece);
    all += piece;
  }
  EXPECT_EQ(all, "12345678***90\n");
}

TEST(ValidUtf8, ReplacesWhatIsNotUtf8AndKeepsTheRest) {
  EXPECT_EQ(validUtf8("a\xff"
                      "b"),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(validUtf8("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd");                  // overlong
  EXPECT_EQ(validUtf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // surrogate
  EXPECT_EQ(validUtf8("grün €\xf0\x9f\x98\x80"), "grün €\xf0\x9f\x98\x80");
}

TEST(Masker, HidesSecretsOfEightBytesAndMore) {
  const Masker masker({"hunter2", "correct-horse"});
  std::string line = "pass hunter2 correct-horse correct-horse\n";
  masker.mask(line);
  EXPECT_EQ(line, "pass hunter2 *** ***\n");
}

TEST(Masker, HidesTheLongerOfTwoThatStartAlike) {
  const Masker masker({"abcdefgh", "abcdefghij"});
  std::string line = "abcdefghij";
  masker.mask(line);
  EXPECT_EQ(line, "***");
}

TEST(Masker, HidesEachLineOfAKeyFile) {
  const Masker masker({"-----BEGIN KEY-----\nMIIEpAIBAAKC\n-----END KEY-----\n"});
  std::string line = "read MIIEpAIBAAKC\n";
  masker.mask(line);
  EXPECT_EQ(line, "read ***\n");
}

}  // namespace
}  // namespace gridiron::worker
