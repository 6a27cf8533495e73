#include "main/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/testing.h"
#include "main/table.h"

namespace gridiron {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(SecretValues, LaterOnesWinAndAValueMayHoldAnything) {
  NewSecret secret;
  secret.pairs = {"A=1", "B=x=y z", "A=2", "C="};
  auto values = readSecretValues(secret);
  ASSERT_TRUE(values.ok()) << values.error().message;
  EXPECT_EQ(*values, (std::map<std::string, std::string>{{"A", "2"}, {"B", "x=y z"}, {"C", ""}}));
}

TEST(SecretValues, ComeFromAFileOfVariables) {
  const TemporaryDirectory folder;
  const std::string name = folder.path() + "/variables";
  ASSERT_TRUE(writeFileAtomic(name, "# no\n\n export A='q u'\nB=\"#1\"\r\nC=it's\n", 0600, Durable::no).ok());
  NewSecret secret;
  secret.envFile = name;
  auto values = readSecretValues(secret);
  ASSERT_TRUE(values.ok()) << values.error().message;
  EXPECT_EQ(*values, (std::map<std::string, std::string>{{"A", "q u"}, {"B", "#1"}, {"C", "it's"}}));
}

TEST(SecretValues, ABrokenPairIsNamedByItsPlaceOnly) {
  NewSecret secret;
  secret.pairs = {"A=1", "sk-very-secret"};
  auto values = readSecretValues(secret);
  ASSERT_FALSE(values.ok());
  EXPECT_THAT(values.error().message, HasSubstr("value 2 is not KEY=VALUE"));
  EXPECT_THAT(values.error().message, Not(HasSubstr("very-secret")));
}

TEST(SecretValues, NoneAtAllIsAnError) { EXPECT_FALSE(readSecretValues({}).ok()); }

TEST(Moments, AreAgoOrSecondsSince1970) {
  Time now = fromMillis(1'700'000'000'000);
  EXPECT_EQ(*readMoment("", now), "");
  EXPECT_EQ(*readMoment("90s", now), "1699999910.000");
  EXPECT_EQ(*readMoment("1.5h", now), "1699994600.000");
  EXPECT_EQ(*readMoment("1650000000", now), "1650000000.000");
  EXPECT_FALSE(readMoment("yesterday", now).ok());
  EXPECT_FALSE(readMoment("5y", now).ok());
}

TEST(Tables, AreAsWideAsTheirCellsWithNumbersToTheRight) {
  EXPECT_EQ(formatTable({"NAME", "N", "REST"}, {{"a", "7", "x"}, {"longer·", "12", ""}}),
            "NAME      N  REST\n"
            "a         7  x\n"
            "longer·  12\n");
}

TEST(Tables, SpansAreToldInTheUnitThatFits) {
  EXPECT_EQ(formatSeconds(0.0123), "12 ms");
  EXPECT_EQ(formatSeconds(0.9999), "1.0 s");
  EXPECT_EQ(formatSeconds(150), "2.5 min");
  EXPECT_EQ(formatAge(0, 100), "");
  EXPECT_EQ(formatAge(90, 100), "10 s");
}

}  // namespace
}  // namespace gridiron
