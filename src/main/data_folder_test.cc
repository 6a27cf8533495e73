#include "main/data_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

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
