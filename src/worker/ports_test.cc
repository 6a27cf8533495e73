#include "worker/ports.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/asio/local/stream_protocol.hpp>

#include "base/descriptors.h"
#include "base/testing.h"

namespace gridiron::worker {
namespace {

using Local = asio::local::stream_protocol;

// What comes over a connection to `path`: a socket, or none.
Fd socketFrom(asio::io_context& io, const std::string& path) {
  Local::socket one(io);
  one.connect(Local::endpoint(path));
  pollfd come{one.native_handle(), POLLIN, 0};
  for (int i = 0; i < 1000 && ::poll(&come, 1, 0) == 0; ++i) io.run_one_for(std::chrono::milliseconds(10));
  Result<Fd> socket = receiveDescriptor(one.native_handle());
  return socket.ok() ? std::move(*socket) : Fd();
}

// Long paths too.
std::string longFolder(const TemporaryDirectory& scratch) {
  const std::string folder = scratch.path() + "/" + std::string(120, 'x');
  EXPECT_EQ(::mkdir(folder.c_str(), 0700), 0);
  return folder;
}

TEST(Ports, WhoConnectsIsGivenASocketOfTheContainers) {
  asio::io_context io;
  const TemporaryDirectory scratch;
  int given = 0;
  Ports ports(io, [&]() -> Result<Fd> {
    ++given;
    return Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  });
  ASSERT_TRUE(ports.listen(scratch.path()).ok());
  for (int i = 1; i < 4; ++i) {
    const Fd socket = socketFrom(io, scratch.path() + "/ports");
    int domain = 0;
    socklen_t size = sizeof domain;
    EXPECT_EQ(::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size), 0);
    EXPECT_EQ(domain, AF_INET);
    EXPECT_EQ(given, i);
  }
}

TEST(Ports, OfAContainerThatIsGoneThereIsNone) {
  asio::io_context io;
  const TemporaryDirectory scratch;
  Ports ports(io, []() -> Result<Fd> { return makeError(Code::unavailable, "the container is gone"); });
  ASSERT_TRUE(ports.listen(scratch.path()).ok());
  EXPECT_FALSE(socketFrom(io, scratch.path() + "/ports").valid());
}

TEST(Ports, AFolderMayHaveALongName) {
  asio::io_context io;
  const TemporaryDirectory scratch;
  Ports ports(io, []() -> Result<Fd> { return makeError(Code::unavailable, "the container is gone"); });
  EXPECT_TRUE(ports.listen(longFolder(scratch)).ok());
  EXPECT_FALSE(ports.listen(scratch.path() + "/none").ok());
}

}  // namespace
}  // namespace gridiron::worker
