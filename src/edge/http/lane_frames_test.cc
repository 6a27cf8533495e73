#include "edge/http/lane_frames.h"

#include <gtest/gtest.h>

#include <cstring>

namespace gridiron::edge {
namespace {

// Feeds `bytes` in pieces of `size`.
std::vector<LaneFrame> framesOf(const std::string& bytes, std::size_t size) {
  LaneReader reader;
  std::vector<LaneFrame> frames;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto [place, room] = reader.room();
    const std::size_t count = std::min({size, room, bytes.size() - at});
    std::memcpy(place, bytes.data() + at, count);
    reader.got(count);
    at += count;
    for (;;) {
      auto frame = reader.next();
      EXPECT_TRUE(frame.ok());
      if (!frame.ok() || !frame->has_value()) break;
      frames.push_back(std::move(**frame));
    }
  }
  EXPECT_TRUE(reader.empty());
  return frames;
}

TEST(LaneFrames, ComeOutAsTheyWentInHoweverTheyAreCut) {
  const std::string large(300'000, 'x');
  const std::string bytes = laneFrame('P', "part") + laneFrame('Z') + laneFrame('P', large) + laneFrame('E', "end");
  for (std::size_t size : {1ul, 3ul, 4096ul, 1'000'000ul}) {
    const auto frames = framesOf(bytes, size);
    ASSERT_EQ(frames.size(), 4u);
    EXPECT_EQ(frames[0].kind, 'P');
    EXPECT_EQ(frames[0].payload, "part");
    EXPECT_EQ(frames[1].kind, 'Z');
    EXPECT_EQ(frames[2].payload, large);
    EXPECT_EQ(frames[3].payload, "end");
  }
}

TEST(LaneFrames, OneThatIsTooLargeIsAnError) {
  LaneReader reader;
  const auto [place, room] = reader.room();
  std::memcpy(place, "\xff\xff\xff\xffP", 5);
  reader.got(5);
  EXPECT_EQ(reader.next().error().code, Code::invalidArgument);
}

TEST(LaneFrames, AFrameThatOnlySaysItIsLargeTakesNoMemory) {
  LaneReader reader;
  const auto [place, room] = reader.room();
  std::memcpy(place, "\0\0\0\4P", 5);  // 64 MiB
  reader.got(5);
  ASSERT_TRUE(reader.next().ok());
  EXPECT_LT(reader.room().second, std::size_t{2} << 20);
}

TEST(LaneFrames, ARequestHasNoNulInItsFields) {
  wire::HttpScope scope;
  scope.method = "POST";
  scope.rawPath = "/a";
  scope.headers = {{"x-empty", ""}, {"x-mine", std::string("a\0b", 3)}};
  const std::string frame = laneRequest({scope, "in-1", "fc-1", "", true}, "body");
  EXPECT_NE(frame.find(std::string("x-empty\0\0x-mine\0ab", 18)), std::string::npos);
  EXPECT_TRUE(frame.ends_with("abbody"));
  EXPECT_NE(frame.find(std::string("h\0001\0\0in-1\0fc-1\0", 15)), std::string::npos);
}

TEST(LaneFrames, AHeadIsReadWithItsBody) {
  const std::string head("201\0x-a\0\0set-cookie\0b", 21);
  std::string payload{static_cast<char>(head.size()), '\0', '\0', '\0'};
  auto read = readLaneHead({'A', payload + head + "text"});
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->start.status, 201);
  EXPECT_EQ(read->start.headers, (wire::HeaderList{{"x-a", ""}, {"set-cookie", "b"}}));
  EXPECT_EQ(read->body, "text");
  EXPECT_FALSE(readLaneHead({'A', "ab"}).ok());
  EXPECT_FALSE(readLaneHead({'A', std::string("\x03\0\0\0abc", 7)}).ok());
  EXPECT_FALSE(readLaneHead({'A', std::string("\xff\0\0\0", 4) + "200"}).ok());
}

}  // namespace
}  // namespace gridiron::edge
