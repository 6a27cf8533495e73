#include "edge/dash/admin.h"

#include <gmock/gmock.h>

#include "edge/dash/testing.h"
#include "model/app.h"

namespace gridiron::edge {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class Admin : public AdminTest {
 protected:
  AdminAnswer ask(const std::string& method, const std::string& path, json body = nullptr,
                  std::map<std::string, std::string> query = {}) {
    return api->answer({method, path, std::move(query), std::move(body)});
  }
  void deploy(const std::string& id, const std::string& name) {
    App app;
    app.id = AppId{id};
    app.name = name;
    app.state = AppState::deployed;
    Batch batch;
    Object object;
    object.kind = "app";
    object.id = id;
    object.name = name;
    object.body = encodeApp(app);
    batch.put(object);
    ASSERT_TRUE(store->apply(batch).ok());
  }
  void used(UsageKind kind, const std::string& id, const std::string& app, Nanos run) {
    UsageRecord record;
    record.id = id;
    record.kind = kind;
    record.app = AppId{app};
    record.function = FunctionId{"fu-1"};
    record.startedAt = clock.now();
    record.endedAt = clock.now() + run;
    Batch batch;
    batch.put(record);
    ASSERT_TRUE(store->apply(batch).ok());
  }
};

TEST_F(Admin, ANewTokenSignsInAndItsSecretIsToldOnce) {
  auto made = ask("POST", "/v1/tokens", {{"name", "laptop"}});
  ASSERT_EQ(made.status, 200) << made.body;
  EXPECT_EQ(made.body["workspace"], "acme");
  EXPECT_TRUE(catalog->authenticate(made.body["token_id"], made.body["token_secret"]).ok());
  auto listed = ask("GET", "/v1/tokens");
  EXPECT_EQ(listed.body["tokens"][0]["name"], "laptop");
  EXPECT_THAT(listed.body.dump(), Not(HasSubstr(made.body["token_secret"].get<std::string>())));
}

TEST_F(Admin, ARevokedTokenSignsInNoMore) {
  auto made = ask("POST", "/v1/tokens", json::object());
  EXPECT_EQ(ask("DELETE", "/v1/tokens/" + made.body["token_id"].get<std::string>()).status, 200);
  EXPECT_FALSE(catalog->authenticate(made.body["token_id"], made.body["token_secret"]).ok());
  EXPECT_EQ(ask("DELETE", "/v1/tokens/ak-none").status, 404);
}

TEST_F(Admin, ASecretIsListedByItsKeysOnly) {
  auto made = ask("POST", "/v1/secrets", {{"name", "hook"}, {"values", {{"B", "hidden"}, {"A", "hidden"}}}});
  ASSERT_EQ(made.status, 200) << made.body;
  auto listed = ask("GET", "/v1/secrets");
  ASSERT_EQ(listed.body["secrets"].size(), 1u);
  EXPECT_EQ(listed.body["secrets"][0]["keys"], json({"A", "B"}));
  EXPECT_EQ(listed.body["secrets"][0]["environment"], "main");
  EXPECT_THAT(made.body.dump() + listed.body.dump(), Not(HasSubstr("hidden")));
}

TEST_F(Admin, ASecretsNameIsTakenUntilItIsReplacedOrDeleted) {
  json wanted = {{"name", "hook"}, {"values", {{"A", "1"}}}};
  ask("POST", "/v1/secrets", wanted);
  EXPECT_EQ(ask("POST", "/v1/secrets", wanted).status, 409);
  wanted["replace"] = true;
  EXPECT_EQ(ask("POST", "/v1/secrets", wanted).status, 200);
  EXPECT_EQ(ask("DELETE", "/v1/secrets/hook").status, 200);
  EXPECT_EQ(ask("DELETE", "/v1/secrets/hook").status, 404);
}

TEST_F(Admin, WhatIsNoSecretIsRefusedWithoutItsValues) {
  auto refused = ask("POST", "/v1/secrets", {{"name", "hook"}, {"values", {{"A", 17}}}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.body["error"], "values: A is not a string");
  EXPECT_EQ(ask("POST", "/v1/secrets", {{"name", "hook"}}).status, 400);
  EXPECT_EQ(ask("POST", "/v1/secrets", {{"values", {{"A", "1"}}}}).status, 400);
  EXPECT_EQ(ask("POST", "/v1/secrets", json::array()).status, 400);
}

TEST_F(Admin, UsageIsToldByRecordAndInSumForOneAppOrAll) {
  deploy("ap-1", "shop");
  used(UsageKind::container, "ta-1", "ap-1", 1500ms);
  used(UsageKind::input, "in-1", "ap-1", 250ms);
  used(UsageKind::input, "in-2", "ap-2", 1ms);
  clock.advance(1min);
  auto all = ask("GET", "/v1/usage");
  ASSERT_EQ(all.status, 200) << all.body;
  EXPECT_EQ(all.body["inputs"].size(), 2u);
  auto shop = ask("GET", "/v1/usage", nullptr, {{"app", "shop"}});
  ASSERT_EQ(shop.body["inputs"].size(), 1u);
  EXPECT_EQ(shop.body["inputs"][0]["milliseconds"], 250);
  EXPECT_EQ(shop.body["containers"][0]["milliseconds"], 1500);
  EXPECT_EQ(shop.body["containers"][0]["app"], "shop");
  EXPECT_EQ(shop.body["totals"][0]["container_seconds"], 1.5);
}

TEST_F(Admin, AMomentThatIsNoneIsRefused) {
  auto refused = ask("GET", "/v1/usage", nullptr, {{"since", "yesterday"}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.body["error"], "since: \"yesterday\" is not a number of seconds since 1970");
}

TEST_F(Admin, WhatNeedsARunningGridSaysSo) {
  EXPECT_EQ(ask("GET", "/v1/status").status, 503);
  EXPECT_EQ(ask("POST", "/v1/sign-in-links", json::object()).status, 503);
}

TEST_F(Admin, StrangeRequestsAreNotFound) {
  EXPECT_EQ(ask("GET", "/v1/nothing").status, 404);
  EXPECT_EQ(ask("DELETE", "/v1/usage").status, 404);
  EXPECT_EQ(ask("PUT", "/v1/tokens").status, 404);
}

}  // namespace
}  // namespace gridiron::edge
