#include "wire/container_arguments.h"

#include <gtest/gtest.h>

namespace gridiron::wire {
namespace {

namespace api = ::modal::client;

void writeName(const Function& function, api::FunctionHandleMetadata& out) { out.set_function_name(function.tag); }

class Arguments : public ::testing::Test {
 protected:
  Arguments() {
    app.id = AppId{"ap-1"};
    api::Function definition;
    definition.set_module_name("shop");
    definition.add_object_dependencies()->set_object_id("st-1");
    definition.add_object_dependencies()->set_object_id("im-1");
    definition.add_object_dependencies()->set_object_id("st-1");
    function.id = FunctionId{"fu-1"};
    function.app = app.id;
    function.tag = "resize";
    function.environment = "main";
    function.definition = definition.SerializeAsString();
    functions.put(function);
    Function service = function;
    service.id = FunctionId{"fu-2"};
    service.tag = "Model.*";
    functions.put(service);
    instance.id = InstanceId{"ta-1"};
  }

  std::string digest() {
    Result<ContainerBytes> bytes = containerArguments(instance, function, app, functions, writeName);
    return bytes.ok() ? bytes->snapshot : bytes.error().message;
  }
  // As when its definition says `enable_memory_snapshot=True` and its app is deployed.
  void enableSnapshots() {
    api::Function definition;
    definition.ParseFromString(function.definition);
    definition.set_checkpointing_enabled(true);
    function.definition = definition.SerializeAsString();
    function.clientVersion = "1.6.4";
    function.definitionId = DefinitionId{"de-1"};
    app.functions["resize"] = function.id;
    app.state = AppState::deployed;
  }
  api::ContainerArguments compose() {
    api::ContainerArguments out;
    Result<ContainerBytes> bytes = containerArguments(instance, function, app, functions, writeName);
    EXPECT_TRUE(bytes.ok());
    if (bytes.ok()) {
      EXPECT_TRUE(out.ParseFromString(bytes->arguments));
    }
    return out;
  }

  App app;
  Function function;
  FunctionTable functions;
  Instance instance;
};

std::vector<std::string> idsOf(const api::AppLayout& layout) {
  std::vector<std::string> ids;
  for (const api::Object& object : layout.objects()) ids.push_back(object.object_id());
  return ids;
}

TEST_F(Arguments, EveryDependencyIsInTheLayoutOnceAndTheirOrderIsKeptInTheDefinition) {
  app.functions["resize"] = function.id;
  api::ContainerArguments out = compose();
  EXPECT_EQ(out.function_def().module_name(), "shop");
  EXPECT_EQ(out.function_def().object_dependencies_size(), 3);
  EXPECT_EQ(out.function_def().object_dependencies(1).object_id(), "im-1");
  EXPECT_EQ(idsOf(out.app_layout()), (std::vector<std::string>{"fu-1", "st-1", "im-1"}));
  EXPECT_EQ(out.app_layout().objects(0).function_handle_metadata().function_name(), "resize");
  EXPECT_EQ(out.task_id(), "ta-1");
  EXPECT_EQ(out.environment_name(), "main");
}

TEST_F(Arguments, AClassIsDescribedByItsServiceFunction) {
  app.functions["Model.*"] = FunctionId{"fu-2"};
  app.classes["Model"] = ClassId{"cs-1"};
  api::AppLayout layout = writeLayout(app, functions, writeName);
  EXPECT_EQ(layout.class_ids().at("Model"), "cs-1");
  ASSERT_EQ(layout.objects_size(), 2);
  EXPECT_EQ(layout.objects(1).class_handle_metadata().class_function_id(), "fu-2");
  EXPECT_EQ(layout.objects(1).class_handle_metadata().class_function_metadata().function_name(), "Model.*");
}

TEST_F(Arguments, ABuilderOfAnUnpublishedAppFindsItselfInTheLayout) {
  EXPECT_EQ(compose().app_layout().function_ids().at("resize"), "fu-1");
}

TEST_F(Arguments, ASnapshotIsOfAllContainersOfADefinitionWithTheSameParameters) {
  EXPECT_EQ(digest(), "");
  EXPECT_FALSE(compose().function_def().is_checkpointing_function());
  enableSnapshots();
  EXPECT_TRUE(compose().function_def().is_checkpointing_function());
  EXPECT_FALSE(compose().function_def()._experimental_enable_gpu_snapshot());
  EXPECT_EQ(compose().checkpoint_id(), "ch-1");
  const std::string first = digest();
  EXPECT_EQ(first.size(), 64u);
  instance.id = InstanceId{"ta-2"};
  EXPECT_EQ(digest(), first);
  function.serializedParams = "other";
  EXPECT_NE(digest(), first);
  function.serializedParams.clear();
  function.definitionId = DefinitionId{"de-2"};
  EXPECT_NE(digest(), first);
}

TEST_F(Arguments, NoSnapshotIsMadeOfWhatGoesWithItsClient) {
  enableSnapshots();
  app.state = AppState::ephemeral;
  EXPECT_EQ(digest(), "");
  EXPECT_FALSE(compose().function_def().is_checkpointing_function());
}

TEST_F(Arguments, ADefinitionThatCannotBeReadIsAnErrorThatNamesTheFunction) {
  function.definition = "\xff\xff";
  auto bytes = containerArguments(instance, function, app, functions, writeName);
  EXPECT_EQ(bytes.error().code, Code::dataLoss);
  EXPECT_NE(bytes.error().message.find("resize"), std::string::npos);
}

}  // namespace
}  // namespace gridiron::wire
