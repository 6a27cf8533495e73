#include "blob/blob.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/id.h"

namespace gridiron::blob {
namespace {

namespace fs = std::filesystem;

class BlobTest : public testing::Test {
 protected:
  BlobTest() : directory_(testing::TempDir() + "blobs-" + randomAlnum(10)), blobs_(*Blobs::open(directory_)) {}
  ~BlobTest() override { fs::remove_all(directory_); }

  std::size_t incoming() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory_ + "/incoming"), {}));
  }

  std::string directory_;
  Blobs blobs_;
};

TEST_F(BlobTest, WhatWasPutIsReadUnderItsHash) {
  const Sha256 hash = *blobs_.put("hello");
  EXPECT_EQ(hash, sha256("hello"));
  EXPECT_TRUE(blobs_.has(hash));
  EXPECT_EQ(*blobs_.read(hash), "hello");
  EXPECT_EQ(blobs_.size(hash), 5u);
  EXPECT_EQ(*blobs_.readRange(hash, 1, 3), "ell");
  EXPECT_EQ(*blobs_.readRange(hash, 3, 10), "lo");
  EXPECT_EQ(*blobs_.readRange(hash, 9, 1), "");
}

TEST_F(BlobTest, PiecesMakeOneBlob) {
  Writer writer = *blobs_.writer();
  ASSERT_TRUE(writer.write("he").ok());
  ASSERT_TRUE(writer.write("llo").ok());
  EXPECT_EQ(writer.size(), 5u);
  EXPECT_EQ(*writer.finish(sha256("hello")), sha256("hello"));
  EXPECT_EQ(hexEncode(writer.md5()), "5d41402abc4b2a76b9719d911017c592");
  EXPECT_EQ(*blobs_.read(sha256("hello")), "hello");
  EXPECT_EQ(incoming(), 0u);
}

TEST_F(BlobTest, BytesThatAreSomethingElseAreDropped) {
  {
    Writer writer = *blobs_.writer();
    ASSERT_TRUE(writer.write("hullo").ok());
    const auto finished = writer.finish(sha256("hello"));
    ASSERT_FALSE(finished.ok());
    EXPECT_EQ(finished.error().code, Code::dataLoss);
  }
  EXPECT_FALSE(blobs_.has(sha256("hello")));
  EXPECT_FALSE(blobs_.has(sha256("hullo")));
  EXPECT_EQ(incoming(), 0u);
}

TEST_F(BlobTest, AnAbandonedWriterLeavesNothing) {
  {
    Writer writer = *blobs_.writer();
    ASSERT_TRUE(writer.write("half").ok());
    EXPECT_EQ(incoming(), 1u);
  }
  EXPECT_EQ(incoming(), 0u);
}

TEST_F(BlobTest, PuttingTwiceAndRemovingTwiceIsFine) {
  const Sha256 hash = *blobs_.put("x");
  EXPECT_EQ(*blobs_.put("x"), hash);
  EXPECT_TRUE(blobs_.remove(hash).ok());
  EXPECT_TRUE(blobs_.remove(hash).ok());
  EXPECT_FALSE(blobs_.has(hash));
  EXPECT_EQ(blobs_.read(hash).error().code, Code::notFound);
}

TEST_F(BlobTest, AReaderKeepsWhatIsRemovedUnderIt) {
  const Sha256 hash = *blobs_.put("kept");
  const Fd open = *blobs_.open(hash);
  ASSERT_TRUE(blobs_.remove(hash).ok());
  char bytes[4];
  EXPECT_EQ(::pread(open.get(), bytes, 4, 0), 4);
  EXPECT_EQ(std::string(bytes, 4), "kept");
}

TEST_F(BlobTest, VisitSeesEveryBlobOnce) {
  (void)*blobs_.put("a");
  (void)*blobs_.put("bb");
  std::uint64_t total = 0;
  int count = 0;
  ASSERT_TRUE(blobs_
                  .visit([&](const Sha256&, std::uint64_t size) {
                    total += size;
                    ++count;
                  })
                  .ok());
  EXPECT_EQ(count, 2);
  EXPECT_EQ(total, 3u);
}

TEST_F(BlobTest, OpeningAgainRemovesOldHalvesOnly) {
  std::ofstream(directory_ + "/incoming/old") << "x";
  std::ofstream(directory_ + "/incoming/new") << "x";
  fs::last_write_time(directory_ + "/incoming/old", fs::file_time_type::clock::now() - std::chrono::hours(48));
  ASSERT_TRUE(Blobs::open(directory_).ok());
  EXPECT_FALSE(fs::exists(directory_ + "/incoming/old"));
  EXPECT_TRUE(fs::exists(directory_ + "/incoming/new"));
}

}  // namespace
}  // namespace gridiron::blob
