#include "image/packages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/fd.h"
#include "base/id.h"
#include "image/base.h"

namespace gridiron::image {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(RequirementFile, IsTheBuildersOwnOrTheNewest) {
  const std::vector<std::string> files = {"2023.12.txt", "2023.12.312.txt", "2025.06.txt", "PREVIEW.txt", "README.md"};
  EXPECT_EQ(requirementFile(files, "2025.06", "3.11.2"), "2025.06.txt");
  EXPECT_EQ(requirementFile(files, "2023.12", "3.12.1"), "2023.12.312.txt");
  EXPECT_EQ(requirementFile(files, "PREVIEW", "3.13.0"), "PREVIEW.txt");
  EXPECT_EQ(requirementFile(files, "2026.10", "3.11.2"), "2025.06.txt");
  EXPECT_EQ(requirementFile({}, "2025.06", "3.11.2"), "");
}

TEST(Requirements, APinThatTheIndexLacksIsDropped) {
  const std::string said =
      "ERROR: Could not find a version (from versions: 1)\nERROR: No matching distribution found for certifi==2026.1\n";
  EXPECT_EQ(missingRequirement(said), "certifi==2026.1");
  EXPECT_EQ(missingRequirement("ERROR: something else"), "");
  EXPECT_EQ(withoutPin("attrs==1\ncertifi==2026.1\nyarl==2 ; python_version < \"3.15\"\n", "certifi==2026.1"),
            "attrs==1\ncertifi\nyarl==2 ; python_version < \"3.15\"\n");
  EXPECT_EQ(withoutPin("typing_extensions==4.13.2 ; python_version < \"3\"\n", "typing_extensions==4.13.2"),
            "typing-extensions ; python_version < \"3\"\n");
}

TEST(Requirements, ExtrasFitWhatComesBeforeThemOnThePath) {
  EXPECT_EQ(
      extrasConstraints({{"Starlette", "0.40.0"}, {"numpy", "1"}}, "idna==3.10\nyarl==1\ntyping_extensions==4.13\n"),
      "typing_extensions==4.13\nidna==3.10\nstarlette==0.40.0\n");
}

// A pip of its own: leaves what the real one would, or says what it lacks.
class PackagesTest : public testing::Test {
 protected:
  PackagesTest() : directory_(testing::TempDir() + "packages-" + randomAlnum(10)) {
    image_.imageId = "im-1";
    image_.pythonVersion = "3.11.2";
    image_.pythonPath = "/usr/bin/python3";
    image_.libc = "glibc 2.36";
    image_.builderVersion = "2025.06";
  }
  ~PackagesTest() override { fs::remove_all(directory_); }

  Result<int> run(const Step& step, const std::function<void(std::string_view)>& log) {
    const std::string& script = step.argv.back();
    ++runs_;
    if (script.find(lacking_) != std::string::npos && !lacking_.empty()) {
      log("ERROR: No matching distribution found for " + lacking_ + "\n");
      return 1;
    }
    if (script.find("modal==") != std::string::npos) {
      fs::create_directories(step.upper + "/pkg/modal/builder");
      std::ofstream(step.upper + "/pkg/modal/builder/2025.06.txt") << "certifi==9\nidna==3.10\n";
    } else if (script.find("/__modal/deps") != std::string::npos) {
      fs::create_directories(step.upper + "/__modal/deps/certifi");
    } else if (script.find("/__modal/extras") != std::string::npos) {
      fs::create_directories(step.upper + "/__modal/extras/fastapi");
    } else if (script.find("gridiron-uv") != std::string::npos) {
      fs::create_directories(step.upper + "/gridiron-out");
      std::ofstream(step.upper + "/gridiron-out/uv") << script;
    }
    return 0;
  }
  Packages packages() {
    return Packages(directory_, runner_, [this]() -> Result<const HostSettings*> { return &host_; });
  }

  std::string directory_, lacking_, log_;
  int runs_ = 0;
  Built image_;
  HostSettings host_;
  StepRunner runner_ = [this](const Step& step, const auto& log) { return run(step, log); };
  BuildLog logger_ = [this](std::string_view text) { log_ += text; };
};

TEST_F(PackagesTest, AreFetchedOnceAndKept) {
  const auto first = *packages().client("1.6.4", image_, true, logger_);
  EXPECT_TRUE(fs::exists(first.pkg + "/modal/builder"));
  EXPECT_TRUE(fs::exists(first.dependencies + "/certifi"));
  EXPECT_TRUE(fs::exists(first.extras + "/fastapi"));
  EXPECT_EQ(runs_, 3);
  const auto again = *packages().client("1.6.4+local", image_, true, logger_);
  EXPECT_EQ(again.pkg, first.pkg);
  EXPECT_EQ(runs_, 3);
  image_.pythonVersion = "3.13.1";
  EXPECT_NE(packages().client("1.6.4", image_, false, logger_)->pkg, first.pkg);
}

TEST_F(PackagesTest, APinThatTheIndexLacksGivesWayAndIsTold) {
  lacking_ = "certifi==9";
  EXPECT_TRUE(packages().client("1.6.4", image_, false, logger_).ok());
  EXPECT_THAT(log_, HasSubstr("no certifi==9: the newest it has is taken"));
}

TEST_F(PackagesTest, FastapiOfTheImageNeedsNoOther) {
  image_.pythonPackages = {{"fastapi", "0.110.0"}};
  EXPECT_EQ(packages().client("1.6.4", image_, true, logger_)->extras, "");
}

TEST_F(PackagesTest, WithoutPythonOrWithAnOddVersionItSaysSo) {
  EXPECT_FALSE(packages().client("1.6.4; rm -rf /", image_, false, logger_).ok());
  image_.pythonVersion.clear();
  EXPECT_THAT(packages().client("1.6.4", image_, false, logger_).error().message, HasSubstr("no Python"));
  EXPECT_EQ(runs_, 0);
}

TEST_F(PackagesTest, UvFallsBackToTheNewest) {
  lacking_ = "uv==0.99.0";
  const std::string uv = *packages().uv("0.99.0-debian", image_, logger_);
  EXPECT_TRUE(fs::exists(uv + "/uv"));
  EXPECT_THAT(log_, HasSubstr("no uv 0.99.0"));
}

TEST(Bootstrappable, AnyMicroVersionOfASeriesThatAMirrorHas) {
  EXPECT_EQ(bootstrappable("python:3.11.12-slim-bookworm")->suite, "bookworm");
  EXPECT_EQ(bootstrappable("python:3.13-slim-trixie")->suite, "trixie");
  EXPECT_EQ(bootstrappable("python:3.13.3-slim-bookworm")->suite, "trixie");
  EXPECT_EQ(bootstrappable("docker.io/library/python:3.9")->python, "3.9");
  EXPECT_EQ(bootstrappable("debian:12-slim")->suite, "bookworm");
  EXPECT_EQ(bootstrappable("debian:bookworm-20250520-slim")->python, "");
  EXPECT_EQ(bootstrappable("debian")->suite, "trixie");
  for (const char* tag : {"python:3.12-slim", "python:3.11-alpine", "debian:sid", "ubuntu:22.04", "x/python:3.11"}) {
    const auto wanted = bootstrappable(tag);
    ASSERT_FALSE(wanted.ok()) << tag;
    EXPECT_THAT(wanted.error().message, HasSubstr("python:3.13, python:3.11, python:3.9"));
  }
}

}  // namespace
}  // namespace gridiron::image
