#include "image/host_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/fd.h"
#include "base/id.h"

namespace gridiron::image {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;
using testing::Not;
using testing::Pair;

class HostSettingsTest : public testing::Test {
 protected:
  HostSettingsTest() : directory_(testing::TempDir() + "host-" + randomAlnum(10)) {
    std::filesystem::create_directories(directory_);
    texts_.environment = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      return found == variables_.end() ? std::nullopt : std::optional(found->second);
    };
  }
  ~HostSettingsTest() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
  std::map<std::string, std::string> variables_;
  HostTexts texts_;
};

TEST_F(HostSettingsTest, ProxiesAndIndexesGoInAndFilesOfTheHostDoNot) {
  variables_ = {{"https_proxy", "http://proxy:3128"},
                {"PYTHONDONTWRITEBYTECODE", "1"},
                {"PIP_FIND_LINKS", "/opt/wheels"},
                {"SSL_CERT_FILE", "/nowhere/ca.pem"}};
  texts_.pipConfigList = "global.cert='/host/ca.pem'\nglobal.index-url='http://index.local/simple'\n";
  texts_.npmrc = "fund=false\nregistry=http://npm.local/\n";
  const HostSettings settings = *hostSettings(texts_, directory_ + "/files");
  EXPECT_THAT(settings.environment, Contains(Pair("https_proxy", "http://proxy:3128")));
  EXPECT_THAT(settings.environment, Contains(Pair("PIP_INDEX_URL", "http://index.local/simple")));
  EXPECT_THAT(settings.environment, Contains(Pair("UV_INDEX_URL", "http://index.local/simple")));
  EXPECT_THAT(settings.environment, Contains(Pair("npm_config_registry", "http://npm.local/")));
  EXPECT_THAT(settings.environment, Not(Contains(Key("PYTHONDONTWRITEBYTECODE"))));
  EXPECT_THAT(settings.environment, Not(Contains(Key("PIP_FIND_LINKS"))));
  EXPECT_THAT(settings.environment, Not(Contains(Key("SSL_CERT_FILE"))));
  EXPECT_TRUE(settings.binds.empty());
}

TEST_F(HostSettingsTest, TheBundleLiesAtAPathOfItsOwnAndEverybodyIsToldOfIt) {
  std::ofstream(directory_ + "/mine.pem") << "CERT";
  variables_ = {{"CURL_CA_BUNDLE", directory_ + "/mine.pem"}};
  const HostSettings settings = *hostSettings(texts_, directory_ + "/files");
  ASSERT_EQ(settings.binds.size(), 2u);
  EXPECT_EQ(settings.binds[0].target, "/run/gridiron/ca-bundle.pem");
  EXPECT_EQ(*readFile(settings.binds[0].source), "CERT");
  for (const char* name :
       {"SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"}) {
    EXPECT_THAT(settings.environment, Contains(Pair(name, "/run/gridiron/ca-bundle.pem")));
  }
  EXPECT_THAT(settings.environment, Contains(Pair("APT_CONFIG", "/run/gridiron/apt.conf")));
  EXPECT_THAT(*readFile(settings.binds[1].source), HasSubstr("Acquire::https::CaInfo \"/run/gridiron/ca-bundle.pem\""));
}

TEST_F(HostSettingsTest, OfAptOnlyAcquireOptionsThatAreTrueElsewhere) {
  EXPECT_THAT(acquireOptions("APT::Update::Post-Invoke:: \"rm x\";\nAcquire \"\";\nAcquire::http::Proxy \"http://p\";\n"
                             "Acquire::http::Proxy-Auto-Detect \"/usr/bin/x\";\nAcquire::https::CaInfo \"/x\";\n"
                             "Acquire::Check-Valid-Until \"false\";\nAcquire::IndexTargets::deb \"\";\n"),
              ElementsAre("Acquire::http::Proxy \"http://p\";", "Acquire::Check-Valid-Until \"false\";"));
}

TEST_F(HostSettingsTest, MirrorsFromEitherFormatOfSources) {
  EXPECT_THAT(debianMirrors({"Types: deb\n# http://old/debian\nURIs: http://m.local/debian\nSuites: x\n",
                             "URIs: http://m.local/debian-security/\n"}),
              ElementsAre("http://m.local/debian", "http://m.local/debian-security"));
  EXPECT_THAT(debianMirrors({"deb https://other.local/x y z\ndeb [signed-by=/k] http://n.local/debian/ sid main"}),
              ElementsAre("http://n.local/debian"));
  EXPECT_THAT(debianMirrors({"deb http://n.local/ubuntu noble main"}), ElementsAre());
}

}  // namespace
}  // namespace gridiron::image
