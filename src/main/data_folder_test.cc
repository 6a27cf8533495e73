#include "main/data_folder.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace gridiron {
namespace {

class DataFolderTest : public testing::Test {
 protected:
  DataFolderTest() {
    char made[] = "/tmp/data_folder_test.XXXXXX";
    top_ = mkdtemp(made);
    path_ = top_ + "/grid";
  }
  ~DataFolderTest() override { std::filesystem::remove_all(top_); }
  std::string top_, path_;
};

TEST_F(DataFolderTest, IsMadeForItsOwnerOnly) {
  ASSERT_TRUE(DataFolder::lock(path_).ok());
  struct stat facts {};
  ASSERT_EQ(::stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0700u);
}

TEST_F(DataFolderTest, ASecondGridIsToldWhoHasTheFolder) {
  auto first = DataFolder::lock(path_);
  ASSERT_TRUE(first.ok()) << first.error().message;
  auto second = DataFolder::lock(path_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error(), (Error{Code::failedPrecondition, path_ + " is in use by another gridiron (process " +
                                                                 std::to_string(::getpid()) + ")"}));
}

TEST_F(DataFolderTest, IsFreeAgainWhenItsHolderIsGone) {
  { auto first = DataFolder::lock(path_); }
  EXPECT_TRUE(DataFolder::lock(path_).ok());
}

}  // namespace
}  // namespace gridiron
