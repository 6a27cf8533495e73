#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "fleet/fleet.h"
#include "link.pb.h"
#include "net/grpc.h"
#include "net/http.h"

namespace gridiron::edge {

// The secret that the grid's workers share, kept in a file (0600) that is made when it is not there.
Result<std::string> loadWorkerSecret(const std::string& path);

// Control's end of the link to workers. Loop thread only; must outlive the door whose requests it is given.
class WorkerLinks {
 public:
  struct Hooks {
    std::function<void(link::LogLines)> lines;  // of a container or of an image build
    std::function<void(const link::BuildEvent&)> built;
    // The host file with the content that is asked for; notFound when there is none.
    std::function<Result<std::string>(const link::FetchFileRequest&)> file;
    // Where containers of a worker that has joined open their lanes, on its machine; "": nowhere.
    std::function<void(const WorkerId&, const std::string& folder)> lanes = nullptr;
    // Whether the app is in force: memory snapshots of others are of no use to a worker that has them.
    std::function<bool(const AppId&)> appLives = nullptr;
  };
  struct Options {
    std::string secret;
    std::string workspaceDomain;
    Nanos silence = std::chrono::seconds(10);  // a worker that says nothing for so long is lost
  };
  WorkerLinks(asio::io_context& io, Fleet& fleet, const Clock& clock, Options options, Hooks hooks);
  ~WorkerLinks();  // cuts the sessions

  // Answers /gridiron.link.Link/… Session and FetchFile. unauthenticated without the workers' secret.
  Task<void> handle(std::shared_ptr<net::Exchange> exchange);

  // The worker that a request came by, when it has the secret.
  std::optional<WorkerId> workerOf(const net::Headers& headers) const;
  // The container for which its worker passed the request on; nothing for requests of anybody else.
  std::optional<InstanceId> instanceOf(const net::Headers& headers) const;

  // Has the image built by a connected worker, or by the first to connect; given out again when that worker is lost.
  // The end comes by Hooks::built, exactly once. Ordering what is being built already changes nothing.
  void build(link::BuildImage order);
  // It will not be asked for again; its end is still told.
  void cancelBuild(const ImageId& image);

  std::size_t connected() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::edge
