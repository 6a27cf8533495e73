#include "worker/relay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "worker/testing.h"

namespace gridiron::worker {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kEcho = "/modal.client.ModalClient/Echo";

using Call = std::shared_ptr<net::GrpcClientCall>;

Task<void> openOn(net::GrpcChannel* channel, std::string path, net::Headers metadata, Call* call) {
  Result<Call> opened = co_await channel->open(path, std::move(metadata), std::nullopt);
  EXPECT_TRUE(opened.ok());
  if (opened.ok()) *call = *opened;
}

Task<void> sendOn(Call call, std::string message, bool last, bool* done) {
  Result<void> sent = co_await call->write(std::move(message));
  EXPECT_TRUE(sent.ok());
  if (last) sent = co_await call->writesDone();
  EXPECT_TRUE(sent.ok());
  *done = true;
}

Task<void> receiveFrom(Call call, std::optional<std::string>* message, bool* done) {
  Result<std::optional<std::string>> read = co_await call->read();
  if (read.ok()) *message = *read;
  *done = true;
}

Task<void> waitOpen(Notifier* gate, bool* open) {
  while (!*open) co_await gate->wait(1h);
}

auto over(net::GrpcChannel& channel) {
  return [&channel](const std::string&) -> net::GrpcChannel& { return channel; };
}

// A container's door whose relay leads to control, and a client in the container.
class RelayTest : public ::testing::Test {
 protected:
  RelayTest() : control(io), up(io, control.url) {}

  void SetUp() override {
    relay = std::make_shared<Relay>(Relay{io, over(up), control.url, "", {}, nullptr});
    relay->credentials.add("x-gridiron-worker", "wk-1");
    relay->credentials.add("x-gridiron-task", "ta-1");
    own.emplace(io, net::DoorOptions{}, [relay = std::shared_ptr<const Relay>(relay)](auto exchange) {
      return relayExchange(relay, std::move(exchange));
    });
    auto bound = own->listen("127.0.0.1:0");
    ASSERT_TRUE(bound.ok());
    address = *bound;
    inside.emplace(io, "http://" + address);
  }

  Call open(const std::string& path, net::Headers metadata = {}) {
    Call call;
    spawn(io, openOn(&*inside, path, std::move(metadata), &call));
    EXPECT_TRUE(testing::runUntil(io, [&] { return call != nullptr; }));
    return call;
  }
  void send(const Call& call, const std::string& message, bool last = false) {
    bool done = false;
    spawn(io, sendOn(call, message, last, &done));
    EXPECT_TRUE(testing::runUntil(io, [&] { return done; }));
  }
  std::optional<std::string> receive(const Call& call) {
    std::optional<std::string> message;
    bool done = false;
    spawn(io, receiveFrom(call, &message, &done));
    EXPECT_TRUE(testing::runUntil(io, [&] { return done; }));
    return message;
  }

  // Sends `request` as it is and gives everything that comes back until the connection closes.
  std::string http(const std::string& request) {
    std::string answer;
    bool done = false;
    spawn(io,
          [](asio::io_context* io, std::string address, std::string request, std::string* answer,
             bool* done) -> Task<void> {
            asio::basic_stream_socket<asio::ip::tcp, Executor> socket(io->get_executor());
            const auto colon = address.rfind(':');
            const asio::ip::tcp::endpoint there(asio::ip::make_address(address.substr(0, colon)),
                                                static_cast<unsigned short>(std::stoi(address.substr(colon + 1))));
            boost::system::error_code failed;
            co_await socket.async_connect(there, asio::redirect_error(useTask, failed));
            co_await asio::async_write(socket, asio::buffer(request), asio::redirect_error(useTask, failed));
            co_await asio::async_read(socket, asio::dynamic_buffer(*answer), asio::redirect_error(useTask, failed));
            *done = true;
          }(&io, address, request, &answer, &done));
    EXPECT_TRUE(testing::runUntil(io, [&] { return done; }));
    return answer;
  }

  asio::io_context io;
  testing::Control control;
  net::GrpcChannel up;
  std::shared_ptr<Relay> relay;
  std::optional<net::Door> own;
  std::optional<net::GrpcChannel> inside;
  std::string address;
};

TEST_F(RelayTest, MessagesGoBothWaysAsTheyCome) {
  const auto call = open(kEcho);
  send(call, "one");
  EXPECT_EQ(receive(call), "re: one");
  send(call, std::string(3'000'000, 'x'));
  EXPECT_EQ(receive(call)->size(), 3'000'004u);
  send(call, "", true);
  EXPECT_EQ(receive(call), "re: ");
  EXPECT_EQ(receive(call), std::nullopt);
  EXPECT_EQ(call->status().code, Code::ok);
}

TEST_F(RelayTest, MetadataIsPassedOnAndTheContainerCannotPassForAnother) {
  net::Headers metadata;
  metadata.add("x-modal-client-version", "1.3.5");
  metadata.add("x-gridiron-task", "ta-another");
  const auto call = open(kEcho, metadata);
  send(call, "x", true);
  receive(call);
  const net::Headers& seen = control.metadata.at(0);
  EXPECT_EQ(seen.find("x-modal-client-version"), "1.3.5");
  EXPECT_EQ(seen.find("x-gridiron-task"), "ta-1");
  EXPECT_EQ(seen.find("x-gridiron-worker"), "wk-1");
}

TEST_F(RelayTest, AnErrorComesBackWithItsDetailsAndWarnings) {
  const auto call = open(kEcho);
  send(call, "fail", true);
  EXPECT_EQ(receive(call), std::nullopt);
  EXPECT_EQ(call->status().code, Code::exhausted);
  EXPECT_EQ(call->status().message, "too much, größer");
  EXPECT_TRUE(call->trailers().find("grpc-status-details-bin").has_value());
  EXPECT_TRUE(call->trailers().find("x-modal-warning").has_value());
}

TEST_F(RelayTest, AnErrorAfterMessagesComesBackToo) {
  const auto call = open(kEcho);
  send(call, "one");
  receive(call);
  send(call, "fail");
  EXPECT_EQ(receive(call), std::nullopt);
  EXPECT_EQ(call->status().code, Code::exhausted);
}

TEST_F(RelayTest, ACancelledCallIsCancelledAtControl) {
  const auto call = open(kEcho);
  send(call, "one");
  receive(call);
  call->cancel();
  EXPECT_TRUE(testing::runUntil(io, [&] { return control.cancelled == 1; }));
}

TEST_F(RelayTest, TheGridsOwnServicesAreNotForContainers) {
  const auto call = open("/gridiron.link.Link/Session");
  EXPECT_EQ(receive(call), std::nullopt);
  EXPECT_EQ(call->status().code, Code::unimplemented);
  EXPECT_EQ(control.sessions, 0);
}

TEST_F(RelayTest, WhatComesBeforeACallIsWaitedFor) {
  bool open_ = false;
  Notifier gate(io);
  relay->before = [&gate, &open_](const std::string&) { return waitOpen(&gate, &open_); };
  const auto call = open(kEcho);
  send(call, "one");
  EXPECT_TRUE(control.metadata.empty());
  open_ = true;
  gate.notifyAll();
  EXPECT_EQ(receive(call), "re: one");
}

TEST_F(RelayTest, ACallWaitsForControlToComeBack) {
  net::GrpcChannel nowhere(io, "http://127.0.0.1:1");
  int attempts = 0;
  relay->channelFor = [&](const std::string&) -> net::GrpcChannel& { return ++attempts < 3 ? nowhere : up; };
  const auto call = open(kEcho);
  send(call, "one", true);
  EXPECT_EQ(receive(call), "re: one");
  EXPECT_EQ(receive(call), std::nullopt);
  EXPECT_EQ(call->status().code, Code::ok);
  EXPECT_EQ(attempts, 3);
}

TEST_F(RelayTest, ACallWhoseControlIsLostIsAskedAgainOfTheNextOne) {
  testing::Control next(io);
  net::GrpcChannel toNext(io, next.url);
  bool lost = false;
  relay->channelFor = [&](const std::string&) -> net::GrpcChannel& { return lost ? toNext : up; };
  control.holds = "hold";
  net::Headers metadata;
  metadata.add("x-idempotency-key", "k1");
  const auto call = open(kEcho, metadata);
  send(call, "hold", true);
  EXPECT_TRUE(testing::runUntil(io, [&] { return control.held == 1; }));
  lost = true;
  spawn(io, control.leave());
  EXPECT_EQ(receive(call), "re: hold");
  EXPECT_EQ(next.metadata.at(0).find("x-idempotency-key"), "k1");
}

TEST_F(RelayTest, ACallThatHasHadPartOfItsAnswerEndsWithTheConnectionToControl) {
  const auto call = open(kEcho);
  send(call, "one");
  EXPECT_EQ(receive(call), "re: one");
  spawn(io, control.leave());
  EXPECT_EQ(receive(call), std::nullopt);
  EXPECT_EQ(call->status().code, Code::unavailable);
}

TEST_F(RelayTest, ACallThatTheContainerGivesUpIsNotAskedAgain) {
  net::GrpcChannel nowhere(io, "http://127.0.0.1:1");
  int attempts = 0;
  relay->channelFor = [&](const std::string&) -> net::GrpcChannel& { return ++attempts < 3 ? nowhere : up; };
  const auto call = open(kEcho);
  send(call, "one", true);
  EXPECT_TRUE(testing::runUntil(io, [&] { return attempts == 1; }));
  call->cancel();
  const auto after = open(kEcho);
  send(after, "two", true);
  EXPECT_EQ(receive(after), "re: two");
  EXPECT_EQ(control.metadata.size(), 1u);
}

TEST_F(RelayTest, WithoutControlBlobsAreABadGateway) {
  relay->controlUrl = "http://127.0.0.1:1";
  EXPECT_THAT(http("GET /blobs/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 502"));
}

TEST_F(RelayTest, BlobsGoUpAndDown) {
  const std::string put =
      "PUT /blobs/bl-1?sig=1 HTTP/1.1\r\nHost: 127.0.0.1:8401\r\nContent-Length: 500000\r\n"
      "Connection: close\r\n\r\n" +
      std::string(500'000, 'a');
  const std::string answer = http(put);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("etag: "));
  EXPECT_TRUE(answer.ends_with("500000"));
  EXPECT_EQ(control.lastHttp.target, "/blobs/bl-1?sig=1");
  EXPECT_EQ(control.lastHttp.headers.find("x-gridiron-task"), "ta-1");

  const std::string got = http("GET /blobs/bl-1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(got, StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(got.ends_with(std::string(3'000'000, 'b')));
}

TEST_F(RelayTest, AChunkedUploadArrivesWhole) {
  const std::string answer = http(
      "PUT /blobs/bl-1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(answer.ends_with("11"));
}

TEST_F(RelayTest, OnlyBlobsAreServedOverHttp) {
  const std::string answer = http("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 404"));
  EXPECT_EQ(control.lastHttp.target, "");
}

}  // namespace
}  // namespace gridiron::worker
