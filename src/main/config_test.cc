#include "main/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/fd.h"
#include "base/testing.h"

namespace gridiron {
namespace {

using testing::HasSubstr;

class Config : public testing::Test {
 protected:
  Config() { sources_.environment = {{"HOME", folder_}}; }

  void file(const std::string& text) {
    sources_.file = folder_ + "/grid.toml";
    ASSERT_TRUE(writeFileAtomic(sources_.file, text, 0600, Durable::no).ok());
  }
  Configuration read() {
    auto made = readConfiguration(sources_);
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made.value();
  }
  std::string refusal() {
    auto made = readConfiguration(sources_);
    return made.ok() ? "accepted" : made.error().message;
  }
  std::string originOf(const std::string& key) {
    for (const auto& value : read().values)
      if (value.key == key) return value.origin;
    return "no such key";
  }

  const TemporaryDirectory directory_;
  const std::string& folder_ = directory_.path();
  ConfigSources sources_;
};

TEST_F(Config, WithNothingGivenAGridForOneMachineListensOnLoopback) {
  auto settings = read().settings;
  EXPECT_EQ(settings.listen, "127.0.0.1:8400");
  EXPECT_EQ(settings.data, folder_ + "/.local/share/gridiron");
  EXPECT_EQ(settings.cache, folder_ + "/.cache/gridiron");
  EXPECT_EQ(settings.domain, "localhost");
  EXPECT_EQ(settings.stopGrace, std::chrono::seconds(3));
  EXPECT_TRUE(settings.inheritHostSettings);
  EXPECT_EQ(publicUrlOf(settings), "http://localhost:8400");
}

TEST_F(Config, RootKeepsItsThingsUnderVar) {
  sources_.root = true;
  EXPECT_EQ(read().settings.data, "/var/lib/gridiron");
  EXPECT_EQ(read().settings.cache, "/var/cache/gridiron");
}

TEST_F(Config, AFlagWinsOverTheEnvironmentWhichWinsOverTheFile) {
  file("workspace = \"from-file\"\n\ndomain = \"file.example\"\nlisten = \"0.0.0.0:1\"\n");
  EXPECT_EQ(originOf("domain"), sources_.file + ":3");
  sources_.environment["GRIDIRON_DOMAIN"] = "env.example";
  sources_.environment["GRIDIRON_LISTEN"] = "0.0.0.0:2";
  sources_.flags["listen"] = "0.0.0.0:3";
  auto settings = read().settings;
  EXPECT_EQ(settings.workspace, "from-file");
  EXPECT_EQ(settings.domain, "env.example");
  EXPECT_EQ(settings.listen, "0.0.0.0:3");
  EXPECT_EQ(originOf("domain"), "GRIDIRON_DOMAIN");
  EXPECT_EQ(originOf("listen"), "--listen");
  EXPECT_EQ(originOf("log_level"), "default");
}

TEST_F(Config, AnUnknownKeyIsRefusedWithTheNearestName) {
  file("data = \"/srv/grid\"\nlisten_on = \"0.0.0.0:8400\"\n");
  EXPECT_EQ(refusal(), sources_.file + ":2: no such setting: listen_on; did you mean listen?");
}

TEST_F(Config, AnUnknownVariableIsAWarning) {
  sources_.environment["GRIDIRON_LISTN"] = "1";
  EXPECT_THAT(read().warnings,
              testing::ElementsAre("the environment's GRIDIRON_LISTN sets nothing; did you mean GRIDIRON_LISTEN?"));
}

TEST_F(Config, ABrokenFileIsRefusedWithItsLine) {
  file("data = \"/srv/grid\"\nlisten = \n");
  EXPECT_THAT(refusal(), HasSubstr(sources_.file + ":2: "));
}

TEST_F(Config, AFileThatWasNamedMustExist) {
  sources_.file = folder_ + "/none.toml";
  EXPECT_THAT(refusal(), HasSubstr(sources_.file));
}

TEST_F(Config, TypesOfTheFileAreUnderstood) {
  file("mirrors = [\"mirror.example\", \"other.example\"]\ninherit_host_settings = false\nstop_grace = 5\n");
  auto settings = read().settings;
  EXPECT_THAT(settings.mirrors, testing::ElementsAre("mirror.example", "other.example"));
  EXPECT_FALSE(settings.inheritHostSettings);
  EXPECT_EQ(settings.stopGrace, std::chrono::seconds(5));
}

TEST_F(Config, WhoIsTrustedAndWhichCertificatesThereAreAreLists) {
  EXPECT_TRUE(read().settings.trustedProxies.has("127.0.0.1"));
  file(
      "tls_certificate = \"/a.pem\"\ntls_key = \"/a.key\"\nmore_certificates = [\"/b.pem /b.key\", \"/c.pem /c.key\"]\n"
      "trusted_proxies = [\"10.0.0.0/8\"]\nredirect_http = false\n");
  auto settings = read().settings;
  ASSERT_EQ(settings.moreCertificates.size(), 2u);
  EXPECT_EQ(settings.moreCertificates[1].key, "/c.key");
  EXPECT_TRUE(settings.trustedProxies.has("10.1.2.3"));
  EXPECT_FALSE(settings.trustedProxies.has("127.0.0.1"));
  EXPECT_FALSE(settings.redirectHttp);
  file("more_certificates = [\"/b.pem\"]\n");
  EXPECT_THAT(refusal(), HasSubstr("more_certificates: \"/b.pem\" is not two PEM files"));
  file("more_certificates = [\"/b.pem /b.key\"]\n");
  EXPECT_THAT(refusal(), HasSubstr("tls_certificate and tls_key, which are not set"));
  file("trusted_proxies = [\"proxy.example\"]\n");
  EXPECT_THAT(refusal(), HasSubstr("\"proxy.example\" is not a network"));
}

TEST_F(Config, AWrongValueIsRefusedWithItsSourceAndWhatWouldBeRight) {
  sources_.environment["GRIDIRON_STOP_GRACE"] = "soon";
  EXPECT_EQ(refusal(), "GRIDIRON_STOP_GRACE: stop_grace: \"soon\" is not a time such as 60, 60s, 500ms, 5m or 1h");
}

TEST_F(Config, QueuesAreBoundedAsTheFileSays) {
  EXPECT_EQ(read().settings.queueInputs, 1'000'000);
  file("queue_inputs = 10\nqueue_workspace_inputs = 20\nqueue_workspace_bytes = \"512MiB\"\n");
  const auto settings = read().settings;
  EXPECT_EQ(settings.queueInputs, 10);
  EXPECT_EQ(settings.queueWorkspaceInputs, 20);
  EXPECT_EQ(settings.queueWorkspaceBytes, 512 << 20);
  sources_.flags["queue_inputs"] = "none";
  EXPECT_EQ(refusal(), "--queue-inputs: queue_inputs: \"none\" is not a number from 1 to 1000000000");
  sources_.flags["queue_inputs"] = "1";
  sources_.flags["queue_workspace_bytes"] = "4";
  EXPECT_THAT(refusal(), HasSubstr("\"4\" is not a size such as 512MiB or 4GiB"));
}

TEST_F(Config, LimitsAndTheAccessLogAreRead) {
  EXPECT_EQ(read().settings.accessLog, "");
  EXPECT_EQ(read().settings.maxConnections, 10'000);
  EXPECT_EQ(read().settings.maxClientConnections, 1'000);
  file(
      "limits = [\"shop/paid all=100-per-second\", \"*/* client=10-per-minute\"]\naccess_log = \"-\"\nmax_connections "
      "= 7\nmax_client_connections = 3\n");
  const auto settings = read().settings;
  ASSERT_EQ(settings.limits.size(), 2u);
  EXPECT_EQ(settings.limits[1].app, "*");
  EXPECT_EQ(settings.accessLog, "-");
  EXPECT_EQ(settings.maxConnections, 7);
  EXPECT_EQ(settings.maxClientConnections, 3);
  file("access_log = \"/var/log/../log/grid.log\"\n");
  EXPECT_EQ(read().settings.accessLog, "/var/log/grid.log");
  sources_.flags["limits"] = "paid all=1-per-second";
  EXPECT_THAT(refusal(), HasSubstr("no app before the function"));
}

TEST_F(Config, HalfOfTlsIsRefused) {
  sources_.flags["tls_key"] = "/k.pem";
  EXPECT_THAT(refusal(), HasSubstr("tls_certificate and tls_key go together"));
}

struct Listen {
  const char* given;
  const char* meant;
};
class ListenForms : public testing::TestWithParam<Listen> {};
TEST_P(ListenForms, AreUnderstoodOrRefused) {
  ConfigSources sources;
  sources.flags["listen"] = GetParam().given;
  auto made = readConfiguration(sources);
  EXPECT_EQ(made.ok() ? made->settings.listen : "refused", GetParam().meant) << GetParam().given;
}
INSTANTIATE_TEST_SUITE_P(Forms, ListenForms,
                         testing::Values(Listen{"8400", "127.0.0.1:8400"}, Listen{":8400", "0.0.0.0:8400"},
                                         Listen{"localhost:1", "127.0.0.1:1"}, Listen{"[::]:8400", "[::]:8400"},
                                         Listen{"::1:8400", "refused"}, Listen{"127.0.0.1", "refused"},
                                         Listen{"127.0.0.1:70000", "refused"}, Listen{"127.0.0.1:x", "refused"},
                                         Listen{"", "refused"}));

}  // namespace
}  // namespace gridiron
