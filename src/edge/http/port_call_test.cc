#include "edge/http/port_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <filesystem>

#include "base/descriptors.h"
#include "edge/http/test_lane.h"

namespace gridiron::edge::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using tcp = asio::ip::tcp;

// A container whose user's program listens at a port: the test plays it, connection by connection, and its worker, who
// gives out sockets.
class PlayedServer {
 public:
  struct Connection {
    explicit Connection(asio::io_context& io) : socket(io) {}
    tcp::socket socket;
    std::string heard;
    bool lost = false;
    void say(const std::string& bytes) {
      boost::system::error_code ignored;
      asio::write(socket, asio::buffer(bytes), ignored);
    }
    void hangUp() { socket.close(); }
  };
  explicit PlayedServer(asio::io_context& io)
      : io_(io), listener_(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    spawn(io_, accept(this));
  }
  int port() const { return listener_.local_endpoint().port(); }
  void stopListening() { listener_.close(); }
  Grid::Program program() {
    return [](Grid& grid, std::shared_ptr<Container> container) { return run(&grid, std::move(container)); };
  }
  std::vector<std::shared_ptr<Connection>> connections;

 private:
  static constexpr asio::use_awaitable_t<Executor> kUse{};

  static Task<void> accept(PlayedServer* self) {
    for (;;) {
      boost::system::error_code failed;
      const auto one = std::make_shared<Connection>(self->io_);
      co_await self->listener_.async_accept(one->socket, asio::redirect_error(kUse, failed));
      if (failed) co_return;
      self->connections.push_back(one);
      spawn(self->io_, hear(one));
    }
  }
  static Task<void> hear(std::shared_ptr<Connection> one) {
    boost::system::error_code failed;
    std::string piece(4096, '\0');
    while (!failed) {
      const std::size_t got =
          co_await one->socket.async_read_some(asio::buffer(piece), asio::redirect_error(kUse, failed));
      one->heard.append(piece, 0, got);
    }
    one->lost = true;
  }

  static void give(int to) {
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int fd = socket.get();
    EXPECT_TRUE(sendDescriptors(to, 0, std::span(&fd, 1)).ok());
  }

  static Task<void> run(Grid* grid, std::shared_ptr<Container> container) {
    const std::string folder = grid->folder() + "/" + container->id().value;
    std::filesystem::create_directories(folder);
    asio::local::stream_protocol::acceptor worker(grid->io, asio::local::stream_protocol::endpoint(folder + "/ports"));
    co_await openLane(grid, container);
    for (;;) {
      boost::system::error_code failed;
      LocalSocket socket(grid->io);
      co_await worker.async_accept(socket, asio::redirect_error(kUse, failed));
      if (failed) co_return;
      give(socket.native_handle());
    }
  }

  asio::io_context& io_;
  tcp::acceptor listener_;
};

const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: played\r\n\r\nhi";

class PortCallTest : public ::testing::Test {
 protected:
  Function& deploy(int slots = 1) {
    Function& function = grid.add("site", server.program());
    function.web.kind = WebKind::webServer;
    function.web.label = "site";
    function.web.port = server.port();
    function.maxConcurrentInputs = slots;
    function.scaling.maxContainers = 1;
    grid.deploy("site");
    return function;
  }
  std::shared_ptr<Grid::Reply> get(const std::string& target = "/") { return grid.get("you--site.localhost", target); }
  // The connection on which `text` has come.
  PlayedServer::Connection& heard(std::size_t at, const std::string& text = "\r\n\r\n") {
    grid.runUntil(
        [&] { return server.connections.size() > at && server.connections[at]->heard.find(text) != std::string::npos; },
        "the server is asked");
    return *server.connections.at(at);
  }
  InstanceState state() const { return grid.fleet.find(grid.started.front())->state; }

  Grid grid{std::chrono::seconds(2), openMemoryStore(), true};
  PlayedServer server{grid.io};
};

TEST_F(PortCallTest, ARequestGoesToTheServerAndItsAnswerToThePeer) {
  deploy();
  const auto reply = grid.request(
      "POST /a%20b?c=d HTTP/1.1\r\nHost: you--site.localhost\r\nContent-Length: 5\r\nX-Forwarded-For: 6.6.6.6\r\n"
      "X-Forwarded-Proto: gopher\r\nModal-Key: k\r\n",
      "hello");
  auto& connection = heard(0, "hello");
  EXPECT_THAT(connection.heard,
              AllOf(StartsWith("POST /a%20b?c=d HTTP/1.1\r\n"), HasSubstr("host: you--site.localhost\r\n"),
                    HasSubstr("x-forwarded-for: unix\r\n"), HasSubstr("x-forwarded-proto: http\r\n"),
                    HasSubstr("x-forwarded-host: you--site.localhost\r\n"), Not(HasSubstr("6.6.6.6")),
                    Not(HasSubstr("gopher")), Not(HasSubstr("modal-key"))));
  connection.say(kOk);
  grid.answerOf(reply);
  EXPECT_EQ(reply->body(), "hi");
  EXPECT_THAT(reply->text, AllOf(HasSubstr("server: played"), HasSubstr("sandbox;dur=2.0")));
}

TEST_F(PortCallTest, ConnectionsAreKeptAndPlacesAreCounted) {
  deploy(1);
  const auto first = get("/1");
  heard(0, "/1");
  const auto second = get("/2");
  grid.io.run_for(std::chrono::milliseconds(50));
  EXPECT_EQ(server.connections.size(), 1u) << "it has one place";
  heard(0, "/1").say(kOk);
  heard(0, "/2").say(kOk);
  EXPECT_EQ(grid.answerOf(first)->status(), 200);
  EXPECT_EQ(grid.answerOf(second)->status(), 200);
  EXPECT_EQ(server.connections.size(), 1u);
}

TEST_F(PortCallTest, WhereNobodyListensAnyMoreTheContainerGoes) {
  deploy();
  const auto first = get();
  heard(0).say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
  grid.answerOf(first);
  server.stopListening();
  const auto second = get();
  EXPECT_EQ(grid.answerOf(second)->status(), 502);
  EXPECT_THAT(second->body(), AllOf(HasSubstr("did not answer"), HasSubstr("port")));
  EXPECT_NE(state(), InstanceState::ready);
}

TEST_F(PortCallTest, AServerThatMisbehavesIs502AndItsOwnerIsTold) {
  deploy();
  const auto reply = get();
  heard(0).say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n");
  EXPECT_EQ(grid.answerOf(reply)->status(), 502);
  EXPECT_THAT(reply->body(), HasSubstr("contradict"));
  EXPECT_EQ(state(), InstanceState::ready);
  ASSERT_EQ(grid.told.size(), 1u);
  EXPECT_THAT(grid.told[0], AllOf(HasSubstr("GET /"), HasSubstr("contradict")));
}

TEST_F(PortCallTest, ATimeOutIs504AndClosesTheConnection) {
  deploy().timeout = std::chrono::milliseconds(50);
  grid.deploy("site");
  const auto reply = get();
  heard(0);
  EXPECT_EQ(grid.answerOf(reply)->status(), 504);
  grid.runUntil([&] { return server.connections[0]->lost; }, "the server hears of it");
  const auto next = get();
  heard(1).say(kOk);
  EXPECT_EQ(grid.answerOf(next)->status(), 200);
}

TEST_F(PortCallTest, APeerThatHangsUpFreesItsPlace) {
  deploy();
  const auto reply = get();
  heard(0);
  reply->hangUp();
  grid.runUntil([&] { return server.connections[0]->lost; }, "the server hears of it");
  const auto next = get();
  heard(1).say(kOk);
  EXPECT_EQ(grid.answerOf(next)->status(), 200);
}

TEST_F(PortCallTest, AWebSocketIsTheServersOwn) {
  deploy();
  const auto reply = grid.request(
      "GET /ws HTTP/1.1\r\nHost: you--site.localhost\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: Upgrade\r\n");
  auto& connection = heard(0, "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==");
  connection.say("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nraw");
  grid.runUntil([&] { return reply->text.ends_with("\r\n\r\nraw"); }, "it is accepted");
  connection.hangUp();
  EXPECT_EQ(grid.answerOf(reply)->status(), 101);
}

}  // namespace
}  // namespace gridiron::edge::test
