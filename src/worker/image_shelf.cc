#include "worker/image_shelf.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "base/fd.h"
#include "base/id.h"

namespace gridiron::worker {

namespace {

namespace fs = std::filesystem;
using Log = std::function<void(std::string_view)>;

// The build that this thread works for: Images runs its steps on the thread that called build().
thread_local std::stop_token currentStop;

// Gives what can be read now to `log`; closes `pipe` at its end.
void forward(Fd& pipe, const Log& log) {
  char buffer[16 * 1024];
  const ssize_t got = ::read(pipe.get(), buffer, sizeof buffer);
  if (got > 0) {
    log(std::string_view(buffer, static_cast<std::size_t>(got)));
  } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
    pipe.reset();
  }
}

// Forwards both pipes until the container has ended and they are empty.
void follow(sandbox::Sandbox& sandbox, const Fd& stopped, const Log& log) {
  std::array<Fd, 2> pipes{sandbox.takeStdout(), sandbox.takeStderr()};
  bool ended = false, killed = false;
  for (;;) {
    std::array<pollfd, 4> waits{pollfd{pipes[0].get(), POLLIN, 0}, pollfd{pipes[1].get(), POLLIN, 0},
                                pollfd{ended ? -1 : sandbox.exitFd(), POLLIN, 0},
                                pollfd{killed ? -1 : stopped.get(), POLLIN, 0}};
    const int ready = ::poll(waits.data(), waits.size(), ended ? 0 : -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return;
    for (std::size_t i = 0; i < 2; ++i) {
      if (waits[i].revents != 0) forward(pipes[i], log);
    }
    if (waits[2].revents != 0) ended = true;
    if (waits[3].revents != 0) {
      killed = true;
      sandbox.kill();
    }
    if (ended && !pipes[0].valid() && !pipes[1].valid()) return;
  }
}

sandbox::Spec specOf(const image::Step& step) {
  sandbox::Spec spec;
  spec.name = "build-" + randomAlnum(12);
  spec.lowers = step.lowers;
  spec.upper = step.upper;
  spec.argv = step.argv;
  spec.environment = step.environment;
  spec.workdir = step.workdir.empty() ? "/" : step.workdir;
  spec.hostname = "build";
  for (const image::StepBind& bind : step.binds) spec.binds.push_back({bind.source, bind.target, true});
  spec.network = sandbox::Network::host;
  spec.gridInternal = false;
  return spec;
}

Result<int> runStep(sandbox::Sandboxes& sandboxes, const image::Step& step, const Log& log) {
  const std::stop_token stop = currentStop;
  if (stop.stop_requested()) return makeError(Code::cancelled, "the build was cancelled");
  const Fd stopped(::eventfd(0, EFD_CLOEXEC));
  const std::stop_callback onStop(stop, [&stopped] { (void)::eventfd_write(stopped.get(), 1); });
  ASSIGN_OR_RETURN(auto sandbox, sandboxes.start(specOf(step), nullptr));
  follow(*sandbox, stopped, log);
  const sandbox::Exit exit = sandbox->wait();
  RETURN_IF_ERROR(sandbox->remove());
  if (stop.stop_requested()) return makeError(Code::cancelled, "the build was cancelled");
  if (exit.outOfMemory) log("the step ran out of memory\n");
  return exit.code;
}

class KeptImages final : public ImageShelf {
 public:
  KeptImages(image::Images::Options options, sandbox::Sandboxes& sandboxes)
      : directory_(options.directory),
        images_(std::move(options),
                [&sandboxes](const image::Step& step, const Log& log) { return runStep(sandboxes, step, log); }) {}

  std::vector<std::string> finished() const override {
    std::vector<std::string> ids;
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator(directory_ + "/images", failed)) {
      if (entry.path().extension() == ".json") ids.push_back(entry.path().stem().string());
    }
    return ids;
  }

  std::optional<image::Built> find(const std::string& imageId) const override { return images_.find(imageId); }

  Result<image::Built> build(const std::string& imageId, const image::Recipe& recipe, const image::BuildLog& log,
                             std::stop_token stop) override {
    currentStop = std::move(stop);
    auto built = images_.build(imageId, recipe, log);
    currentStop = {};
    return built;
  }

  Result<image::Images::ClientPackage> clientPackage(const std::string& clientVersion, const image::Built& image,
                                                     bool needsFastapi, const image::BuildLog& log) override {
    return images_.clientPackage(clientVersion, image, needsFastapi, log);
  }

  Result<void> fetchCriu(const image::BuildLog& log) override { return images_.fetchCriu(log); }

  Result<image::Built> commit(const std::string& imageId, const std::string& baseImageId,
                              const std::string& changes) override {
    return images_.commit(imageId, baseImageId, changes);
  }

 private:
  const std::string directory_;
  image::Images images_;
};

}  // namespace

std::unique_ptr<ImageShelf> openImageShelf(image::Images::Options options, sandbox::Sandboxes& sandboxes) {
  return std::make_unique<KeptImages>(std::move(options), sandboxes);
}

}  // namespace gridiron::worker
