#include "wire/class_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "modal_proto/api.pb.h"

namespace gridiron::wire {
namespace {

namespace api = ::modal::client;
using testing::HasSubstr;

// city: str, size: int = 3, open: bool = true
Function shop() {
  api::ClassParameterInfo info;
  info.set_format(api::ClassParameterInfo::PARAM_SERIALIZATION_FORMAT_PROTO);
  const auto add = [&](const char* name, api::ParameterType type) -> api::ClassParameterSpec& {
    api::ClassParameterSpec& spec = *info.add_schema();
    spec.set_name(name);
    spec.mutable_full_type()->set_base_type(type);
    return spec;
  };
  auto& size = add("size", api::PARAM_TYPE_INT);
  size.set_has_default(true);
  size.set_int_default(3);
  auto& open = add("open", api::PARAM_TYPE_BOOL);
  open.set_has_default(true);
  open.set_bool_default(true);
  add("city", api::PARAM_TYPE_STRING);
  Function function;
  function.tag = "Shop.*";
  function.classParameters = info.SerializeAsString();
  return function;
}

TEST(ClassParameters, WhatTheQueryNamesComesFirstAndDefaultsFollow) {
  const auto bytes = classParameters(shop(), {{"city", "Oslo"}, {"open", "0"}, {"other", "x"}});
  ASSERT_TRUE(bytes.ok()) << bytes.error().message;
  api::ClassParameterSet set;
  ASSERT_TRUE(set.ParseFromString(bytes->value()));
  ASSERT_EQ(set.parameters_size(), 3);
  EXPECT_EQ(set.parameters(0).name(), "open");
  EXPECT_EQ(set.parameters(0).type(), api::PARAM_TYPE_BOOL);
  EXPECT_FALSE(set.parameters(0).bool_value());
  EXPECT_EQ(set.parameters(1).string_value(), "Oslo");
  EXPECT_EQ(set.parameters(2).int_value(), 3);
}

TEST(ClassParameters, WhatIsMissingOrCannotBeReadIsNamed) {
  EXPECT_THAT(classParameters(shop(), {}).error().message, HasSubstr("'city=…'"));
  EXPECT_THAT(classParameters(shop(), {{"city", "Oslo"}, {"size", "3x"}}).error().message, HasSubstr("'size=3x'"));
  EXPECT_THAT(classParameters(shop(), {{"city", "Oslo"}, {"size", ""}}).error().message, HasSubstr("a whole number"));
  EXPECT_EQ(classParameters(shop(), {{"city", "Oslo"}, {"open", "si"}}).error().code, Code::invalidArgument);
}

TEST(ClassParameters, AClassWithoutThemIsAsItWasDeployed) {
  Function plain;
  EXPECT_EQ(classParameters(plain, {{"city", "Oslo"}}).value(), std::nullopt);
}

}  // namespace
}  // namespace gridiron::wire
