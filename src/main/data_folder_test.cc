#include "main/data_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "base/testing.h"

namespace gridiron {
namespace {

class DataFolderTest : public testing::Test {
 protected:
  const TemporaryDirectory directory_;
  const std::string& top_ = directory_.path();
  const std::string path_ = top_ + "/grid";
};

TEST_F(DataFolderTest, IsMadeForItsOwnerOnly) {
  ASSERT_TRUE(DataFolder::lock(path_).ok());
  struct stat facts {};
  ASSERT_EQ(::stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700u);
}

// A process that locks the folder, and a child of it that has its descriptors. Both live until they are told to end.
class Holder {
 public:
  explicit Holder(const std::string& path) {
    EXPECT_EQ(::pipe(ready_), 0);
    EXPECT_EQ(::pipe(childsEnd_), 0);
    process_ = ::fork();
    if (process_ != 0) {
      char said = 0;
      EXPECT_EQ(::read(ready_[0], &said, 1), 1);
      EXPECT_EQ(said, 'y');
      return;
    }
    const auto held = DataFolder::lock(path);
    if (::fork() == 0) {
      char byte = 0;
      ::close(childsEnd_[1]);
      _exit(static_cast<int>(::read(childsEnd_[0], &byte, 1)));  // until the test ends
    }
    if (::write(ready_[1], held.ok() ? "y" : "n", 1) == 1) ::pause();
    _exit(1);
  }
  ~Holder() {
    kill();
    for (const int fd : {ready_[0], ready_[1], childsEnd_[0], childsEnd_[1]}) ::close(fd);
  }
  pid_t process() const { return process_; }
  void kill() {
    if (const pid_t process = std::exchange(process_, 0)) {
      ::kill(process, SIGKILL);
      ::waitpid(process, nullptr, 0);
    }
  }

 private:
  int ready_[2]{}, childsEnd_[2]{};
  pid_t process_ = 0;
};

TEST_F(DataFolderTest, ASecondGridIsToldWhoHasTheFolder) {
  const Holder first(path_);
  const auto second = DataFolder::lock(path_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error(), (Error{Code::failedPrecondition, path_ + " is in use by another gridiron (process " +
                                                                 std::to_string(first.process()) + ")"}));
}

TEST_F(DataFolderTest, IsFreeAgainWhenItsHolderWasKilledAndAChildOfItLives) {
  Holder first(path_);
  first.kill();
  const auto second = DataFolder::lock(path_);
  EXPECT_TRUE(second.ok()) << second.error().message;
}

TEST_F(DataFolderTest, IsFreeAgainWhenItsHolderIsGone) {
  { auto first = DataFolder::lock(path_); }
  EXPECT_TRUE(DataFolder::lock(path_).ok());
}

}  // namespace
}  // namespace gridiron
