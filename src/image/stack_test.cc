#include "image/stack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <filesystem>
#include <fstream>

#include "base/id.h"
#include "base/subprocess.h"
#include "image/archive.h"

namespace gridiron::image {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

class StackTest : public testing::Test {
 protected:
  StackTest() : directory_(testing::TempDir() + "stack-" + randomAlnum(10)) {
    fs::create_directories(top());
    fs::create_directories(bottom());
  }
  ~StackTest() override { fs::remove_all(directory_); }

  std::string top() const { return directory_ + "/top"; }
  std::string bottom() const { return directory_ + "/bottom"; }
  Stack stack() const { return Stack({top(), bottom()}); }
  static void write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << text;
  }

  std::string directory_;
};

TEST_F(StackTest, UpperLayersHideLowerOnesAndDirectoriesMerge) {
  write(bottom() + "/d/a", "old");
  write(bottom() + "/d/b", "kept");
  write(top() + "/d/a", "new");
  EXPECT_EQ(*stack().read("/d/a"), "new");
  EXPECT_EQ(*stack().read("/d/b"), "kept");
  EXPECT_THAT(stack().list("/d"), ElementsAre("a", "b"));
  EXPECT_THAT(stack().glob("/d/*"), ElementsAre("/d/a", "/d/b"));
  EXPECT_THAT(stack().glob("/d/[b]"), ElementsAre("/d/b"));
}

TEST_F(StackTest, WhiteoutsAndOpaqueDirectoriesHide) {
  write(bottom() + "/d/a", "x");
  write(bottom() + "/e/a", "x");
  write(top() + "/e/b", "y");
  fs::create_directories(top() + "/d");
  if (::mknod((top() + "/d/a").c_str(), S_IFCHR | 0600, makedev(0, 0)) != 0 ||
      ::lsetxattr((top() + "/e").c_str(), "user.overlay.opaque", "y", 1, 0) != 0) {
    GTEST_SKIP() << "skipped: no whiteouts without root and user.* attributes here";
  }
  EXPECT_FALSE(stack().find("/d/a"));
  EXPECT_THAT(stack().list("/d"), ElementsAre());
  EXPECT_FALSE(stack().find("/e/a"));
  EXPECT_THAT(stack().list("/e"), ElementsAre("b"));
}

TEST_F(StackTest, LinksAreFollowedInsideTheImageOnly) {
  write(bottom() + "/usr/bin/x", "program");
  fs::create_symlink("usr/bin", bottom() + "/bin");
  fs::create_symlink("/bin/x", top() + "/link");
  fs::create_symlink("../../../../usr", top() + "/out");
  fs::create_symlink("loop", top() + "/loop");
  EXPECT_EQ(*stack().read("/bin/x"), "program");
  EXPECT_EQ(stack().find("/link")->path, "/usr/bin/x");
  EXPECT_EQ(stack().find("/link", Stack::Last::keep)->path, "/link");
  EXPECT_EQ(*stack().read("/out/bin/x"), "program");
  EXPECT_EQ(*stack().read("/../../usr/bin/x"), "program");
  EXPECT_FALSE(stack().read("/loop").ok());
  EXPECT_EQ(stack().resolve("/bin/new/file", Stack::Last::follow), "/usr/bin/new/file");
}

TEST_F(StackTest, AFileOverADirectoryIsRefusedAndTheOtherWayRound) {
  write(bottom() + "/d/a", "x");
  write(directory_ + "/from/f", "y");
  write(directory_ + "/from/sub/g", "z");
  LayerWriter writer(top(), {bottom()});
  const Stack from({directory_ + "/from"});
  EXPECT_FALSE(writer.copy(from, "/f", "/d", {}, std::nullopt).ok());
  EXPECT_FALSE(writer.copy(from, "/sub", "/d/a", {}, std::nullopt).ok());
  EXPECT_TRUE(writer.copy(from, "/", "/d", {}, std::nullopt).ok());
  EXPECT_EQ(*stack().read("/d/sub/g"), "z");
}

TEST_F(StackTest, TheHashSeesNamesModesAndBytes) {
  write(top() + "/a", "x");
  const std::string before = *hashTree(stack(), "/");
  EXPECT_EQ(*hashTree(stack(), "/"), before);
  fs::permissions(top() + "/a", fs::perms(0700));
  const std::string mode = *hashTree(stack(), "/");
  EXPECT_NE(mode, before);
  write(top() + "/a", "y");
  EXPECT_NE(*hashTree(stack(), "/"), mode);
}

class ArchiveTest : public StackTest {
 protected:
  std::string tar(const std::string& script) {
    Command command;
    command.argv = {"python3", "-c",
                    "import tarfile, io\nt = tarfile.open('" + directory_ +
                        "/x.tar.gz', 'w:gz')\n"
                        "def add(name, data=None, type=tarfile.REGTYPE, link=''):\n"
                        "  i = tarfile.TarInfo(name); i.type = type; i.linkname = link; i.mode = 0o755\n"
                        "  i.size = len(data or b''); t.addfile(i, io.BytesIO(data or b''))\n" +
                        script + "\nt.close()"};
    const auto finished = runCommand(command);
    EXPECT_TRUE(finished.ok() && finished->exitCode == 0);
    return directory_ + "/x.tar.gz";
  }
};

TEST_F(ArchiveTest, FilesLinksAndWhiteoutsOfALayer) {
  write(bottom() + "/etc/gone", "x");
  write(bottom() + "/opt/old", "x");
  const std::string archive =
      tar("add('etc/', type=tarfile.DIRTYPE)\nadd('etc/new', b'text')\nadd('etc/.wh.gone')\n"
          "add('opt/.wh..wh..opq')\nadd('opt/fresh', b'f')\nadd('etc/hard', type=tarfile.LNKTYPE, link='etc/new')\n"
          "add('etc/soft', type=tarfile.SYMTYPE, link='new')");
  EXPECT_TRUE(isArchive(archive));
  if (auto done = unpackArchive(archive, top(), Whiteouts::overlaid); !done.ok()) {
    GTEST_SKIP() << "skipped: " << done.error().message;
  }
  EXPECT_THAT(stack().list("/etc"), ElementsAre("hard", "new", "soft"));
  EXPECT_EQ(*stack().read("/etc/soft"), "text");
  EXPECT_EQ(*stack().read("/etc/hard"), "text");
  EXPECT_THAT(stack().list("/opt"), ElementsAre("fresh"));
  EXPECT_EQ(*readFromArchive(archive, "etc/new"), "text");
}

TEST_F(ArchiveTest, NothingLeavesTheDirectory) {
  const std::string archive =
      tar("add('../../outside', b'x')\nadd('/absolute', b'y')\nadd('link', type=tarfile.SYMTYPE, link='" + directory_ +
          "')\nadd('link/escaped', b'z')");
  ASSERT_TRUE(unpackArchive(archive, top(), Whiteouts::asFiles).ok());
  EXPECT_FALSE(fs::exists(directory_ + "/outside"));
  EXPECT_FALSE(fs::exists(directory_ + "/escaped"));
  EXPECT_TRUE(fs::exists(top() + "/outside"));
  EXPECT_TRUE(fs::exists(top() + "/absolute"));
  EXPECT_FALSE(isArchive(top() + "/absolute"));
}

}  // namespace
}  // namespace gridiron::image
