#include "edge/rpc/custom_domains.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing.h"
#include "blob/blob.h"
#include "catalog/catalog.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {
namespace {

namespace api = ::modal::client;
using testing::HasSubstr;

class CustomDomainsTest : public testing::Test {
 protected:
  CustomDomainsTest() {
    blobs_ = std::make_unique<blob::Blobs>(std::move(*blob::Blobs::open(folder_.path())));
    catalog_ = std::move(*Catalog::open(*store_, *blobs_, clock_, {.keyFile = "", .workspace = "acme"}));
    domains_ = std::make_unique<CustomDomains>(
        catalog_->apps(),
        std::vector{*parseAllowedDomain("hooks.example.org"), *parseAllowedDomain("main/*.shop.example.org")},
        "grid.example.org");
    domains_->load();
    catalog_->apps().observe(*domains_);
  }
  static Function claiming(const AppId& app, const std::string& tag, const std::string& host,
                           const std::string& method = "") {
    Function function;
    function.app = app;
    function.tag = tag;
    function.environment = "main";
    api::Function definition;
    api::WebhookConfig* config = definition.mutable_webhook_config();
    if (!method.empty()) config = (*definition.mutable_method_definitions())[method].mutable_webhook_config();
    if (!host.empty()) config->add_custom_domains()->set_name(host);
    function.definition = definition.SerializeAsString();
    if (!method.empty())
      function.methods.push_back({method, {.kind = WebKind::function, .label = "x", .method = "GET"}});
    return function;
  }
  App app(const std::string& name) {
    if (const auto there = catalog_->apps().named("main", name)) return *there;
    return *catalog_->apps().create({.environment = "main", .description = name, .name = name, .by = "", .tags = {}});
  }
  FunctionId deploy(const std::string& name, std::vector<Function> functions, AppState state = AppState::deployed) {
    const App there = app(name);
    Publication publication;
    publication.app = there.id;
    publication.name = name;
    publication.state = state;
    for (Function& function : functions) {
      function.app = there.id;
      const auto before = there.functions.find(function.tag);
      function.id = *catalog_->apps().precreate(there.id, function.tag,
                                                before == there.functions.end() ? FunctionId{} : before->second);
      const std::string content = function.definition;
      publication.functions[function.tag] = (*catalog_->apps().putDraft(function, content))->id;
    }
    clock_.advance(std::chrono::seconds(1));
    const auto published = catalog_->apps().publish(publication);
    EXPECT_TRUE(published.ok()) << (published.ok() ? "" : published.error().message);
    return publication.functions.begin()->second;
  }
  std::string refusal(const Function& function, const std::string& host) {
    const auto checked = domains_->check(function, host);
    return checked.ok() ? "may" : checked.error().message;
  }

  TemporaryDirectory folder_;
  FakeClock clock_;
  std::unique_ptr<Store> store_ = openMemoryStore();
  std::unique_ptr<blob::Blobs> blobs_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<CustomDomains> domains_;
};

TEST_F(CustomDomainsTest, ADeployedFunctionAnswersAtItsHostUntilItsAppIsStopped) {
  const FunctionId id = deploy("hooks", {claiming({}, "f", "Hooks.Example.org")});
  ASSERT_TRUE(domains_->has("hooks.example.org"));
  EXPECT_EQ(domains_->find("hooks.example.org")->function->id, id);
  EXPECT_FALSE(domains_->has("other.example.org"));
  ASSERT_TRUE(catalog_->apps().stop(app("hooks").id, "", "test").ok());
  EXPECT_FALSE(domains_->has("hooks.example.org"));
}

TEST_F(CustomDomainsTest, AMethodOfAClassHasAHostToo) {
  deploy("hooks", {claiming({}, "Cls.*", "a.shop.example.org", "pay")});
  const auto target = domains_->find("a.shop.example.org");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->method, "pay");
  EXPECT_EQ(target->web.kind, WebKind::function);
}

TEST_F(CustomDomainsTest, ARedeployWithoutTheHostGivesItBack) {
  deploy("hooks", {claiming({}, "f", "hooks.example.org")});
  deploy("hooks", {claiming({}, "f", "")});
  EXPECT_FALSE(domains_->has("hooks.example.org"));
}

TEST_F(CustomDomainsTest, OnlyWhatTheOperatorAllowsCanBeClaimed) {
  Function function = claiming(AppId{"ap-1"}, "f", "");
  EXPECT_EQ(refusal(function, "hooks.example.org"), "may");
  EXPECT_EQ(refusal(function, "a.shop.example.org"), "may");
  EXPECT_THAT(refusal(function, "a.b.shop.example.org"), HasSubstr("not allowed in environment 'main'"));
  EXPECT_THAT(refusal(function, "evil.example.org"), HasSubstr("domains = [\"evil.example.org\"]"));
  EXPECT_THAT(refusal(function, "x.grid.example.org"), HasSubstr("the grid's own"));
  EXPECT_THAT(refusal(function, "localhost"), HasSubstr("no host name"));
  EXPECT_THAT(refusal(function, "a_b.example.org"), HasSubstr("no host name"));
  function.environment = "dev";
  EXPECT_THAT(refusal(function, "a.shop.example.org"), HasSubstr("not allowed in environment 'dev'"));
}

TEST_F(CustomDomainsTest, AnotherAppsHostIsRefusedAndOneOfTheSameAppIsTakenOver) {
  deploy("hooks", {claiming({}, "f", "hooks.example.org")});
  EXPECT_THAT(refusal(claiming(app("other").id, "g", ""), "hooks.example.org"),
              HasSubstr("is that of function 'f' of app 'hooks'"));
  const auto taken = domains_->check(claiming(app("hooks").id, "g", ""), "hooks.example.org");
  ASSERT_TRUE(taken.ok());
  EXPECT_EQ(*taken, "f");
}

TEST_F(CustomDomainsTest, WhatIsOnlyServedHasNoHost) {
  deploy("hooks", {claiming({}, "f", "hooks.example.org")}, AppState::ephemeral);
  EXPECT_FALSE(domains_->has("hooks.example.org"));
}

TEST_F(CustomDomainsTest, AfterARestartHostsAreAsTheyWereIfTheyAreStillAllowed) {
  deploy("hooks", {claiming({}, "f", "hooks.example.org")});
  CustomDomains again(catalog_->apps(), {*parseAllowedDomain("hooks.example.org")}, "localhost");
  again.load();
  EXPECT_TRUE(again.has("hooks.example.org"));
  CustomDomains narrower(catalog_->apps(), {}, "localhost");
  narrower.load();
  EXPECT_FALSE(narrower.has("hooks.example.org"));
}

TEST(AllowedDomain, OthersThanHostNamesAreRefused) {
  for (const char* bad : {"", "example", "/a.example", "Hooks.example.org", "*.*.example.org", "a..b", "https://a.b"})
    EXPECT_FALSE(parseAllowedDomain(bad).ok()) << bad;
}

}  // namespace
}  // namespace gridiron::edge
