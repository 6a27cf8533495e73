#include "worker/imports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

namespace gridiron::worker {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::pair<std::string, Nanos>> named(const std::vector<sandbox::Phase>& phases) {
  std::vector<std::pair<std::string, Nanos>> out;
  for (const sandbox::Phase& phase : phases) out.emplace_back(phase.name, phase.took);
  return out;
}

TEST(Imports, APackageIsSummedUpAndTheAppsOwnModulesAreToldApart) {
  Imports imports;
  imports.add("app\nnumpy\nnumpy.core\nnumpy 600");
  imports.add("0\nnumpy.linalg\nnumpy.linalg 4000\napp 2500 own\n");
  EXPECT_THAT(named(imports.parts(1s)),
              ElementsAre(std::pair("import numpy", Nanos(10ms)), std::pair("own import app", Nanos(2500us))));
}

TEST(Imports, WhatCameBeforeTheHelloIsNotOfTheImport) {
  Imports imports;
  imports.add("aiohttp\naiohttp 9000\n");
  imports.hello();
  imports.add("app 1000 own\n");
  EXPECT_THAT(named(imports.parts(1s)), ElementsAre(std::pair("own import app", Nanos(1ms))));
}

TEST(Imports, HooksLastFromTheirBeginToTheFirstInput) {
  Imports imports;
  imports.add("@enter 2000000000\n");
  EXPECT_THAT(named(imports.parts(5s)), ElementsAre(std::pair("enter", Nanos(3s))));
  EXPECT_THAT(imports.parts(1s), IsEmpty()) << "a clock that went back is not believed";
}

TEST(Imports, WhateverAContainerWritesIsPassedOver) {
  Imports imports;
  imports.add(
      "\n \n 5\nx y\nx -5\nx 9223372036854775807\nx 5 other\n\xff\xfe 5\n@enter -1\nx 99999999999999999999\nx 7");
  EXPECT_THAT(imports.parts(1s), IsEmpty());
  Imports much;
  EXPECT_FALSE(much.add(std::string(Imports::kMost + 1, 'x')));
  EXPECT_FALSE(much.add("more"));
  EXPECT_EQ(much.text().size(), Imports::kMost);
}

TEST(Imports, OnlyTheDearestAreNamed) {
  Imports imports;
  for (int i = 1; i <= 40; ++i) imports.add("p" + std::to_string(i) + " " + std::to_string(i * 1000) + "\n");
  const auto parts = imports.parts(1s);
  ASSERT_EQ(parts.size(), Imports::kMostParts);
  EXPECT_EQ(parts.front().name, "import p40");
}

}  // namespace
}  // namespace gridiron::worker
