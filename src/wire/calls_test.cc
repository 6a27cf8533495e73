#include "wire/calls.h"

#include <gtest/gtest.h>

#include "base/digest.h"

namespace gridiron::wire {
namespace {

TEST(WireCalls, AnInputKeepsItsBytesItsFormatAndItsMethod) {
  api::FunctionInput in;
  in.set_args("\x80\x04.");
  in.set_data_format(api::DATA_FORMAT_PICKLE);
  Input input;
  input.method = "run";
  auto payload = readPayload(std::move(in));
  ASSERT_TRUE(payload.ok());
  input.args = *payload;
  api::FunctionInput out;
  writeInput(input, out);
  EXPECT_EQ(out.args(), "\x80\x04.");
  EXPECT_EQ(out.data_format(), api::DATA_FORMAT_PICKLE);
  EXPECT_EQ(out.method_name(), "run");
}

TEST(WireCalls, LargeArgumentsTravelAsBlobs) {
  api::FunctionInput in;
  in.set_args_blob_id("bl-1");
  Input input;
  input.args = *readPayload(std::move(in));
  api::FunctionInput out;
  writeInput(input, out);
  EXPECT_EQ(out.args_blob_id(), "bl-1");
  EXPECT_FALSE(out.has_args());
}

TEST(WireCalls, AFailureComesBackWithItsPickleAndTraceback) {
  api::GenericResult in;
  in.set_status(api::GenericResult::GENERIC_STATUS_FAILURE);
  in.set_exception("ValueError('no')");
  in.set_traceback("Traceback …");
  in.set_serialized_tb("tb");
  in.set_tb_line_cache("lines");
  in.set_data("pickled");
  api::GenericResult copy = in, out;
  writeOutcome(readOutcome(std::move(copy), api::DATA_FORMAT_PICKLE), out);
  EXPECT_EQ(out.SerializeAsString(), in.SerializeAsString());
}

TEST(WireCalls, CallersNeverSeeTheGridsOwnRetries) {
  Output output;
  output.attempt = 3;
  output.index = 7;
  output.outcome.status = OutcomeStatus::success;
  api::FunctionGetOutputsItem item;
  writeOutput(output, item);
  EXPECT_EQ(item.retry_count(), 0u);
  EXPECT_EQ(item.idx(), 7);
  EXPECT_TRUE(item.result().has_data()) << "an empty result is a result";
}

TEST(WireCalls, TokensComeBackAsTheyWent) {
  std::string token = writeInputToken(InputId{"in-abc"}, 5);
  EXPECT_EQ(readInputToken(token)->input.str(), "in-abc");
  EXPECT_EQ(readInputToken(token)->index, 5);
  std::size_t dot = token.find('.');
  EXPECT_EQ(*base64Decode(token.substr(dot + 1, token.rfind('.') - dot - 1)), R"({"idx":5,"input":"in-abc"})");
  EXPECT_EQ(readInputToken("a.b").error().code, Code::invalidArgument);
}

}  // namespace
}  // namespace gridiron::wire
