#include "image/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/subprocess.h"
#include "image/stack.h"

namespace gridiron::image {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string digestOf(const std::string& bytes) { return "sha256:" + sha256(bytes).hex(); }

// A registry in memory with one image: an index, its manifest for both machines that we know, a config, two layers.
class RegistryTest : public testing::Test {
 protected:
  RegistryTest() : directory_(testing::TempDir() + "registry-" + randomAlnum(10)), layers_(directory_) {
    fs::create_directories(directory_);
    const std::string bottom = tar("add('etc/a', b'one')\nadd('etc/b', b'two')");
    const std::string top = tar("add('etc/c', b'three')");
    const std::string config =
        R"({"config": {"Env": ["PATH=/opt/bin", "X=a=b"], "WorkingDir": "/srv", "Cmd": ["run"], "Entrypoint": ["/e"]}})";
    manifest_ = R"({"config": {"digest": ")" + put(config) + R"("}, "layers": [{"digest": ")" + put(bottom) +
                R"("}, {"digest": ")" + put(top) + R"("}]})";
    index_ = R"({"manifests": [{"digest": "sha256:0", "platform": {"os": "windows", "architecture": "amd64"}},
                {"digest": ")" +
             digestOf(manifest_) + R"(", "platform": {"os": "linux", "architecture": "amd64"}}, {"digest": ")" +
             digestOf(manifest_) + R"(", "platform": {"os": "linux", "architecture": "arm64"}}]})";
  }
  ~RegistryTest() override { fs::remove_all(directory_); }

  std::string tar(const std::string& script) {
    const std::string path = directory_ + "/made.tar.gz";
    Command command;
    command.argv = {"python3", "-c",
                    "import tarfile, io\nt = tarfile.open('" + path +
                        "', 'w:gz')\ndef add(name, data):\n"
                        "  i = tarfile.TarInfo(name); i.size = len(data); t.addfile(i, io.BytesIO(data))\n" +
                        script + "\nt.close()"};
    const auto finished = runCommand(command);
    EXPECT_TRUE(finished.ok() && finished->exitCode == 0);
    return *readFile(path);
  }
  std::string put(const std::string& bytes) { return blobs_[digestOf(bytes)] = bytes, digestOf(bytes); }

  Result<HttpAnswer> answer(const HttpGet& get) {
    asked_.push_back(get.url);
    if (down_) return makeError(Code::unavailable, "GET {}: connection refused", get.url);
    const std::string sent = get.headers.empty() ? "" : get.headers.back();
    if (get.url.starts_with("https://auth.local/token")) {
      tokenRequest_ = get.url + " " + sent;
      return HttpAnswer{200, {}, R"({"token": "t0k"})"};
    }
    if (wantsToken_ && sent != "Authorization: Bearer t0k") {
      return HttpAnswer{
          401, {{"www-authenticate", R"(Bearer realm="https://auth.local/token",service="the registry")"}}, ""};
    }
    const std::string end = get.url.substr(get.url.rfind('/') + 1);
    if (get.url.find("/manifests/") != std::string::npos) {
      if (end == "1.0") return HttpAnswer{200, {}, index_};
      if (end == digestOf(manifest_)) return HttpAnswer{200, {}, manifest_};
      return HttpAnswer{404, {}, ""};
    }
    if (!blobs_.contains(end)) return HttpAnswer{404, {}, ""};
    std::ofstream(get.toFile, std::ios::binary) << (damaged_ ? "junk" : blobs_[end]);
    return HttpAnswer{200, {}, ""};
  }
  Registry registry(std::vector<std::string> mirrors = {}) {
    return Registry(directory_, std::move(mirrors), layers_, [this](const HttpGet& get) { return answer(get); });
  }

  std::string directory_, manifest_, index_, tokenRequest_;
  Layers layers_;
  std::map<std::string, std::string> blobs_;
  std::vector<std::string> asked_;
  bool down_ = false, wantsToken_ = false, damaged_ = false;
  BuildLog log_ = [](std::string_view) {};
};

TEST_F(RegistryTest, AnImageOfThisMachinesPlatformBecomesLayersAndSettings) {
  auto from = registry();
  const Base base = *from.pull("reg.local/team/app:1.0", {}, log_);
  ASSERT_EQ(base.layers.size(), 2u);
  EXPECT_THAT(Stack(base.layers).list("/etc"), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(fs::exists(base.layers[0] + "/etc/c"));
  EXPECT_EQ(base.environment.at("PATH"), "/opt/bin");
  EXPECT_EQ(base.environment.at("X"), "a=b");
  EXPECT_EQ(base.workdir, "/srv");
  EXPECT_THAT(base.command, ElementsAre("run"));
  EXPECT_EQ(base.key, "oci:" + digestOf(manifest_));
  EXPECT_EQ(asked_.front(), "https://reg.local/v2/team/app/manifests/1.0");
}

TEST_F(RegistryTest, WhatWasPulledIsGivenAgainWithoutAsking) {
  auto from = registry();
  const Base first = *from.pull("reg.local/team/app:1.0", {}, log_);
  const std::size_t asked = asked_.size();
  EXPECT_EQ(from.pull("reg.local/team/app:1.0", {}, log_)->layers, first.layers);
  EXPECT_EQ(asked_.size(), asked);
  fs::remove_all(first.layers[0]);
  EXPECT_TRUE(from.pull("reg.local/team/app:1.0", {}, log_).ok());
  EXPECT_GT(asked_.size(), asked);
}

TEST_F(RegistryTest, ATokenIsFetchedWithTheCredentialsWhenItIsAskedFor) {
  wantsToken_ = true;
  auto from = registry();
  EXPECT_TRUE(from.pull("reg.local/team/app:1.0", {"me", "pw"}, log_).ok());
  EXPECT_THAT(tokenRequest_, HasSubstr("scope=repository%3Ateam%2Fapp%3Apull&service=the%20registry"));
  EXPECT_THAT(tokenRequest_, HasSubstr("Authorization: Basic " + base64Encode("me:pw")));
}

TEST_F(RegistryTest, BytesThatAreNotWhatTheManifestSaysAreRefused) {
  damaged_ = true;
  auto from = registry();
  const auto failed = from.pull("reg.local/team/app:1.0", {}, log_);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Code::dataLoss);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_ + "/layers"), {}), 0);
}

TEST_F(RegistryTest, ARegistryThatIsDownIsLeftInPeaceAndAMirrorIsAskedFirst) {
  down_ = true;
  auto from = registry({"mirror.local"});
  EXPECT_EQ(from.pull("python:1.0", {}, log_).error().code, Code::unavailable);
  EXPECT_THAT(asked_, ElementsAre("https://mirror.local/v2/library/python/manifests/1.0",
                                  HasSubstr("/v2/library/python/manifests/1.0")));
  EXPECT_EQ(from.pull("python:1.0", {}, log_).error().code, Code::unavailable);
  EXPECT_EQ(asked_.size(), 2u);
}

TEST_F(RegistryTest, AnUnknownTagIsNotFoundAndNoReasonToAvoidTheRegistry) {
  auto from = registry();
  EXPECT_EQ(from.pull("reg.local/team/app:2.0", {}, log_).error().code, Code::notFound);
  EXPECT_TRUE(from.pull("reg.local/team/app:1.0", {}, log_).ok());
}

TEST_F(RegistryTest, AnOciLayoutOnDiskIsAnImageToo) {
  const std::string layout = directory_ + "/layout";
  fs::create_directories(layout + "/blobs/sha256");
  blobs_[digestOf(manifest_)] = manifest_;
  for (const auto& [digest, bytes] : blobs_) {
    std::ofstream(layout + "/blobs/sha256/" + digest.substr(7), std::ios::binary) << bytes;
  }
  std::ofstream(layout + "/index.json") << R"({"manifests": [{"digest": ")" + digestOf(manifest_) + R"("}]})";
  auto from = registry();
  EXPECT_THAT(Stack(from.pull("oci-layout:" + layout, {}, log_)->layers).list("/etc"), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(asked_.empty());
  EXPECT_FALSE(from.pull("oci-layout:" + directory_ + "/nowhere", {}, log_).ok());
}

TEST_F(RegistryTest, ASavedArchiveIsAnImageToo) {
  const std::string archive =
      tar("import json, hashlib\n"
          "inner = io.BytesIO(); u = tarfile.open(fileobj=inner, mode='w'); j = tarfile.TarInfo('hello'); j.size = 2\n"
          "u.addfile(j, io.BytesIO(b'hi')); u.close()\nadd('l/layer.tar', inner.getvalue())\n"
          "add('c.json', json.dumps({'config': {'WorkingDir': '/w'}}).encode())\n"
          "add('manifest.json', json.dumps([{'Config': 'c.json', 'Layers': ['l/layer.tar']}]).encode())");
  std::ofstream(directory_ + "/saved.tar", std::ios::binary) << archive;
  auto from = registry();
  const Base base = *from.pull("docker-archive:" + directory_ + "/saved.tar", {}, log_);
  EXPECT_EQ(*Stack(base.layers).read("/hello"), "hi");
  EXPECT_EQ(base.workdir, "/w");
}

TEST(ImageNames, AreCompletedAsDockerDoes) {
  const auto parts = [](const std::string& tag) {
    const auto name = parseImageName(tag);
    return name.ok() ? name->registry + " " + name->repository + " " + name->reference : "refused";
  };
  EXPECT_EQ(parts("python"), "docker.io library/python latest");
  EXPECT_EQ(parts("mambaorg/micromamba:2.0"), "docker.io mambaorg/micromamba 2.0");
  EXPECT_EQ(parts("localhost:5000/a"), "localhost:5000 a latest");
  EXPECT_EQ(parts("ghcr.io/a/b:c"), "ghcr.io a/b c");
  const std::string digest = "sha256:" + std::string(64, 'a');
  EXPECT_EQ(parts("a/b:tag@" + digest), "docker.io a/b " + digest);
  for (const char* bad : {"", "A/B", "a b", "x/../y", "a@sha256:1", "ghcr.io/a:x/y"}) EXPECT_EQ(parts(bad), "refused");
}

TEST(Challenges, AreTakenApart) {
  const Challenge challenge = parseChallenge(R"(Bearer realm="https://a/b?c=d",service=s,scope="x:y,z")");
  EXPECT_EQ(challenge.scheme, "bearer");
  EXPECT_EQ(challenge.parameters.at("realm"), "https://a/b?c=d");
  EXPECT_EQ(challenge.parameters.at("service"), "s");
  EXPECT_EQ(challenge.parameters.at("scope"), "x:y,z");
  EXPECT_EQ(parseChallenge("Basic").scheme, "basic");
}

}  // namespace
}  // namespace gridiron::image
