#include "catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/fd.h"
#include "base/testing.h"

namespace gridiron {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Events final : AppsObserver {
  std::vector<std::string> seen;
  void functionChanged(const Function& function) override { seen.push_back("changed " + function.tag); }
  void functionRemoved(const Function& function, const std::string&) override {
    seen.push_back("removed " + function.tag);
  }
  void appStopped(const App&, const std::string& why) override { seen.push_back("stopped: " + why); }
  std::vector<std::string> take() { return std::exchange(seen, {}); }
};

class CatalogTest : public testing::Test {
 protected:
  CatalogTest() {
    blobs.emplace(*blob::Blobs::open(directory + "/blobs"));
    reopen();
  }

  // As after a restart of the process.
  void reopen() {
    catalog.reset();
    auto opened = Catalog::open(
        *store, *blobs, clock,
        {.keyFile = directory + "/key", .workspace = "acme", .builderVersion = "2025.06", .apps = {.mostBound = 2}});
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    catalog = std::move(*opened);
    catalog->apps().observe(events);
  }

  Apps& apps() { return catalog->apps(); }
  App newApp(const std::string& name, AppState state = AppState::initializing) {
    return *apps().create({"main", name, "", "ann", state, {}});
  }
  FunctionId define(const App& app, const std::string& tag, const std::string& content, const std::string& label = "") {
    Function function;
    const auto current = apps().get(app.id)->functions;
    const auto known = current.find(tag);
    function.id = *apps().precreate(app.id, tag, known == current.end() ? FunctionId{} : known->second);
    function.app = app.id;
    function.tag = tag;
    function.definition = content;
    if (!label.empty()) function.web = {WebKind::function, label, "POST", false, 0, {}};
    return (*apps().putDraft(function, content))->id;
  }
  Result<Published> publish(const App& app, const std::string& name, std::map<std::string, FunctionId> functions,
                            AppState state = AppState::deployed) {
    Publication publication;
    publication.app = app.id;
    publication.name = name;
    publication.state = state;
    publication.functions = std::move(functions);
    publication.by = "ann";
    return apps().publish(publication);
  }
  App deploy(const std::string& name, const std::string& content, const std::string& label = "") {
    const auto existing = apps().named("main", name);
    const App app = existing ? *existing : newApp(name);
    const FunctionId id = define(app, "f", content, label);
    auto published = publish(app, name, {{"f", id}});
    EXPECT_TRUE(published.ok());
    return published->app;
  }

  FakeClock clock;
  const TemporaryDirectory folder;
  const std::string& directory = folder.path();
  std::unique_ptr<Store> store = openMemoryStore();
  std::optional<blob::Blobs> blobs;
  Events events;
  std::unique_ptr<Catalog> catalog;
};

TEST_F(CatalogTest, ATokenIsKnownByItsSecretOnlyAlsoAfterARestart) {
  const NewToken made = *catalog->tokens().create("laptop", "ann");
  reopen();
  EXPECT_EQ(catalog->authenticate(made.token.id, made.secret)->username, "ann");
  const auto wrong = catalog->authenticate(made.token.id, made.secret + "x");
  EXPECT_EQ(wrong.error().code, Code::unauthenticated);
  EXPECT_THAT(wrong.error().message, HasSubstr("token"));
  ASSERT_TRUE(catalog->tokens().revoke(made.token.id).ok());
  EXPECT_FALSE(catalog->authenticate(made.token.id, made.secret).ok());
}

TEST_F(CatalogTest, AProxyTokenIsNoClientsToken) {
  const NewToken made = *catalog->proxyTokens().create("partner", "ann");
  EXPECT_TRUE(made.token.id.starts_with("wk-"));
  EXPECT_TRUE(made.secret.starts_with("ws-"));
  reopen();
  EXPECT_EQ(catalog->proxyTokens().find(made.token.id, made.secret)->name, "partner");
  EXPECT_FALSE(catalog->proxyTokens().find(made.token.id, "ws-x"));
  EXPECT_FALSE(catalog->authenticate(made.token.id, made.secret).ok());
  EXPECT_TRUE(catalog->tokens().list().empty());
  ASSERT_TRUE(catalog->proxyTokens().revoke(made.token.id).ok());
  EXPECT_FALSE(catalog->proxyTokens().find(made.token.id, made.secret));
}

TEST_F(CatalogTest, TheStoreHoldsNoTokenSecretAndNoSecretValue) {
  const NewToken made = *catalog->tokens().create("laptop", "ann");
  ASSERT_TRUE(catalog->secrets().create("main", "s", {{"KEY", "hunter2hunter2"}}, IfExists::fail, "ann").ok());
  for (const char* kind : {"token", "secret"}) {
    ObjectQuery query;
    query.kind = kind;
    const auto objects = store->list(query);
    ASSERT_TRUE(objects.ok());
    ASSERT_FALSE(objects->empty());
    for (const Object& object : *objects) {
      EXPECT_THAT(object.body, testing::Not(HasSubstr(made.secret)));
      EXPECT_THAT(object.body, testing::Not(HasSubstr("hunter2")));
      EXPECT_THAT(object.body, testing::Not(HasSubstr(base64Encode("hunter2hunter2"))));
    }
  }
}

TEST_F(CatalogTest, ASignInGivesItsTokenOnceAndOnlyToTheOneWhoBeganIt) {
  const auto begun = *catalog->tokens().beginFlow("setup", 10min);
  EXPECT_FALSE(catalog->tokens().takeFlow(begun.flow.id, begun.waitSecret)->has_value()) << "nobody has answered";
  ASSERT_TRUE(catalog->approveTokenFlow(begun.flow.id, "ann").ok());
  EXPECT_EQ(catalog->tokens().takeFlow(begun.flow.id, "guess").error().code, Code::notFound);
  const auto taken = *catalog->tokens().takeFlow(begun.flow.id, begun.waitSecret);
  ASSERT_TRUE(taken.has_value());
  EXPECT_TRUE(catalog->authenticate(taken->token.id, taken->secret).ok());
  EXPECT_EQ(catalog->tokens().takeFlow(begun.flow.id, begun.waitSecret).error().code, Code::notFound);
}

TEST_F(CatalogTest, ARefusedOrOldSignInGivesNothing) {
  const auto refused = *catalog->tokens().beginFlow("setup", 10min);
  ASSERT_TRUE(catalog->refuseTokenFlow(refused.flow.id).ok());
  EXPECT_EQ(catalog->tokens().takeFlow(refused.flow.id, refused.waitSecret).error().code, Code::permissionDenied);
  const auto old = *catalog->tokens().beginFlow("setup", 10min);
  clock.advance(11min);
  EXPECT_FALSE(catalog->tokenFlow(old.flow.id));
  EXPECT_FALSE(catalog->approveTokenFlow(old.flow.id, "ann").ok());
}

TEST_F(CatalogTest, ASecretIsFoundByNameAndANearNameIsProposed) {
  ASSERT_TRUE(catalog->secrets().create("main", "gemini-secret-api-key", {{"KEY", "v"}}, IfExists::fail, "ann").ok());
  const auto wrong = catalog->secrets().find("main", "gemini-secret-api-kye", {});
  EXPECT_EQ(wrong.error(), (Error{Code::notFound,
                                  "Secret 'gemini-secret-api-kye' not found in environment 'main'; did "
                                  "you mean 'gemini-secret-api-key'?"}));
  EXPECT_EQ(catalog->secrets().find("main", "gemini-secret-api-key", {"KEY", "A", "B"}).error(),
            (Error{Code::failedPrecondition, "Secret is missing key(s): A, B"}));
  EXPECT_EQ(catalog->secrets().find("main", "unlike", {}).error().message,
            "Secret 'unlike' not found in environment 'main'");
}

TEST_F(CatalogTest, ValuesComeBackForContainersAlsoAfterARestart) {
  const Secret made = *catalog->secrets().create("main", "s", {{"A", "1"}, {"B", "\xff\n"}}, IfExists::fail, "ann");
  ASSERT_TRUE(catalog->secrets().update(made.id, {{"A", std::nullopt}, {"C", "3"}}).ok());
  reopen();
  EXPECT_EQ(*catalog->secrets().reveal(made.id), (Variables{{"B", "\xff\n"}, {"C", "3"}}));
  EXPECT_THAT(catalog->secrets().get(made.id)->keys, ElementsAre("B", "C"));
  EXPECT_EQ(catalog->secrets().create("main", "s", {}, IfExists::fail, "ann").error().code, Code::alreadyExists);
  EXPECT_EQ(catalog->secrets().create("main", "s", {{"D", "4"}}, IfExists::replace, "ann")->id, made.id);
}

TEST_F(CatalogTest, UnderAnotherKeyASecretStaysShut) {
  const Secret made = *catalog->secrets().create("main", "s", {{"A", "1"}}, IfExists::fail, "ann");
  std::filesystem::remove(directory + "/key");
  reopen();
  EXPECT_EQ(catalog->secrets().reveal(made.id).error().code, Code::dataLoss);
}

TEST_F(CatalogTest, AKeyFileThatOthersMayReadIsRefused) {
  std::filesystem::permissions(directory + "/key", std::filesystem::perms(0644));
  const auto opened = Sealer::open(directory + "/key");
  EXPECT_EQ(opened.error().code, Code::failedPrecondition);
}

TEST_F(CatalogTest, EqualSecretsOfAnAppAreOneSoThatDeployingAgainChangesNothing) {
  const auto once = *catalog->secrets().anonymous("main", "ap-1", {{"A", "1"}}, "ann");
  EXPECT_EQ(catalog->secrets().anonymous("main", "ap-1", {{"A", "1"}}, "ann")->id, once.id);
  EXPECT_NE(catalog->secrets().anonymous("main", "ap-2", {{"A", "1"}}, "ann")->id, once.id);
  EXPECT_THAT(catalog->secrets().list("main"), IsEmpty());
}

TEST_F(CatalogTest, AnAuthTokenIsOursUnlessItWasChanged) {
  const std::string token = makeJwt(catalog->sealer(), R"({"exp":1})");
  EXPECT_EQ(std::count(token.begin(), token.end(), '.'), 2);
  EXPECT_EQ(*readJwt(catalog->sealer(), token), R"({"exp":1})");
  EXPECT_FALSE(readJwt(catalog->sealer(), token + "A").ok());
  EXPECT_FALSE(readJwt(catalog->sealer(), "..").ok());
}

TEST_F(CatalogTest, AMountIsItsFilesInWhateverOrder) {
  const Sha256 a = *blobs->put("a");
  const Sha256 b = *blobs->put("bb");
  const Mount one = *catalog->mounts().put({{"/root/a.py", a, 0644, 0}, {"/root/b.py", b, 0600, 0}});
  EXPECT_EQ(catalog->mounts().put({{"/root/b.py", b, 0600, 0}, {"/root/a.py", a, 0644, 0}})->id, one.id);
  reopen();
  const auto again = *catalog->mounts().get(one.id);
  EXPECT_EQ(again->files, one.files);
  EXPECT_EQ(again->files[1].size, 2u);
}

TEST_F(CatalogTest, AMountOfMissingBytesOrEscapingPathsIsRefused) {
  EXPECT_EQ(catalog->mounts().put({{"/root/a.py", sha256("not here"), 0644, 0}}).error().code,
            Code::failedPrecondition);
  const Sha256 a = *blobs->put("a");
  for (const char* path : {"root/a", "/root/../etc/passwd", "/", "/a//b", "/a/", "/./a"})
    EXPECT_EQ(catalog->mounts().put({{path, a, 0644, 0}}).error().code, Code::invalidArgument) << path;
}

TEST_F(CatalogTest, OnlyMountsThatWorkersHaveAreGlobal) {
  EXPECT_EQ(catalog->mounts().global("modal-client-mount-1.3.5")->globalName, "modal-client-mount-1.3.5");
  EXPECT_EQ(catalog->mounts().global("something").error().code, Code::notFound);
}

TEST_F(CatalogTest, AnImageIsBuiltOnceForAllWhoWantTheSame) {
  const auto first = *catalog->images().ask({"FROM x", {}, false});
  EXPECT_TRUE(first.build);
  EXPECT_FALSE(catalog->images().ask({"FROM x", {}, false})->build) << "it is being built";
  ASSERT_TRUE(catalog->images()
                  .finish(first.image.id, "",
                          {.pythonVersion = "Python 3.11.2",
                           .libcVersion = "",
                           .workdir = "",
                           .pythonPackages = {},
                           .entrypoint = {},
                           .command = {}})
                  .ok());
  reopen();
  const auto again = *catalog->images().ask({"FROM x", {}, false});
  EXPECT_FALSE(again.build);
  EXPECT_EQ(again.image.state, ImageState::ready);
  EXPECT_EQ(again.image.facts.pythonVersion, "Python 3.11.2");
  EXPECT_TRUE(catalog->images().ask({"FROM x", {}, true})->build) << "forced";
}

TEST_F(CatalogTest, AFailedImageIsTriedAgainAndAnInterruptedOneIsRemembered) {
  const auto first = *catalog->images().ask({"FROM x", {}, false});
  ASSERT_TRUE(catalog->images().finish(first.image.id, "exit 1", {}).ok());
  EXPECT_EQ(catalog->images().get(first.image.id)->error, "exit 1");
  EXPECT_TRUE(catalog->images().ask({"FROM x", {}, false})->build);
  reopen();
  EXPECT_EQ(catalog->images().unfinished().size(), 1u);
}

TEST_F(CatalogTest, AnAddressOfABlobIsGoodForOneVerbAndAWhile) {
  const std::string signature = catalog->blobs().signatureFor("PUT", "/blobs/x", 1h);
  const std::string until = signature.substr(7, signature.find('&') - 7);
  const std::string sig = signature.substr(signature.find("sig=") + 4);
  EXPECT_TRUE(catalog->blobs().verify("PUT", "/blobs/x", until, sig));
  EXPECT_FALSE(catalog->blobs().verify("GET", "/blobs/x", until, sig));
  EXPECT_FALSE(catalog->blobs().verify("PUT", "/blobs/y", until, sig));
  clock.advance(2h);
  EXPECT_FALSE(catalog->blobs().verify("PUT", "/blobs/x", until, sig));
}

TEST_F(CatalogTest, DeployingTheSameAgainChangesNothing) {
  const App app = deploy("hello", "v1");
  EXPECT_EQ(app.version, 1);
  EXPECT_THAT(events.take(), ElementsAre("changed f"));
  const FunctionId id = define(app, "f", "v1");
  const auto again = publish(app, "hello", {{"f", id}});
  EXPECT_FALSE(again->changed);
  EXPECT_EQ(again->app.version, 1);
  EXPECT_THAT(events.take(), IsEmpty());
  const App changed = deploy("hello", "v2");
  EXPECT_EQ(changed.version, 2);
  EXPECT_EQ(changed.id, app.id);
  EXPECT_THAT(events.take(), ElementsAre("changed f"));
}

TEST_F(CatalogTest, WhatIsCreatedRunsOnlyOnceItIsPublished) {
  const App app = deploy("hello", "v1");
  const FunctionId id = define(app, "f", "v2");
  EXPECT_EQ(apps().find(id)->definition, "v1");
  EXPECT_EQ(apps().newest(id)->definition, "v2");
  ASSERT_TRUE(publish(app, "hello", {{"f", id}}).ok());
  EXPECT_EQ(apps().find(id)->definition, "v2");
}

TEST_F(CatalogTest, AFunctionThatADeploymentLeavesOutIsRemoved) {
  const App app = newApp("hello");
  const FunctionId f = define(app, "f", "1");
  const FunctionId g = define(app, "g", "1");
  ASSERT_TRUE(publish(app, "hello", {{"f", f}, {"g", g}}).ok());
  events.take();
  ASSERT_TRUE(publish(app, "hello", {{"g", g}}).ok());
  EXPECT_THAT(events.take(), ElementsAre("removed f"));
  EXPECT_EQ(apps().find(f), nullptr);
  EXPECT_EQ(apps().lookup("main", "hello", "ff").error().code, Code::notFound);
}

TEST_F(CatalogTest, AnAppAndItsHistoryAreThereAfterARestart) {
  deploy("hello", "v1");
  const App app = deploy("hello", "v2", "hello-f");
  reopen();
  EXPECT_EQ(apps().named("main", "hello")->version, 2);
  EXPECT_EQ((*apps().lookup("main", "hello", "f"))->definition, "v2");
  EXPECT_EQ(apps().history(app.id)->size(), 2u);
  EXPECT_TRUE(apps().atAddress("acme", "hello-f"));
}

TEST_F(CatalogTest, ARollbackIsANewVersionLikeTheOldOne) {
  deploy("hello", "v1");
  const App app = deploy("hello", "v2");
  const auto rolled = apps().rollback(app.id, -1, "bob");
  ASSERT_TRUE(rolled.ok()) << rolled.error().message;
  EXPECT_EQ(rolled->app.version, 3);
  EXPECT_EQ((*apps().lookup("main", "hello", "f"))->definition, "v1");
  EXPECT_EQ(apps().history(app.id)->front().rollbackOf, 1);
  EXPECT_EQ(apps().rollback(app.id, 17, "bob").error().code, Code::notFound);
  EXPECT_EQ(apps().rollback(app.id, 1, "bob")->app.version, 4) << "also when everything is so already";
}

TEST_F(CatalogTest, ARolloverIsANewVersionLikeThePresentOneWithNewContainers) {
  const App app = deploy("hello", "v1");
  const auto before = *apps().lookup("main", "hello", "f");
  const auto rolled = apps().rollover(app.id, "bob");
  ASSERT_TRUE(rolled.ok()) << rolled.error().message;
  EXPECT_EQ(rolled->app.version, 2);
  const auto after = *apps().lookup("main", "hello", "f");
  EXPECT_EQ(after->definition, "v1");
  EXPECT_NE(after->definitionId, before->definitionId) << "by which containers are known to be of the version before";
  reopen();
  EXPECT_EQ((*apps().lookup("main", "hello", "f"))->definitionId, after->definitionId);
  EXPECT_TRUE(apps().history(app.id)->front().rollover);
  EXPECT_FALSE(apps().history(app.id)->back().rollover);
  EXPECT_EQ(apps().rollback(app.id, 1, "bob")->app.version, 3);
  EXPECT_EQ((*apps().lookup("main", "hello", "f"))->definitionId, before->definitionId);
}

TEST_F(CatalogTest, AStoppedAppIsOverAndItsNameFree) {
  const App app = deploy("hello", "v1", "hello-f");
  events.take();
  ASSERT_TRUE(apps().stop(app.id, "ann", "enough").ok());
  EXPECT_THAT(events.take(), ElementsAre("removed f", "stopped: enough"));
  EXPECT_FALSE(apps().atAddress("acme", "hello-f"));
  EXPECT_EQ(apps().heartbeat(app.id).error().code, Code::failedPrecondition);
  EXPECT_NE(deploy("hello", "v1").id, app.id);
  EXPECT_EQ(apps().lastStopped("main", "hello")->id, app.id);
}

TEST_F(CatalogTest, AnEphemeralAppEndsWithItsClient) {
  const App app = newApp("script", AppState::ephemeral);
  const FunctionId id = define(app, "f", "1");
  ASSERT_TRUE(publish(app, "", {{"f", id}}, AppState::ephemeral).ok());
  const auto idle = [](const App&) { return false; };
  clock.advance(50s);
  ASSERT_TRUE(apps().heartbeat(app.id).ok());
  clock.advance(50s);
  apps().expire(idle);
  EXPECT_EQ(apps().get(app.id)->state, AppState::ephemeral);
  clock.advance(11s);
  apps().expire(idle);
  EXPECT_EQ(apps().get(app.id)->state, AppState::stopped);
}

TEST_F(CatalogTest, ADisconnectEndsARunButNoDeployment) {
  const App deployed = deploy("hello", "v1");
  ASSERT_TRUE(apps().disconnect(deployed.id, "bye").ok());
  EXPECT_EQ(apps().get(deployed.id)->state, AppState::deployed);
  const App run = newApp("script", AppState::ephemeral);
  ASSERT_TRUE(apps().disconnect(run.id, "bye").ok());
  EXPECT_EQ(apps().get(run.id)->state, AppState::stopped);
}

TEST_F(CatalogTest, ADetachedAppLivesUntilItsWorkIsDone) {
  const App app = newApp("script", AppState::detached);
  ASSERT_TRUE(apps().disconnect(app.id, "bye").ok());
  apps().expire([](const App&) { return true; });
  EXPECT_EQ(apps().get(app.id)->state, AppState::detachedDisconnected);
  apps().expire([](const App&) { return false; });
  EXPECT_EQ(apps().get(app.id)->state, AppState::stopped);
}

TEST_F(CatalogTest, AnotherAppsFunctionIsNotTaken) {
  const App mine = deploy("mine", "v1");
  const App other = newApp("other");
  const auto taken = apps().precreate(other.id, "f", mine.functions.at("f"));
  EXPECT_EQ(taken.error().code, Code::permissionDenied);
  EXPECT_EQ(publish(other, "other", {{"f", mine.functions.at("f")}}).error().code, Code::failedPrecondition);
}

TEST_F(CatalogTest, LabelsAreMadeOfTheNamesAndFitAHostName) {
  const App app = newApp("My_App");
  const FunctionId id = *apps().precreate(app.id, "f", {});
  EXPECT_EQ(apps().labelFor(app, id, {"", "Do_It.now", ""}).label, "my-app-do-it-now");
  EXPECT_EQ(apps().labelFor(app, id, {"Mine", "f", ""}).label, "mine");
  const WebLabel cut = apps().labelFor(app, id, {"", std::string(80, 'x'), ""});
  EXPECT_TRUE(cut.truncated);
  EXPECT_LE(std::string("acme--").size() + cut.label.size(), 63u);
  const App serving = newApp("hello", AppState::ephemeral);
  EXPECT_EQ(apps().labelFor(serving, id, {"", "f", ""}).label, "hello-f-dev");
  EXPECT_EQ(apps().labelFor(serving, id, {"", "f", "ann"}).label, "hello-f-ann");
}

TEST_F(CatalogTest, TwoFunctionsDoNotGetTheSameMadeUpAddress) {
  deploy("a-b", "v1", "a-b-c");
  const App other = newApp("a");
  const FunctionId id = *apps().precreate(other.id, "b-c", {});
  const WebLabel made = apps().labelFor(other, id, {"", "b-c", ""});
  EXPECT_TRUE(made.hashed);
  EXPECT_NE(made.label, "a-b-c");
  EXPECT_TRUE(apps().labelFor(other, id, {"a-b-c", "b-c", ""}).stolen) << "asked for by name it is taken over";
}

TEST_F(CatalogTest, ABoundFunctionFollowsItsBase) {
  apps().setBinder([](const Function& base, const Binding& binding) {
    Function bound = base;
    bound.definition += "+" + binding.parameters;
    return Result<Function>(std::move(bound));
  });
  const App app = deploy("hello", "v1");
  const Binding binding{app.functions.at("f"), "params", ""};
  const FunctionId id = (*apps().bind(binding))->id;
  EXPECT_EQ((*apps().bind(binding))->id, id);
  deploy("hello", "v2");
  EXPECT_EQ(apps().find(id)->definition, "v2+params");
  reopen();
  EXPECT_EQ(apps().find(id)->definition, "v2+params");
}

TEST_F(CatalogTest, AFunctionIsBoundToSoManySetsOfParametersAndNoMore) {
  apps().setBinder([](const Function& base, const Binding&) { return Result<Function>(base); });
  const App app = deploy("hello", "v1");
  const FunctionId f = app.functions.at("f");
  const FunctionId first = (*apps().bind({f, "1", ""}))->id;
  ASSERT_TRUE(apps().bind({f, "2", ""}).ok());
  const auto third = apps().bind({f, "3", ""});
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().code, Code::exhausted);
  EXPECT_THAT(third.error().message, HasSubstr("'f' has 2 sets of parameters"));
  EXPECT_EQ((*apps().bind({f, "1", ""}))->id, first) << "those that are there stay";
}

TEST_F(CatalogTest, ScalingIsOverriddenUntilTheNextDeployment) {
  const auto binder = [](const Function& base, const Binding&) -> Result<Function> { return base; };
  apps().setBinder(binder);
  const App app = deploy("hello", "v1");
  const FunctionId f = app.functions.at("f");
  const FunctionId bound = (*apps().bind({f, "p", ""}))->id;
  Scaling scaling;
  scaling.minContainers = 3;
  ASSERT_TRUE(apps().rescale(bound, scaling).ok());
  reopen();
  apps().setBinder(binder);
  EXPECT_EQ(apps().functionsOf(app).size(), 1u);
  EXPECT_EQ(apps().withBoundOf(app).size(), 2u) << "whoever keeps minimums starts from these";
  EXPECT_EQ(apps().find(bound)->scaling.minContainers, 3);
  for (const char* next : {"v1", "v2"}) {
    ASSERT_TRUE(apps().rescale(f, scaling).ok());
    ASSERT_TRUE(apps().rescale(bound, scaling).ok());
    EXPECT_EQ((*apps().bind({f, "p", ""}))->scaling.minContainers, 3) << "a caller changes nothing";
    deploy("hello", next);
    EXPECT_EQ(apps().find(f)->scaling.minContainers, 0) << next;
    EXPECT_EQ(apps().find(bound)->scaling.minContainers, 0) << next;
  }
}

TEST_F(CatalogTest, EnvironmentsKeepNamesApartAndAreOnlyRemovedEmpty) {
  ASSERT_TRUE(catalog->environments().create("dev").ok());
  ASSERT_TRUE(catalog->secrets().create("dev", "s", {}, IfExists::fail, "ann").ok());
  EXPECT_FALSE(catalog->secrets().find("main", "s", {}).ok());
  EXPECT_EQ(catalog->eraseEnvironment("dev").error().code, Code::failedPrecondition);
  EXPECT_EQ(catalog->eraseEnvironment("main").error().code, Code::failedPrecondition);
  EXPECT_THAT(catalog->environments().resolve("dve").error().message, HasSubstr("did you mean 'dev'?"));
  EXPECT_EQ(apps().hostPrefix("dev"), "acme-dev");
  for (const char* bad : {"", "a.b", "-a", "en-x"})
    EXPECT_EQ(catalog->environments().create(bad).error().code, Code::invalidArgument) << bad;
}

}  // namespace
}  // namespace gridiron
