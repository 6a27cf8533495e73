#include "wire/functions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "catalog/catalog.h"

namespace gridiron::wire {
namespace {

namespace api = ::modal::client;
using testing::HasSubstr;

api::FunctionCreateRequest webhook() {
  api::FunctionCreateRequest request;
  api::Function& function = *request.mutable_function();
  function.set_module_name("webhook_server");
  function.set_function_name("summarize");
  function.set_image_id("im-1");
  function.add_mount_ids("mo-2");
  function.add_mount_ids("mo-1");
  function.set_function_type(api::Function::FUNCTION_TYPE_FUNCTION);
  function.mutable_webhook_config()->set_type(api::WEBHOOK_TYPE_FUNCTION);
  function.mutable_webhook_config()->set_method("POST");
  function.mutable_webhook_config()->set_requested_suffix("sum");
  function.set_timeout_secs(120);
  return request;
}

TEST(Functions, AWebFunctionIsReadWithWhatTheGridDecidesBy) {
  auto request = webhook();
  api::Function& in = *request.mutable_function();
  in.mutable_resources()->set_milli_cpu(2000);
  in.mutable_resources()->set_memory_mb_max(512);
  in.mutable_resources()->mutable_gpu_config()->set_count(2);
  in.mutable_resources()->mutable_gpu_config()->set_gpu_type("H100");
  in.mutable_autoscaler_settings()->set_max_containers(3);
  in.mutable_autoscaler_settings()->set_scaledown_window(20);
  in.set_concurrency_limit(9);
  auto read = readFunction(std::move(request), "1.6.4");
  ASSERT_TRUE(read.ok()) << read.error().message;
  const Function& out = read->function;
  EXPECT_EQ(out.tag, "summarize");
  EXPECT_EQ(out.web.kind, WebKind::function);
  EXPECT_EQ(out.web.method, "POST");
  EXPECT_EQ(read->wish.requested, "sum");
  EXPECT_TRUE(out.needsFastapi);
  EXPECT_EQ(out.timeout, std::chrono::seconds(120));
  EXPECT_EQ(out.resources, (Resources{2000, 0, "H100", 2, 0, 512}));
  EXPECT_EQ(out.scaling.maxContainers, 3) << "the settings win over the older field";
  EXPECT_EQ(out.scaling.scaledownWindow, std::chrono::seconds(20));
}

api::FunctionCreateRequest server() {
  auto request = webhook();
  api::Function& function = *request.mutable_function();
  function.clear_webhook_config();
  function.set_is_server(true);
  function.mutable_http_config()->set_port(8000);
  return request;
}

TEST(Functions, AServerIsAPortThatTokensAreNeededFor) {
  auto request = server();
  request.mutable_function()->set_max_concurrent_inputs(7);
  request.mutable_function()->mutable_autoscaler_settings()->set_target_concurrency_float(2.5);
  const auto read = readFunction(std::move(request), "1.6.4");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_TRUE(read->function.isServer);
  EXPECT_EQ(read->function.web.kind, WebKind::webServer);
  EXPECT_EQ(read->function.web.port, 8000);
  EXPECT_TRUE(read->function.web.requiresProxyAuth);
  EXPECT_EQ(read->function.maxConcurrentInputs, 7);
  EXPECT_EQ(read->function.targetConcurrentInputs, 2);
  auto open = server();
  open.mutable_function()->mutable_http_config()->set_unauthenticated(true);
  EXPECT_FALSE(readFunction(std::move(open), "1.6.4")->function.web.requiresProxyAuth);
}

TEST(Functions, OtherKindsOfServersAreRefusedWithWhatWouldWork) {
  const auto refused = [](api::FunctionCreateRequest request) {
    const auto read = readFunction(std::move(request), "1.6.4");
    return read.ok() || read.error().code != Code::unimplemented ? "" : read.error().message;
  };
  auto lifted = server(), sticky = server(), second = server(), flash = server();
  lifted.mutable_function()->mutable_http_config()->mutable_lift_and_shift_config();
  sticky.mutable_function()->set_is_sessioned(true);
  second.mutable_function()->mutable_http_config()->set_h2_enabled(true);
  flash.mutable_function()->set_is_server(false);
  EXPECT_THAT(refused(lifted), HasSubstr("@modal.enter()"));
  EXPECT_THAT(refused(sticky), HasSubstr("sticky"));
  EXPECT_THAT(refused(second), HasSubstr("h2_enabled"));
  EXPECT_THAT(refused(flash), HasSubstr("@app.server"));
}

TEST(Functions, TheOrderOfASetDoesNotMakeAnotherDefinition) {
  auto one = webhook();
  auto other = webhook();
  other.mutable_function()->mutable_mount_ids()->SwapElements(0, 1);
  const auto a = readFunction(std::move(one), "1.6.4");
  const auto b = readFunction(std::move(other), "1.6.4");
  EXPECT_EQ(a->content, b->content);
  EXPECT_NE(a->content, readFunction(webhook(), "1.3.5")->content) << "another client is another definition";
}

TEST(Functions, AMissingFieldIsNamed) {
  auto request = webhook();
  request.mutable_function()->clear_image_id();
  const auto read = readFunction(std::move(request), "1.6.4");
  EXPECT_EQ(read.error().code, Code::invalidArgument);
  EXPECT_THAT(read.error().message, HasSubstr("image_id"));
  EXPECT_EQ(readFunction({}, "1.6.4").error().code, Code::invalidArgument);
}

TEST(Functions, OfAListOfGpusTheFirstIsTaken) {
  api::FunctionCreateRequest request;
  api::FunctionData& data = *request.mutable_function_data();
  data.set_function_name("f");
  data.set_timeout_secs(7);
  for (const char* gpu : {"H200", "H100"}) {
    auto& ranked = *data.add_ranked_functions();
    ranked.set_rank(gpu == std::string("H100") ? 0 : 1);
    ranked.mutable_function()->set_image_id("im-1");
    ranked.mutable_function()->mutable_resources()->mutable_gpu_config()->set_gpu_type(gpu);
    ranked.mutable_function()->mutable_resources()->mutable_gpu_config()->set_count(1);
  }
  const auto read = readFunction(std::move(request), "1.6.4");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->function.resources.gpuType, "H100");
  EXPECT_EQ(read->function.tag, "f");
  EXPECT_EQ(read->function.timeout, std::chrono::seconds(7));
}

TEST(Functions, OptionsChangeWhatTheyNameAndInheritTheRest) {
  auto base = readFunction(webhook(), "1.6.4")->function;
  base.id = {"fu-base"};
  api::FunctionOptions options;
  options.set_timeout_secs(5);
  options.set_concurrency_limit(1);
  auto bound = bindFunction(base, {base.id, "parameters", options.SerializeAsString()});
  ASSERT_TRUE(bound.ok()) << bound.error().message;
  EXPECT_EQ(bound->timeout, std::chrono::seconds(5));
  EXPECT_EQ(bound->scaling.maxContainers, 1);
  EXPECT_EQ(bound->image, base.image);
  EXPECT_EQ(bindFunction(base, {base.id, "", "\xff\xff"}).error().code, Code::invalidArgument);
}

TEST(Functions, AMethodsCallersAreToldItsName) {
  auto store = openMemoryStore();
  const FakeClock clock;
  const Environments environments(*store, clock, "acme");
  const Apps apps(*store, environments, clock, "acme", {});
  auto request = webhook();
  auto& method = (*request.mutable_function()->mutable_method_definitions())["add"];
  method.set_function_name("Counter.add");
  const Function function = readFunction(std::move(request), "1.6.4")->function;
  api::FunctionHandleMetadata handle;
  writeHandle(function, WebUrls(apps, GridConfig{}), handle);
  EXPECT_EQ(handle.method_handle_metadata().at("add").use_method_name(), "add");
}

TEST(Functions, ClientsAreToldAddressFormatsAndRankedFunctions) {
  auto store = openMemoryStore();
  const FakeClock clock;
  Environments environments(*store, clock, "acme");
  ASSERT_TRUE(environments.load().ok());
  Apps apps(*store, environments, clock, "acme", {});
  const WebUrls urls(apps, GridConfig{"http://localhost:8400", "localhost", "acme", "2025.06"});
  auto request = webhook();
  request.mutable_function()->add_supported_input_formats(api::DATA_FORMAT_ASGI);
  request.mutable_function()->set_function_serialized("big");
  Function function = readFunction(std::move(request), "1.6.4")->function;
  function.web.label = "sum";
  function.environment = "main";
  api::FunctionHandleMetadata handle;
  writeHandle(function, urls, handle);
  EXPECT_EQ(handle.web_url(), "http://acme--sum.localhost:8400");
  EXPECT_EQ(handle.supported_input_formats_size(), 1);
  api::FunctionData data;
  writeFunctionData(function, urls, data);
  ASSERT_EQ(data.ranked_functions_size(), 1);
  EXPECT_EQ(data.web_url(), handle.web_url());
  EXPECT_EQ(data.timeout_secs(), 120u);
  EXPECT_EQ(data.webhook_config().method(), "POST");
  EXPECT_EQ(data.ranked_functions(0).function().image_id(), "im-1");
  EXPECT_EQ(data.ranked_functions(0).function().function_serialized(), "");
}

}  // namespace
}  // namespace gridiron::wire
