#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"
#include "image/image.h"
#include "image/stack.h"

namespace gridiron::image {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;
using testing::Not;
using testing::Pair;

// Does what the shell would for "write PATH TEXT", "fail CODE" and "say TEXT", and keeps every step.
class FakeRunner {
 public:
  Result<int> operator()(const Step& step, const std::function<void(std::string_view)>& log) {
    const std::lock_guard held(mutex);
    steps.push_back(step);
    if (step.argv.size() == 3 && step.argv[1] == "-c" && step.argv[0] != "/bin/sh") {  // the probe
      log("\nGRIDIRON-PYTHON {\"version\": \"3.11.9\", \"libc\": \"glibc 2.36\", \"packages\": {\"pip\": \"24.0\"}}\n");
      return 0;
    }
    std::istringstream words(step.argv.back());
    std::string verb, first, rest;
    words >> verb >> first;
    std::getline(words, rest);
    if (verb == "fail") {
      std::ofstream(step.upper + "/half") << "x";
      log("line one\nline two: no such package\n");
      return std::stoi(first);
    }
    if (verb == "break") return makeError(Code::cancelled, "the build was cancelled");
    if (verb == "write") {
      fs::create_directories(fs::path(step.upper + first).parent_path());
      std::ofstream(step.upper + first) << rest;
      fs::permissions(step.upper + first, fs::perms(0755));
      // A mount point that the sandbox made for something bound.
      fs::create_directories(step.upper + "/run/gridiron");
      std::ofstream(step.upper + "/run/gridiron/apt.conf") << "";
    }
    return 0;
  }
  std::mutex mutex;
  std::vector<Step> steps;
};

class ImagesTest : public testing::Test {
 protected:
  ImagesTest() : directory_(testing::TempDir() + "images-" + randomAlnum(10)) {
    Images::Options options;
    options.directory = directory_ + "/store";
    options.cacheDirectory = directory_ + "/cache";
    options.inheritHostSettings = false;
    images_ =
        std::make_unique<Images>(options, [this](const Step& step, const auto& log) { return runner_(step, log); });
  }
  ~ImagesTest() override { fs::remove_all(directory_); }

  Result<Built> build(const std::string& id, std::vector<std::string> dockerfile) {
    recipe_.dockerfile = std::move(dockerfile);
    recipe_.builderVersion = "2025.06";
    return images_->build(id, recipe_, [this](std::string_view text) { log_ += text; });
  }
  // The runs of RUN instructions; looks at an image's Python are no part of them.
  std::size_t runs() const {
    return static_cast<std::size_t>(std::count_if(runner_.steps.begin(), runner_.steps.end(),
                                                  [](const Step& s) { return s.argv[0] == "/bin/sh"; }));
  }
  std::size_t layersOnDisk() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_ + "/store/layers"), {}));
  }

  std::string directory_, log_;
  Recipe recipe_;
  FakeRunner runner_;
  std::unique_ptr<Images> images_;
};

TEST_F(ImagesTest, EachRunIsALayerOverThoseBelow) {
  const Built built = *build("im-1", {"FROM scratch", "RUN write /a one", "RUN write /b two"});
  ASSERT_EQ(built.layers.size(), 3u);
  EXPECT_EQ(*readFile(built.layers[0] + "/b"), " two");
  EXPECT_EQ(*readFile(built.layers[1] + "/a"), " one");
  EXPECT_THAT(runner_.steps[1].lowers, ElementsAre(built.layers[1], built.layers[2]));
  EXPECT_FALSE(fs::exists(built.layers[0] + "/run/gridiron"));
  EXPECT_EQ(images_->find("im-1")->layers, built.layers);
  EXPECT_EQ(images_->find("im-1")->builderVersion, "2025.06");
}

TEST_F(ImagesTest, TheSameStepOverTheSameLayersRunsOnce) {
  const Built first = *build("im-1", {"FROM scratch", "RUN write /a one", "RUN write /b two"});
  const Built second = *build("im-2", {"FROM scratch", "RUN write /a one", "RUN write /c three"});
  EXPECT_EQ(runs(), 3u);
  EXPECT_EQ(first.layers[1], second.layers[1]);
  EXPECT_THAT(log_, HasSubstr("cached"));
}

TEST_F(ImagesTest, AFailedStepIsNamedAndLeavesNothing) {
  const auto failed = build("im-1", {"FROM scratch", "# why", "RUN fail 7"});
  ASSERT_FALSE(failed.ok());
  EXPECT_THAT(failed.error().message, HasSubstr("step 2/2 (line 3) 'RUN fail 7': exit code 7"));
  EXPECT_THAT(failed.error().message, HasSubstr("line two: no such package"));
  EXPECT_EQ(layersOnDisk(), 1u);  // scratch
  EXPECT_FALSE(images_->find("im-1").has_value());
}

TEST_F(ImagesTest, ACancelledStepStaysCancelled) {
  EXPECT_EQ(build("im-1", {"FROM scratch", "RUN break it"}).error().code, Code::cancelled);
}

TEST_F(ImagesTest, ABaseIsAnEarlierImageWithItsSettings) {
  (void)*build("im-1", {"FROM scratch", "ENV A=1 PATH=/v/bin", "WORKDIR /srv", "CMD [\"x\"]", "RUN write /a one"});
  recipe_.bases["base"] = "im-1";
  const Built built = *build("im-2", {"FROM base", "ENV PATH=/w/bin:$PATH", "RUN write /b two"});
  EXPECT_EQ(built.environment.at("PATH"), "/w/bin:/v/bin");
  EXPECT_EQ(built.environment.at("A"), "1");
  EXPECT_EQ(built.workdir, "/srv");
  EXPECT_THAT(built.command, ElementsAre("x"));
  EXPECT_EQ(runner_.steps.back().workdir, "/srv");
  recipe_.bases["base"] = "im-absent";
  EXPECT_THAT(build("im-3", {"FROM base"}).error().message, HasSubstr("im-absent"));
}

TEST_F(ImagesTest, SecretsAreTheEnvironmentOfStepsAndNothingElse) {
  recipe_.secrets = {{"GITHUB_TOKEN", "hunter2"}};
  const Built built = *build("im-1", {"FROM scratch", "RUN write /a one"});
  EXPECT_THAT(runner_.steps[0].environment, Contains(Pair("GITHUB_TOKEN", "hunter2")));
  EXPECT_THAT(built.environment, Not(Contains(Key("GITHUB_TOKEN"))));
  EXPECT_THAT(*readFile(directory_ + "/store/images/im-1.json"), Not(HasSubstr("hunter2")));
  recipe_.secrets = {{"GITHUB_TOKEN", "other"}};
  EXPECT_NE(build("im-2", {"FROM scratch", "RUN write /a one"})->layers[0], built.layers[0]);
}

TEST_F(ImagesTest, BuildArgumentsReachStepsAndTags) {
  recipe_.buildArgs = {{"WHAT", "given"}};
  const Built built = *build("im-1", {"ARG BASE=scratch", "FROM $BASE", "ARG WHAT=otherwise", "ARG MORE=m$WHAT",
                                      "ENV SEEN=$MORE", "RUN write /a one"});
  EXPECT_THAT(runner_.steps[0].environment, Contains(Pair("WHAT", "given")));
  EXPECT_EQ(built.environment.at("SEEN"), "mgiven");
  EXPECT_THAT(built.environment, Not(Contains(Key("WHAT"))));
}

TEST_F(ImagesTest, CopyTakesContextFilesAndTheContextDirectory) {
  fs::create_directories(directory_ + "/context/root/pkg");
  std::ofstream(directory_ + "/context/root/pkg/mod.py") << "x = 1";
  std::ofstream(directory_ + "/context/root/app.py") << "import pkg";
  recipe_.contextDirectory = directory_ + "/context";
  recipe_.contextFiles = {{"/.requirements.txt", "numpy\n"}};
  const Built built = *build("im-1", {"FROM scratch", "COPY /.requirements.txt /.requirements.txt",
                                      "COPY /root/pkg /srv/pkg", "COPY root/*.py /srv/code/"});
  EXPECT_EQ(*Stack(built.layers).read("/.requirements.txt"), "numpy\n");
  EXPECT_EQ(*Stack(built.layers).read("/srv/pkg/mod.py"), "x = 1");
  EXPECT_EQ(*Stack(built.layers).read("/srv/code/app.py"), "import pkg");
  EXPECT_FALSE(Stack(built.layers).find("/root/app.py"));
  EXPECT_EQ(runs(), 0u);
}

TEST_F(ImagesTest, CopyOfTheWholeContextKeepsDirectoriesAsTheyWere) {
  fs::create_directories(directory_ + "/context/tmp");
  std::ofstream(directory_ + "/context/tmp/f") << "x";
  recipe_.contextDirectory = directory_ + "/context";
  const Built built = *build("im-1", {"FROM scratch", "COPY . /"});
  EXPECT_EQ(*Stack(built.layers).read("/tmp/f"), "x");
  EXPECT_EQ(Stack(built.layers).find("/tmp")->status.st_mode & 07777, 01777u);
}

TEST_F(ImagesTest, ACopyOfOtherBytesIsAnotherLayer) {
  recipe_.contextFiles = {{"/f", "one"}};
  const Built first = *build("im-1", {"FROM scratch", "COPY /f /f"});
  recipe_.contextFiles = {{"/f", "two"}};
  const Built second = *build("im-2", {"FROM scratch", "COPY /f /f"});
  EXPECT_NE(first.layers[0], second.layers[0]);
  EXPECT_EQ(*Stack(second.layers).read("/f"), "two");
}

TEST_F(ImagesTest, CopyFollowsALinkOfTheImageAndDoesNotReplaceIt) {
  (void)*build("im-1", {"FROM scratch", "RUN write /usr/bin/x y"});
  const Built below = *images_->find("im-1");
  fs::create_symlink("usr/bin", below.layers[0] + "/bin");
  recipe_.bases["base"] = "im-1";
  recipe_.contextFiles = {{"/tool", "t"}};
  const Built built = *build("im-2", {"FROM base", "COPY /tool /bin/tool", "COPY --chmod=700 /tool /bin/"});
  EXPECT_TRUE(fs::exists(built.layers[1] + "/usr/bin/tool"));
  EXPECT_FALSE(fs::exists(built.layers[1] + "/bin"));
  EXPECT_EQ(Stack(built.layers).find("/bin/tool")->status.st_mode & 0777, 0700u);
}

TEST_F(ImagesTest, StagesAreCopiedFrom) {
  const Built built = *build("im-1", {"FROM scratch AS build", "RUN write /out/bin made", "FROM scratch",
                                      "COPY --from=build /out /opt", "COPY --from=0 /out/bin /second"});
  EXPECT_EQ(built.layers.size(), 3u);
  EXPECT_EQ(*Stack(built.layers).read("/opt/bin"), " made");
  EXPECT_EQ(*Stack(built.layers).read("/second"), " made");
}

TEST_F(ImagesTest, WhatCannotBeCopiedIsNamed) {
  EXPECT_THAT(build("im-1", {"FROM scratch", "COPY /nothing /x"}).error().message,
              HasSubstr("'/nothing' is not in the build context"));
  EXPECT_THAT(build("im-1", {"FROM scratch", "ADD http://x.local/y /x"}).error().message, HasSubstr("URL"));
}

TEST_F(ImagesTest, TheImagesPythonIsAskedForItsPackages) {
  const Built built =
      *build("im-1", {"FROM scratch", "RUN write /usr/local/bin/python3 x", "ENV PATH=/usr/local/bin:/bin"});
  EXPECT_EQ(built.pythonVersion, "3.11.9");
  EXPECT_EQ(built.pythonPath, "/usr/local/bin/python3");
  EXPECT_EQ(built.libc, "glibc 2.36");
  EXPECT_THAT(built.pythonPackages, ElementsAre(Pair("pip", "24.0")));
  EXPECT_EQ(images_->find("im-1")->pythonVersion, "3.11.9");
}

TEST_F(ImagesTest, ShellFormsAndWorkdirs) {
  const Built built = *build("im-1", {"FROM scratch", "WORKDIR /a", "WORKDIR b", "SHELL [\"/bin/bash\", \"-lc\"]",
                                      "RUN [\"/bin/sh\", \"write /c d\"]", "ENTRYPOINT run it"});
  EXPECT_EQ(built.workdir, "/a/b");
  EXPECT_TRUE(Stack(built.layers).isDirectory("/a/b"));
  EXPECT_THAT(built.entrypoint, ElementsAre("/bin/bash", "-lc", "run it"));
  EXPECT_THAT(runner_.steps[0].argv, ElementsAre("/bin/sh", "write /c d"));
}

TEST_F(ImagesTest, TwoBuildsAtOnceShareAStep) {
  recipe_.dockerfile = {"FROM scratch", "RUN write /a one"};
  std::vector<std::thread> threads;
  for (const char* id : {"im-1", "im-2", "im-3"}) {
    threads.emplace_back([this, id] { EXPECT_TRUE(images_->build(id, recipe_, [](std::string_view) {}).ok()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(runs(), 1u);
}

TEST_F(ImagesTest, ContainersChangesBecomeAnImage) {
  (void)*build("im-1", {"FROM scratch", "ENV A=1", "RUN write /a one"});
  const std::string changes = directory_ + "/store/upper";
  fs::create_directories(changes);
  std::ofstream(changes + "/model.bin") << "weights";
  const Built built = *images_->commit("im-2", "im-1", changes);
  EXPECT_EQ(*Stack(built.layers).read("/model.bin"), "weights");
  EXPECT_EQ(*Stack(built.layers).read("/a"), " one");
  EXPECT_EQ(built.environment.at("A"), "1");
  EXPECT_FALSE(fs::exists(changes));
  EXPECT_TRUE(images_->find("im-2").has_value());
  EXPECT_FALSE(images_->commit("im-3", "im-none", changes).ok());
}

TEST_F(ImagesTest, AnImageWhoseLayerIsGoneIsNotFoundAndIsBuiltAgain) {
  const Built built = *build("im-1", {"FROM scratch", "RUN write /a one"});
  fs::remove_all(built.layers[0]);
  EXPECT_FALSE(images_->find("im-1").has_value());
  EXPECT_TRUE(build("im-1", {"FROM scratch", "RUN write /a one"}).ok());
  EXPECT_EQ(runs(), 2u);
}

TEST_F(ImagesTest, IdsThatAreNoFileNamesAreRefused) {
  EXPECT_FALSE(build("../x", {"FROM scratch"}).ok());
  EXPECT_FALSE(images_->find("../../etc/passwd").has_value());
}

}  // namespace
}  // namespace gridiron::image
