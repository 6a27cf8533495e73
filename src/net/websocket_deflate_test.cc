#include "net/websocket_deflate.h"

#include <gtest/gtest.h>

#include <random>

namespace gridiron::net {
namespace {

constexpr std::size_t kMost = 1 << 20;

std::string answerTo(std::string_view offers) {
  const auto terms = acceptDeflate(offers);
  return terms ? deflateAnswer(*terms) : "";
}

TEST(WebSocketDeflate, WindowsAreMadeSmallAndWhatIsAskedForIsKept) {
  EXPECT_EQ(answerTo("permessage-deflate"), "permessage-deflate; server_max_window_bits=12");
  EXPECT_EQ(answerTo("permessage-deflate; client_max_window_bits"),
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12");
  EXPECT_EQ(answerTo("permessage-deflate;client_max_window_bits=10;server_max_window_bits=\"9\""),
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10");
  EXPECT_EQ(answerTo("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
            "permessage-deflate; server_max_window_bits=12; server_no_context_takeover; client_no_context_takeover");
}

TEST(WebSocketDeflate, TheFirstOfferThatCanBeTakenIs) {
  EXPECT_EQ(answerTo("x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=8, permessage-deflate"),
            "permessage-deflate; server_max_window_bits=12");
}

TEST(WebSocketDeflate, OffersThatAreWrongAreNotTaken) {
  for (const char* offer :
       {"", "permessage-deflate; unknown", "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7", "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=012", "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=x", "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover", "Permessage-Deflate;;"})
    EXPECT_EQ(answerTo(offer), "") << offer;
}

// Of our own side by a peer with our terms turned round.
std::string restored(Inflater& inflater, const std::string& payload, Inflater::End end = Inflater::End::whole) {
  std::string out;
  EXPECT_EQ(inflater.inflate(payload, kMost, out), end);
  return out;
}

TEST(WebSocketDeflate, MessagesComeBackAsTheyWere) {
  for (const bool forgets : {false, true}) {
    DeflateTerms terms;
    terms.serverBits = 12;
    terms.serverForgets = terms.clientForgets = forgets;
    Deflater deflater(terms);
    Inflater inflater(terms);
    std::mt19937 random(1);
    std::string noise(200'000, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    const std::string text(300'000, 'a');
    std::size_t second = 0;
    for (const std::string& message : {noise, text, std::string("{\"a\":1}") + std::string(80, 'b'), text, noise}) {
      const auto payload = deflater.deflate(message);
      ASSERT_TRUE(payload);
      EXPECT_EQ(restored(inflater, *payload), message);
      second = payload->size();
    }
    EXPECT_GT(second, noise.size());  // what does not compress is larger, not lost
  }
}

TEST(WebSocketDeflate, ContextIsTakenOverUnlessAgreedOtherwise) {
  const std::string message = "a message that is much like the one before it, in all of its words and its letters";
  DeflateTerms terms;
  Deflater keeps(terms);
  terms.serverForgets = true;
  Deflater forgets(terms);
  const auto first = keeps.deflate(message), second = keeps.deflate(message);
  EXPECT_LT(second->size(), first->size() / 3);
  EXPECT_EQ(*forgets.deflate(message), *forgets.deflate(message));
}

TEST(WebSocketDeflate, SmallAndVeryLargeMessagesGoAsTheyAre) {
  Deflater deflater(DeflateTerms{});
  EXPECT_FALSE(deflater.deflate("hello"));
  EXPECT_FALSE(deflater.deflate(std::string(2 << 20, 'x')));
}

TEST(WebSocketDeflate, TheStandardsExamples) {  // RFC 7692 §7.2.3
  Inflater inflater(DeflateTerms{});
  EXPECT_EQ(restored(inflater, "\xf2\x48\xcd\xc9\xc9\x07" + std::string(1, '\0')), "Hello");
  EXPECT_EQ(restored(inflater, std::string("\xf2\x00\x11\x00\x00", 5)), "Hello") << "by what came before";
  Inflater stored(DeflateTerms{});
  EXPECT_EQ(restored(stored, std::string("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11)), "Hello");
  Inflater last(DeflateTerms{});
  EXPECT_EQ(restored(last, std::string("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8)), "Hello") << "in a last block";
  Inflater two(DeflateTerms{});
  EXPECT_EQ(restored(two, std::string("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13)), "Hello");
}

TEST(WebSocketDeflate, AnEmptyMessageIsOne) {
  Inflater inflater(DeflateTerms{});
  EXPECT_EQ(restored(inflater, std::string(1, '\0')), "");
  EXPECT_EQ(restored(inflater, ""), "");
}

TEST(WebSocketDeflate, ABombIsTooLargeAndRubbishIsBroken) {
  DeflateTerms terms;
  Deflater deflater(terms);
  const auto bomb = deflater.deflate(std::string(1024 * 1024, '\0'));
  std::string out;
  Inflater small(terms);
  EXPECT_LT(bomb->size(), 8'000u);
  EXPECT_EQ(small.inflate(*bomb, 10'000, out), Inflater::End::tooLarge);
  EXPECT_LE(out.size(), 10'001u);
  Inflater broken(terms);
  EXPECT_EQ(restored(broken, "\xff\xff\xff\xff", Inflater::End::broken), "");
  Inflater reaches(terms);
  restored(reaches, std::string("\xf2\x00\x11\x00\x00", 5), Inflater::End::broken);
}

TEST(WebSocketDeflate, WhatWasAgreedOnTheWindowIsHeld) {
  DeflateTerms wide;
  wide.serverBits = 15;
  Deflater deflater(wide);
  std::mt19937 random(1);
  std::string noise(8'000, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  const auto payload = deflater.deflate(noise + noise);  // refers to what is further back than a small window
  DeflateTerms narrow;
  narrow.clientBits = 9;
  Inflater inflater(narrow);
  restored(inflater, *payload, Inflater::End::broken);
}

}  // namespace
}  // namespace gridiron::net
