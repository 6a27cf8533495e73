#include "wire/asgi.h"

#include <gtest/gtest.h>

#include "modal_proto/api.pb.h"

namespace gridiron::wire {
namespace {

TEST(Asgi, AResponseStartGivesItsHeadersInPairsAndInOrder) {
  ResponseStart start{201, {{"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}}, false};
  Result<ResponseEvent> event = readResponseEvent(responseStartChunk(start));
  ASSERT_TRUE(event.ok());
  const auto& read = std::get<ResponseStart>(*event);
  EXPECT_EQ(read.status, 201);
  EXPECT_EQ(read.headers, start.headers);
}

TEST(Asgi, ABodyTellsWhetherMoreFollows) {
  auto more = readResponseEvent(responseBodyChunk("part", true));
  auto last = readResponseEvent(responseBodyChunk("", false));
  ASSERT_TRUE(more.ok() && last.ok());
  EXPECT_EQ(std::get<ResponseBody>(*more).body, "part");
  EXPECT_TRUE(std::get<ResponseBody>(*more).more);
  EXPECT_FALSE(std::get<ResponseBody>(*last).more);
}

TEST(Asgi, WhatIsNoResponseIsSkippedAndWhatIsNoMessageIsAnError) {
  auto skipped = readResponseEvent("");  // a type that the client does not know is sent as an empty message
  ASSERT_TRUE(skipped.ok());
  EXPECT_TRUE(std::holds_alternative<OtherEvent>(*skipped));
  EXPECT_EQ(readResponseEvent("\xff\xff\xff").error().code, Code::invalidArgument);
  EXPECT_EQ(readResponseEvent(responseStartChunk({0, {}, false})).error().code, Code::invalidArgument);
}

TEST(Asgi, TheRequestBodyIsAHttpRequestMessage) {
  modal::client::Asgi message;
  ASSERT_TRUE(message.ParseFromString(requestChunk("hello", true)));
  EXPECT_EQ(message.http_request().body(), "hello");
  EXPECT_TRUE(message.http_request().more_body());
  ASSERT_TRUE(message.ParseFromString(disconnectChunk()));
  EXPECT_TRUE(message.has_http_disconnect());
}

}  // namespace
}  // namespace gridiron::wire
