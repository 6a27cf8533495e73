#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "base/subprocess.h"
#include "fixture.h"

namespace gridiron::sandbox {
namespace {

// A listener on all addresses of the host, at a free port.
struct HostListener {
  Fd fd;
  int port = 0;

  explicit HostListener(std::uint32_t host = INADDR_ANY) {
    fd = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(host);
    socklen_t size = sizeof address;
    ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size);
    ::listen(fd.get(), 16);
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
};

// Python that prints "open" or "shut" for `host`:`port`.
std::string knock(const std::string& host, int port) {
  return "import socket\ntry:\n  socket.create_connection(('" + host + "'," + std::to_string(port) +
         "),timeout=1).close(); print('open')\nexcept OSError: print('shut')\n";
}

}  // namespace

class Networking : public SandboxTest {
 protected:
  void SetUp() override {
    SandboxTest::SetUp();
    if (IsSkipped()) return;
    options_.gridPort = grid_.port;
    sandboxes_ = std::move(*open());
  }
  Spec connected(const std::string& script) {
    Spec spec = python(script);
    spec.network = Network::nat;
    return spec;
  }
  // The grid is at `grid` of 127.0.0.1 from here on.
  void listensOnLoopbackOnly(const HostListener& grid) {
    options_.gridHost = "127.0.0.1";
    options_.gridPort = grid.port;
    sandboxes_.reset();
    sandboxes_ = std::move(*open());
  }
  // What to look at when a packet did not come through.
  std::string state() const {
    Command look;
    look.argv = {"sh", "-c",
                 "nft list ruleset; ip -4 address; ip route; ip neighbour; cat /proc/sys/net/ipv4/conf/" +
                     options_.bridge + "/route_localnet"};
    const auto seen = runCommand(look);
    return seen.ok() ? seen->output : seen.error().message;
  }
  std::string gateway() const { return options_.subnet.substr(0, options_.subnet.find('/') - 1) + "1"; }

  HostListener grid_, other_;
};

TEST_F(Networking, TheGridsPortIsReachedAndNothingElseOfTheHost) {
  const Ran ran = run(connected(knock("grid.internal", grid_.port) + knock(gateway(), other_.port)));
  EXPECT_EQ(ran.out, "open\nshut\n") << ran.err;
}

TEST_F(Networking, AGridThatListensOnLoopbackOnlyIsReachedToo) {
  HostListener grid(INADDR_LOOPBACK), other(INADDR_LOOPBACK);
  listensOnLoopbackOnly(grid);
  EXPECT_EQ(run(connected(knock("grid.internal", grid.port) + knock(gateway(), other.port))).out, "open\nshut\n")
      << state();
  Spec apart = connected(knock(gateway(), grid.port));
  apart.gridInternal = false;
  EXPECT_EQ(run(apart).out, "shut\n");
}

// What no container may do, done by the host's root in a container's network: 127.0.0.0/8 by way of the bridge.
TEST_F(Networking, LoopbackOfTheHostIsShutEvenToPacketsThatAreRoutedThere) {
  HostListener grid(INADDR_LOOPBACK), other(INADDR_LOOPBACK);
  listensOnLoopbackOnly(grid);
  auto started = start(connected("import time; time.sleep(100)"));
  ASSERT_TRUE(started.ok()) << started.error().message;
  Command sly;
  sly.argv = {"nsenter",
              "--net=/proc/" + std::to_string((*started)->pid()) + "/ns/net",
              "sh",
              "-c",
              "ip link set lo down && ip route add 127.0.0.0/8 via " + gateway() + " dev eth0 && python3 -I -c \"$0\"",
              knock(gateway(), grid.port) + knock("127.0.0.1", grid.port) + knock("127.0.0.1", other.port)};
  const auto done = runCommand(sly);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(done->output, "open\nshut\nshut\n");
}

TEST_F(Networking, WithoutGridInternalEvenThatPortIsShut) {
  Spec spec = connected(knock(gateway(), grid_.port));
  spec.gridInternal = false;
  EXPECT_EQ(run(spec).out, "shut\n");
}

TEST_F(Networking, WithoutANetworkThereIsOnlyLoopback) {
  const Ran ran = run(python("import socket; print([n for _, n in socket.if_nameindex()])"));
  EXPECT_NE(ran.out.find("'lo'"), std::string::npos);
  EXPECT_EQ(ran.out.find("eth0"), std::string::npos);
}

TEST_F(Networking, ContainersDoNotReachEachOther) {
  Spec server = connected(
      "import "
      "socket\ns=socket.create_server(('0.0.0.0',9000))\nprint(open('/etc/hosts').read().split('\\n')[2].split()[0])\n"
      "s.accept(); print('visited')");
  auto started = start(server);
  ASSERT_TRUE(started.ok()) << started.error().message;
  Fd out = (*started)->takeStdout();
  const std::string host = readLine(out);
  EXPECT_EQ(run(connected(knock(host, 9000))).out, "shut\n");
}

TEST_F(Networking, AListenerInsideIsReachedFromInside) {
  Spec spec = connected("import socket\nc=socket.create_connection(('127.0.0.1',700))\nprint(c.recv(5).decode())");
  Fd listener;
  auto started = sandboxes_->start(spec, [&](Sandbox& sandbox) -> Result<void> {
    ASSIGN_OR_RETURN(listener, sandbox.listenInside(700));
    return {};
  });
  ASSERT_TRUE(started.ok()) << started.error().message;
  Fd peer;
  while (!peer.valid()) peer = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_EQ(::write(peer.get(), "hello", 5), 5);
  EXPECT_EQ(readAll((*started)->takeStdout()), "hello\n");
}

TEST_F(Networking, TheHostsNetworkIsSharedWhenAsked) {
  Spec spec = python(knock("127.0.0.1", other_.port));
  spec.network = Network::host;
  EXPECT_EQ(run(spec).out, "open\n");
}

TEST_F(Networking, AFailedPreparationLeavesNothing) {
  const auto before = traces(options_.instance, options_.stateDirectory);
  auto started = sandboxes_->start(connected("pass"), [](Sandbox&) -> Result<void> {
    return Error{Code::aborted, "changed my mind"};
  });
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.error().message.find("prepare: changed my mind"), std::string::npos);
  EXPECT_EQ(traces(options_.instance, options_.stateDirectory), before);
}

// What a socket of the container's hears from who answers at `address`:8000.
std::string heardFrom(Sandbox& box, std::uint32_t address) {
  auto socket = box.socketInside();
  if (!socket.ok()) return socket.error().message;
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(address);
  to.sin_port = htons(8000);
  (void)::fcntl(socket->get(), F_SETFL, 0);  // wait
  if (::connect(socket->get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) return std::strerror(errno);
  return readLine(*socket);
}

TEST_F(Networking, WhatListensInsideIsReachedByASocketOfTheContainers) {
  auto box = start(
      connected("import socket\ninside = socket.create_server(('127.0.0.1', 8000))\n"
                "print('listens', flush=True)\nwhile True:\n  one, _ = inside.accept(); one.sendall(b'hello\\n')\n"));
  ASSERT_TRUE(box.ok()) << box.error().message;
  const Fd out = (*box)->takeStdout();
  ASSERT_EQ(readLine(out), "listens");
  EXPECT_EQ(heardFrom(**box, INADDR_LOOPBACK), "hello");
  EXPECT_EQ(heardFrom(**box, INADDR_LOOPBACK), "hello");
  (*box)->kill();
  (void)(*box)->wait();
}

}  // namespace gridiron::sandbox
