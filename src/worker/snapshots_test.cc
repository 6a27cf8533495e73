#include "worker/snapshots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/testing.h"
#include "worker/testing.h"

namespace gridiron::worker {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

constexpr const char* kCheckpoint = "/modal.client.ModalClient/ContainerCheckpoint";

class SnapshotsTest : public ::testing::Test {
 protected:
  SnapshotsTest() { open(); }

  void open(std::int64_t space = 1 << 20) {
    snapshots.reset();
    Snapshots::Options options;
    options.directory = folder();
    options.spaceBytes = space;
    options.ready = [this] { return ready; };
    snapshots.emplace(std::move(options));
  }
  std::string folder() const { return scratch.path() + "/snapshots"; }
  static Snapshots::Name name(const std::string& key = "k", const std::string& definition = "de-1") {
    return {"ap-1", "fu-" + key, definition, key};
  }
  static void fill(const Snapshots::Making& making, std::size_t bytes = 100) {
    std::ofstream(making.images() + "/pages-1.img") << std::string(bytes, 'x');
  }
  // One is there.
  void make(const Snapshots::Name& what, std::size_t bytes = 100) {
    auto offer = snapshots->offer(what);
    ASSERT_TRUE(offer.making);
    fill(*offer.making, bytes);
    const auto kept = snapshots->keep(std::move(offer.making));
    ASSERT_TRUE(kept.ok()) << kept.error().message;
  }
  bool has(const Snapshots::Name& what) { return snapshots->offer(what).kept != nullptr; }
  std::size_t folders() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder()), fs::directory_iterator()));
  }

  TemporaryDirectory scratch;
  bool ready = true;
  std::optional<Snapshots> snapshots;
};

TEST_F(SnapshotsTest, TheFirstStartMakesOneAndTheNextGoesOnFromIt) {
  auto first = snapshots->offer(name());
  ASSERT_TRUE(first.making);
  EXPECT_FALSE(first.kept);
  const auto beside = snapshots->offer(name());
  EXPECT_FALSE(beside.making || beside.kept) << "one makes it, the others start as ever";
  fill(*first.making);
  ASSERT_TRUE(snapshots->keep(std::move(first.making)).ok());
  const auto next = snapshots->offer(name());
  ASSERT_TRUE(next.kept);
  EXPECT_TRUE(fs::exists(next.kept->images() + "/pages-1.img"));
  EXPECT_FALSE(has(name("other")));
}

TEST_F(SnapshotsTest, MemoryHoldsSecretsSoTheFolderIsOfTheMachinesRootAlone) {
  struct stat facts {};
  ASSERT_EQ(::stat(folder().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700u);
}

TEST_F(SnapshotsTest, OneThatWasNotFinishedIsNeverOfferedAndLeavesNothing) {
  snapshots->offer(name());
  EXPECT_EQ(folders(), 0u);
  auto offer = snapshots->offer(name());
  fill(*offer.making);
  fs::copy(fs::path(offer.making->images()).parent_path(), folder() + "/.making-killed", fs::copy_options::recursive);
  offer.making.reset();
  open();
  EXPECT_EQ(folders(), 0u);
  EXPECT_FALSE(has(name()));
}

TEST_F(SnapshotsTest, TheyOutliveARestart) {
  make(name());
  open();
  EXPECT_TRUE(has(name()));
  EXPECT_THAT(snapshots->apps(), ElementsAre("ap-1"));
}

TEST_F(SnapshotsTest, WhatWasCutShortIsMadeAnew) {
  make(name());
  fs::resize_file(snapshots->offer(name()).kept->images() + "/pages-1.img", 10);
  EXPECT_TRUE(snapshots->offer(name()).making);
  EXPECT_EQ(folders(), 0u);
}

TEST_F(SnapshotsTest, WhatARestoreAddsDoesNotSpoilIt) {
  make(name());
  std::ofstream(snapshots->offer(name()).kept->images() + "/stats-restore") << "it took a while";
  EXPECT_TRUE(has(name()));
}

TEST_F(SnapshotsTest, ThreeFailuresInARowRetireIt) {
  make(name());
  EXPECT_FALSE(snapshots->failed(name(), "criu took too long"));
  EXPECT_FALSE(snapshots->failed(name(), "criu took too long"));
  snapshots->worked(name());
  EXPECT_FALSE(snapshots->failed(name(), "criu took too long"));
  EXPECT_FALSE(snapshots->failed(name(), "criu took too long"));
  EXPECT_TRUE(has(name()));
  EXPECT_THAT(snapshots->failed(name(), "criu took too long").value_or(""), HasSubstr("3 times in a row"));
  const auto after = snapshots->offer(name());
  EXPECT_FALSE(after.kept || after.making);
  EXPECT_EQ(folders(), 0u);
  EXPECT_EQ(snapshots->view().failures, 5);
}

TEST_F(SnapshotsTest, TheLeastLatelyUsedMakesRoom) {
  open(300 << 10);
  make(name("a"), 100 << 10);
  make(name("b"), 100 << 10);
  EXPECT_TRUE(has(name("a")));
  make(name("c"), 100 << 10);
  EXPECT_TRUE(has(name("a")));
  EXPECT_FALSE(has(name("b")));
  EXPECT_TRUE(has(name("c")));
}

TEST_F(SnapshotsTest, OneThatIsLargerThanAllSpaceIsRefused) {
  auto offer = snapshots->offer(name());
  fill(*offer.making, 2 << 20);
  const auto kept = snapshots->keep(std::move(offer.making));
  ASSERT_FALSE(kept.ok());
  EXPECT_THAT(kept.error().message, HasSubstr("snapshot_space"));
  EXPECT_EQ(folders(), 0u);
}

TEST_F(SnapshotsTest, ANewDefinitionAndTheEndOfTheAppForgetThem) {
  make(name("a", "de-1"));
  snapshots->forgetOlder("fu-a", "de-1");
  EXPECT_TRUE(has(name("a")));
  snapshots->forgetOlder("fu-a", "de-2");
  EXPECT_FALSE(has(name("a")));
  make(name("b"));
  auto begun = snapshots->offer(name("c"));
  fill(*begun.making);
  snapshots->forgetApp("ap-1");
  EXPECT_FALSE(has(name("b")));
  EXPECT_EQ(snapshots->keep(std::move(begun.making)).error().code, Code::cancelled);
  EXPECT_THAT(snapshots->apps(), IsEmpty());
  EXPECT_EQ(folders(), 0u);
}

TEST_F(SnapshotsTest, FilesStayWhileAContainerHasThem) {
  make(name());
  auto offer = snapshots->offer(name());
  snapshots->forgetApp("ap-1");
  EXPECT_TRUE(fs::exists(offer.kept->images()));
  offer.kept.reset();
  EXPECT_EQ(folders(), 0u);
}

TEST_F(SnapshotsTest, WithoutCriuOrSpaceThereAreNone) {
  ready = false;
  EXPECT_FALSE(snapshots->offer(name()).making);
  ready = true;
  make(name());
  open(0);
  const auto offer = snapshots->offer(name());
  EXPECT_FALSE(offer.making || offer.kept);
  EXPECT_EQ(folders(), 0u);
}

// --- starts ---

// Containers of a worker that is told to keep them.
class SnapshotStarts : public ::testing::Test {
 protected:
  SnapshotStarts() : control(io) {
    fs::create_directories(scratch.path() + "/criu/usr/sbin");
    std::ofstream(scratch.path() + "/criu/usr/sbin/criu") << "\n";
    fs::permissions(scratch.path() + "/criu/usr/sbin/criu", fs::perms::owner_all);
    Options options = testing::optionsOf(control.url, scratch.path());
    options.snapshotProgram = "/snapshot.py";
    options.snapshotBytes = 1 << 20;
    options.criuRoot = scratch.path() + "/criu";
    worker.emplace(io, options, puppets, images);
    spawn(io, worker->run());
    EXPECT_TRUE(until([&] { return !control.told.empty(); }));
  }
  ~SnapshotStarts() override {
    worker.reset();
    runUntil([&, turns = 0]() mutable { return ++turns > 3; });
  }
  template <class Done>
  bool until(Done done) {
    return testing::runUntil(io, std::move(done));
  }
  template <class Done>
  void runUntil(Done done) {
    testing::runUntil(io, std::move(done));
  }

  testing::Puppet* start(const std::string& task, const std::string& word = "tree") {
    link::StartInstance order;
    order.set_task_id(task);
    order.set_image_id("im-1");
    order.set_client_version("1.6.4");
    order.set_container_arguments("arguments");
    order.set_snapshot("digest");
    order.set_app_id("ap-1");
    order.set_function_id("fu-1");
    order.set_definition_id("de-1");
    link::Variable& secret = *order.add_secrets();
    secret.set_name("WORD");
    secret.set_value(word);
    control.start(order);
    EXPECT_TRUE(until([&] { return control.event(task, link::InstanceEvent::RUNNING).has_value(); }));
    return puppets.find(task);
  }
  // The container asks the grid something and hangs up.
  void ask(const testing::Puppet& puppet, const std::string& path) {
    net::GrpcChannel channel(io, "http://127.0.0.1:" + std::to_string(puppet.port), "");
    bool answered = false;
    spawn(io, testing::callOnce(&channel, path, &answered));
    EXPECT_TRUE(until([&] { return answered; }));
  }
  std::string state(const std::string& task) const {
    const auto text = readFile(scratch.path() + "/data/containers/" + task + "/restore/state.json");
    return text.ok() ? *text : "";
  }
  // A container has been kept.
  void keep(const std::string& task) {
    testing::Puppet* puppet = start(task);
    ask(*puppet, kCheckpoint);
    EXPECT_TRUE(until([&] { return !kept().empty(); }));
  }
  std::vector<std::string> kept() const {
    std::vector<std::string> out;
    std::error_code none;
    for (const auto& folder : fs::directory_iterator(scratch.path() + "/data/snapshots", none)) {
      if (fs::exists(folder.path() / "record.json")) out.push_back(folder.path());
    }
    return out;
  }

  TemporaryDirectory scratch;
  asio::io_context io;
  testing::Control control;
  testing::Puppets puppets;
  testing::HandyImages images;
  std::optional<Worker> worker;
};

TEST_F(SnapshotStarts, TheContainerThatAsksIsKeptAndGoesOn) {
  testing::Puppet* first = start("ta-1");
  EXPECT_THAT(first->spec.environment, Contains(Pair("MODAL_ENABLE_SNAP_RESTORE", "1")));
  EXPECT_THAT(first->spec.argv.back(), HasSubstr("snapshot.py"));
  EXPECT_EQ(first->dumps, 0);
  EXPECT_EQ(state("ta-1"), "") << "it would not wait";
  ask(*first, kCheckpoint);
  ASSERT_TRUE(until([&] { return state("ta-1") != ""; }));
  EXPECT_EQ(first->dumps, 1);
  EXPECT_THAT(state("ta-1"), HasSubstr("\"ta-1\""));
}

TEST_F(SnapshotStarts, TheNextGoesOnFromItAsItself) {
  keep("ta-1");
  testing::Puppet* next = start("ta-2");
  EXPECT_THAT(next->spec.images, HasSubstr(kept().at(0)));
  EXPECT_THAT(next->spec.lowers.front(), HasSubstr(kept().at(0)));
  EXPECT_THAT(state("ta-2"), HasSubstr("\"ta-2\""));
}

TEST_F(SnapshotStarts, AnotherSecretIsAnotherSnapshot) {
  keep("ta-1");
  testing::Puppet* other = start("ta-2", "changed");
  EXPECT_EQ(other->spec.images, "");
  EXPECT_THAT(other->spec.environment, Contains(Pair("MODAL_ENABLE_SNAP_RESTORE", "1")));
}

TEST_F(SnapshotStarts, ARestoreThatFailsIsAPlainStart) {
  keep("ta-1");
  puppets.restoreFailure = "restore: criu took more than 10000 ms";
  for (const char* task : {"ta-2", "ta-3"}) EXPECT_EQ(start(task)->spec.images, "");
  EXPECT_THAT(control.output("ta-3"), Not(HasSubstr("in a row")));
  start("ta-4");
  EXPECT_TRUE(until([&] { return control.output("ta-4").find("in a row") != std::string::npos; }));
  EXPECT_THAT(kept(), IsEmpty());
}

TEST_F(SnapshotStarts, WhatCannotBeKeptGoesOnToo) {
  testing::Puppet* first = start("ta-1");
  first->refusal = "a connection is open";
  ask(*first, kCheckpoint);
  EXPECT_TRUE(until([&] { return state("ta-1") != ""; }));
  EXPECT_THAT(kept(), IsEmpty());
}

TEST_F(SnapshotStarts, ACopyThatEndsBeforeItsFirstWordIsStartedPlainly) {
  keep("ta-1");
  testing::Puppet* copy = start("ta-2");
  copy->end({222, 0, false});
  ASSERT_TRUE(until([&] { return puppets.imagesOf("ta-2").size() == 2; }));
  EXPECT_EQ(puppets.imagesOf("ta-2").back(), "");
  EXPECT_FALSE(control.event("ta-2", link::InstanceEvent::EXITED).has_value());
  puppets.find("ta-2")->end({0, 0, false});
  EXPECT_TRUE(until([&] { return control.event("ta-2", link::InstanceEvent::EXITED).has_value(); }));
  EXPECT_EQ(control.event("ta-2", link::InstanceEvent::EXITED)->exit_code(), 0);
}

TEST_F(SnapshotStarts, ACopyThatHasSpokenEndsAsAnyOther) {
  keep("ta-1");
  testing::Puppet* copy = start("ta-2");
  ask(*copy, "/modal.client.ModalClient/FunctionGetInputs");
  copy->end({3, 0, false});
  ASSERT_TRUE(until([&] { return control.event("ta-2", link::InstanceEvent::EXITED).has_value(); }));
  EXPECT_EQ(control.event("ta-2", link::InstanceEvent::EXITED)->exit_code(), 3);
}

TEST_F(SnapshotStarts, TheEndOfTheAppForgetsIt) {
  keep("ta-1");
  link::ToWorker command;
  command.mutable_forget()->set_app_id("ap-1");
  control.command(std::move(command));
  EXPECT_TRUE(until([&] { return kept().empty(); }));
}

}  // namespace
}  // namespace gridiron::worker
