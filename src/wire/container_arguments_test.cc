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

  api::ContainerArguments compose() {
    api::ContainerArguments out;
    Result<std::string> bytes = containerArguments(instance, function, app, functions, writeName);
    EXPECT_TRUE(bytes.ok());
    if (bytes.ok()) {
      EXPECT_TRUE(out.ParseFromString(*bytes));
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

TEST_F(Arguments, ADefinitionThatCannotBeReadIsAnErrorThatNamesTheFunction) {
  function.definition = "\xff\xff";
  auto bytes = containerArguments(instance, function, app, functions, writeName);
  EXPECT_EQ(bytes.error().code, Code::dataLoss);
  EXPECT_NE(bytes.error().message.find("resize"), std::string::npos);
}

}  // namespace
}  // namespace gridiron::wire
