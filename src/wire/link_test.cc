#include "wire/link.h"

#include <gtest/gtest.h>

namespace gridiron::wire {
namespace {

using namespace std::chrono_literals;

TEST(Link, AnOrderArrivesWhole) {
  StartOrder order;
  order.instance = InstanceId{"ta-1"};
  order.image = ImageId{"im-1"};
  order.clientVersion = "1.3.5";
  order.needsFastapi = true;
  order.containerArguments = std::string("\0\x01", 2);
  order.environment = {{"A", "1"}};
  order.secrets = {{"TOKEN", "t0ps3cret"}};
  order.mounts = {{MountId{"mo-1"}, {{"/root/app.py", "ab", 0644, 7}}}};
  order.resources.milliCpu = 500;
  order.resources.memoryLimitMb = 256;
  order.prompt = true;
  order.grace = 1500ms;

  const link::StartInstance message = toLink(order);

  EXPECT_EQ(message.task_id(), "ta-1");
  EXPECT_EQ(message.image_id(), "im-1");
  EXPECT_TRUE(message.needs_fastapi());
  EXPECT_EQ(message.container_arguments(), order.containerArguments);
  EXPECT_EQ(message.environment(0).name(), "A");
  EXPECT_EQ(message.secrets(0).value(), "t0ps3cret");
  EXPECT_EQ(message.mounts(0).files(0).path(), "/root/app.py");
  EXPECT_EQ(message.mounts(0).files(0).size(), 7u);
  EXPECT_EQ(message.milli_cpu(), 500);
  EXPECT_TRUE(message.prompt());
  EXPECT_EQ(message.milli_cpu_limit(), 0);  // a request is no limit
  EXPECT_EQ(message.memory_limit_mb(), 256);
  EXPECT_EQ(message.grace_ms(), 1500);
}

TEST(Link, AHelloWithoutAnIdIsRefused) {
  EXPECT_EQ(readWorker({}, Time{}).error().code, Code::invalidArgument);
  link::WorkerHello hello;
  hello.set_worker_id("wk-1");
  hello.set_milli_cpu(2000);
  hello.add_task_ids("ta-1");
  EXPECT_EQ(readWorker(hello, Time{})->milliCpu, 2000);
  EXPECT_EQ(readInstances(hello).front(), InstanceId{"ta-1"});
}

TEST(Link, FactsNamePythonAsItDoesItself) {
  image::Built built;
  built.pythonVersion = "3.11.2";
  built.pythonPackages = {{"httpx", "0.27.0"}};
  const link::ImageFacts facts = toLink(built);
  EXPECT_EQ(facts.python_version(), "Python 3.11.2");
  EXPECT_EQ(facts.python_packages().at("httpx"), "0.27.0");
  EXPECT_EQ(readFacts(facts).pythonVersion, "Python 3.11.2");
  EXPECT_EQ(readFacts(facts).pythonPackages.at("httpx"), "0.27.0");
  EXPECT_EQ(toLink(image::Built{}).python_version(), "");
}

}  // namespace
}  // namespace gridiron::wire
