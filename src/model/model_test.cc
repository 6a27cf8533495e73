#include <gtest/gtest.h>

#include "model/app.h"
#include "model/call.h"
#include "model/codec.h"
#include "model/function.h"
#include "model/instance.h"
#include "model/usage.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;

Function fullFunction() {
  Function f;
  f.id = FunctionId{"fu-1"};
  f.app = AppId{"ap-1"};
  f.workspace = "main";
  f.environment = "dev";
  f.tag = "Cls.*";
  f.definitionId = DefinitionId{"de-1"};
  f.definition = std::string("\0\xff bytes", 8);
  f.mounts = {MountId{"mo-2"}, MountId{"mo-1"}};
  f.secrets = {SecretId{"st-1"}, SecretId{"st-0"}};
  f.scaling = Scaling{1, 5, 2, 90s, 3s};
  f.retries = RetryPolicy{3, 1.5, 250ms, 10s};
  f.batching = Batching{8, 40ms};
  f.web = WebEndpoint{WebKind::function, "you--app-f", "POST", true, 0, 5s};
  f.methods = {Method{"a", {}}, Method{"b", WebEndpoint{WebKind::asgiApp, "l", "", false, 0, {}}}};
  f.resources = Resources{250, 512, "H100", 2};
  f.singleUse = true;
  f.clientVersion = "1.3.5";
  return f;
}

TEST(Codec, AFunctionComesBackAsItWas) {
  const auto f = fullFunction();
  const auto back = decodeFunction(encodeFunction(f));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, f);
  EXPECT_EQ(back->mounts.front().value, "mo-2") << "order is kept";
}

TEST(Codec, AnAppWithItsLayoutComesBack) {
  App app;
  app.id = AppId{"ap-1"};
  app.state = AppState::deployed;
  app.createdAt = Time{17s};
  app.functions = {{"f", FunctionId{"fu-1"}}, {"g", FunctionId{"fu-2"}}};
  app.tags = {{"team", "a"}};
  const auto back = decodeApp(encodeApp(app));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, app);
}

TEST(Codec, NegativeNumbersAndEmptyListsSurvive) {
  Call call;
  call.expectedInputs = -1;
  Instance instance;
  instance.exitCode = -9;
  instance.phases = {{"queue", 3ms}, {"", 0ms}};
  EXPECT_EQ(*decode<Call>(encode(call)), call);
  EXPECT_EQ(*decode<Instance>(encode(instance)), instance);
}

TEST(Codec, CutOffBytesAreDataLoss) {
  const auto bytes = encodeFunction(fullFunction());
  EXPECT_EQ(decodeFunction(std::string_view(bytes).substr(0, bytes.size() - 3)).error().code, Code::dataLoss);
  EXPECT_EQ(decodeFunction("nonsense").error().code, Code::dataLoss);
}

TEST(Codec, AFieldOfALaterVersionIsPassedOver) {
  auto bytes = encodeFunction(fullFunction());
  bytes += std::string("\xff\x7f\x02\0\0\0hi", 8);
  const auto back = decodeFunction(bytes);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, fullFunction());
}

TEST(Slots, ABatchedFunctionTakesWholeBatches) {
  Function f;
  EXPECT_EQ(slotsOf(f), 1);
  f.maxConcurrentInputs = 10;
  f.targetConcurrentInputs = 4;
  EXPECT_EQ(targetSlotsOf(f), 4);
  f.batching.maxSize = 8;
  EXPECT_EQ(slotsOf(f), 80);
  EXPECT_EQ(targetSlotsOf(f), 80);
}

TEST(Ids, AContainerIdNeverEndsInV) {
  for (int i = 0; i < 500; ++i) EXPECT_NE(newInstanceId().value.back(), 'V');
}

TEST(FunctionTable, AHolderKeepsTheOldDefinitionAcrossARedeploy) {
  FunctionTable table;
  auto f = fullFunction();
  table.put(f);
  const auto old = table.find(f.id);
  f.definitionId = DefinitionId{"de-2"};
  table.put(f);
  EXPECT_EQ(old->definitionId.value, "de-1");
  EXPECT_EQ(table.find(f.id)->definitionId.value, "de-2");
  table.erase(f.id);
  EXPECT_EQ(table.find(f.id), nullptr);
}

}  // namespace
}  // namespace gridiron
