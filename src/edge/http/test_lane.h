#pragma once

#include <filesystem>

#include "edge/http/test_grid.h"

namespace gridiron::edge::test {

using LocalSocket = asio::local::stream_protocol::socket;

// The container says hello and asks for inputs, and its lane is opened: its sockets, in its folder, are listened at.
inline Task<void> openLane(Grid* grid, std::shared_ptr<Container> container) {
  (void)co_await container->ask<Empty>("ContainerHello", Empty());
  grid->fleet.askedForInputs(container->id());
  grid->lanes->workerFolder(WorkerId{"wk-test"}, grid->folder());
  EXPECT_TRUE(grid->lanes->opens(container->id()));
}

// The program of a container with a lane, without the container: each frame of the grid's is given to answer(), whose
// frames go back.
class LaneApp {
 public:
  struct Caller {
    InstanceId container;
    std::shared_ptr<LocalSocket> socket;  // to say more later
  };
  virtual ~LaneApp() = default;
  Grid::Program program() {
    return [this](Grid& grid, std::shared_ptr<Container> container) { return run(this, &grid, std::move(container)); };
  }
  bool reading = true;

 protected:
  virtual std::string answer(const LaneFrame& frame, Caller& caller) = 0;
  virtual void lost(const Caller& /*caller*/) {}  // the grid has closed the connection

 private:
  static constexpr asio::use_awaitable_t<Executor> kUse{};

  static Task<void> run(LaneApp* self, Grid* grid, std::shared_ptr<Container> container) {
    const std::string folder = grid->folder() + "/" + container->id().value + "/lane";
    std::filesystem::create_directories(folder);
    asio::local::stream_protocol::acceptor acceptor(grid->io, asio::local::stream_protocol::endpoint(folder + "/door"));
    co_await openLane(grid, container);
    for (;;) {
      boost::system::error_code failed;
      auto socket = std::make_shared<LocalSocket>(grid->io);
      co_await acceptor.async_accept(*socket, asio::redirect_error(kUse, failed));
      if (failed) co_return;
      spawn(grid->io, serve(self, grid, Caller{container->id(), socket}));
    }
  }

  static Task<void> serve(LaneApp* self, Grid* grid, Caller caller) {
    LaneReader reader;
    boost::system::error_code failed;
    while (!failed) {
      while (!self->reading) co_await sleepFor(grid->io, std::chrono::milliseconds(1));
      const auto [at, room] = reader.room();
      reader.got(co_await caller.socket->async_read_some(asio::buffer(at, room), asio::redirect_error(kUse, failed)));
      for (;;) {
        auto frame = reader.next();
        if (!frame.ok() || !frame->has_value()) break;
        const std::string out = self->answer(**frame, caller);
        co_await asio::async_write(*caller.socket, asio::buffer(out), asio::redirect_error(kUse, failed));
      }
    }
    self->lost(caller);
  }
};

}  // namespace gridiron::edge::test
