#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <thread>

#include "base/digest.h"
#include "link.pb.h"
#include "net/door.h"
#include "net/grpc.h"
#include "worker/worker.h"

// What the tests of the agent share: a control to talk to, sandboxes that are puppets, images that are at hand.
namespace gridiron::worker::testing {

// A container that does what the test says.
class Puppet final : public sandbox::Sandbox {
 public:
  explicit Puppet(sandbox::Spec given) : spec(std::move(given)), ended_(::eventfd(0, EFD_CLOEXEC)) {
    int pipe[2];
    EXPECT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
    readOut_ = Fd(pipe[0]), writeOut_ = Fd(pipe[1]);
    EXPECT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
    readErr_ = Fd(pipe[0]), writeErr_ = Fd(pipe[1]);
  }
  const std::string& name() const override { return spec.name; }
  int pid() const override { return 1; }
  Result<Fd> listenInside(int) override {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return errnoError("bind");
    if (::listen(socket.get(), 16) != 0) return errnoError("listen");
    ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    return socket;
  }
  Fd takeStdout() override { return std::move(readOut_); }
  Fd takeStderr() override { return std::move(readErr_); }
  int exitFd() const override { return ended_.get(); }
  sandbox::Exit wait() override { return exit; }
  Result<void> signal(int signo) override {
    signals.push_back(signo);
    return {};
  }
  void kill() override {
    killed = true;
    end({137, 9, false});
  }
  Result<void> dump(const std::string& images, Nanos) override {
    ++dumps;
    if (!refusal.empty()) return makeError(Code::failedPrecondition, "{}", refusal);
    return writeFileAtomic(images + "/pages-1.img", "memory", 0600, Durable::no);
  }
  const std::vector<sandbox::Phase>& phases() const override { return phases_; }
  Result<void> remove() override {
    removed = true;
    return {};
  }

  // What the program in it does.
  void print(std::string_view text) {
    EXPECT_EQ(::write(writeOut_.get(), text.data(), text.size()), ssize_t(text.size()));
  }
  void complain(std::string_view text) {
    EXPECT_EQ(::write(writeErr_.get(), text.data(), text.size()), ssize_t(text.size()));
  }
  void end(sandbox::Exit how) {
    exit = how;
    writeOut_.reset();
    writeErr_.reset();
    EXPECT_EQ(::eventfd_write(ended_.get(), 1), 0);
  }

  const sandbox::Spec spec;
  int port = 0;
  sandbox::Exit exit;
  std::vector<int> signals;
  std::atomic<bool> killed = false, removed = false;
  std::atomic<int> dumps = 0;
  std::string refusal;  // of dumps

 private:
  Fd ended_, readOut_, writeOut_, readErr_, writeErr_;
  std::vector<sandbox::Phase> phases_{{"namespaces", Nanos(1000)}, {"exec", Nanos(2000)}};
};

class Puppets final : public sandbox::Sandboxes {
 public:
  Result<std::unique_ptr<sandbox::Sandbox>> start(
      const sandbox::Spec& spec, const std::function<Result<void>(sandbox::Sandbox&)>& prepare) override {
    if (!failure.empty()) return makeError(Code::internal, "{}", failure);
    if (!spec.images.empty() && !restoreFailure.empty()) return makeError(Code::internal, "{}", restoreFailure);
    auto puppet = std::make_unique<Puppet>(spec);
    if (prepare) RETURN_IF_ERROR(prepare(*puppet));
    const std::lock_guard lock(mutex_);
    alive_[spec.name] = puppet.get();
    images_[spec.name].push_back(spec.images);
    return std::unique_ptr<sandbox::Sandbox>(std::move(puppet));
  }
  Result<void> sweep() override { return {}; }
  Puppet* find(const std::string& name) {
    const std::lock_guard lock(mutex_);
    const auto found = alive_.find(name);
    return found == alive_.end() ? nullptr : found->second;
  }
  // Of all starts by that name.
  std::vector<std::string> imagesOf(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return images_[name];
  }
  std::string failure;         // of the next start
  std::string restoreFailure;  // of those that go on from images

 private:
  std::mutex mutex_;
  std::map<std::string, Puppet*> alive_;
  std::map<std::string, std::vector<std::string>> images_;
};

// One image, im-1, and builds that do what the test says.
class HandyImages : public ImageShelf {
 public:
  std::vector<std::string> finished() const override { return {"im-1"}; }
  std::optional<image::Built> find(const std::string& id) const override {
    if (id != "im-1") return std::nullopt;
    image::Built built;
    built.imageId = id;
    built.layers = {"/layers/top", "/layers/base"};
    built.environment = {{"LANG", "C.UTF-8"}, {"PYTHONPATH", "/opt"}};
    built.pythonPath = "/usr/local/bin/python";
    built.pythonVersion = "3.11.2";
    built.libc = "glibc 2.36";
    return built;
  }
  Result<image::Built> build(const std::string& id, const image::Recipe& recipe, const image::BuildLog& log,
                             std::stop_token stop) override {
    if (recipe.dockerfile.at(0) == "wait") {
      while (!stop.stop_requested()) std::this_thread::yield();
      return makeError(Code::cancelled, "the build was cancelled");
    }
    log("Step 1: ");
    log(recipe.dockerfile.at(0) + "\nlast words");
    for (const auto& [name, value] : recipe.secrets) log(" " + value);
    auto built = find("im-1");
    built->imageId = id;
    return *built;
  }
  Result<image::Images::ClientPackage> clientPackage(const std::string& version, const image::Built&, bool fastapi,
                                                     const image::BuildLog&) override {
    return image::Images::ClientPackage{"/pkgs/" + version, "/deps", fastapi ? "/extras" : ""};
  }
  Result<image::Built> commit(const std::string& id, const std::string& base, const std::string& changes) override {
    auto built = find(base);
    built->imageId = id;
    built->layers.insert(built->layers.begin(), changes);
    return *built;
  }
};

// The options of a worker of the control at `url`, with its folders below `folder`.
inline Options optionsOf(const std::string& url, const std::string& folder) {
  Options options;
  options.controlUrl = url;
  options.workerId = "wk-1";
  options.secret = "the-workers-secret";
  options.dataDirectory = folder + "/data";
  options.cacheDirectory = folder + "/cache";
  options.startThreads = 2;
  return options;
}

// A call by a container, whatever is answered.
inline Task<void> callOnce(net::GrpcChannel* channel, std::string path, bool* answered) {
  net::Headers metadata;
  std::string request = "x";
  (void)co_await channel->unary(path, std::move(metadata), std::move(request), std::chrono::seconds(5));
  *answered = true;
}

// Control as a worker sees it: takes sessions, keeps what it is told, serves files, answers calls.
class Control {
 public:
  explicit Control(asio::io_context& io)
      : io_(io), door_(io, {}, [this](std::shared_ptr<net::Exchange> e) { return handle(this, std::move(e)); }) {
    auto bound = door_.listen("127.0.0.1:0");
    EXPECT_TRUE(bound.ok());
    url = "http://" + *bound;
  }

  void command(link::ToWorker command) { spawn(io_, write(session, command.SerializeAsString())); }
  void start(const link::StartInstance& order) {
    link::ToWorker message;
    *message.mutable_start() = order;
    command(std::move(message));
  }

  std::optional<link::InstanceEvent> event(const std::string& task, link::InstanceEvent::State state) const {
    for (const link::FromWorker& message : told) {
      if (message.has_instance() && message.instance().task_id() == task && message.instance().state() == state) {
        return message.instance();
      }
    }
    return std::nullopt;
  }
  std::string output(const std::string& id) const {  // all lines of a container or an image
    std::string all;
    for (const link::FromWorker& message : told) {
      if (message.logs().task_id() != id && message.logs().image_id() != id) continue;
      for (const auto& line : message.logs().lines()) all += line.data();
    }
    return all;
  }

  Task<void> leave() { co_await door_.drain(Nanos{0}); }  // as if killed: connections are cut, nobody listens

  std::string url;
  std::shared_ptr<net::GrpcServerCall> session;
  std::vector<link::FromWorker> told;
  std::map<std::string, std::string> files;     // by hash
  std::vector<std::string> fetched;             // hashes
  std::vector<net::Headers> metadata;           // of passed-on calls
  std::vector<std::string> outputAtPutOutputs;  // what control had of ta-1's output when each PutOutputs came
  int cancelled = 0, sessions = 0;
  std::string holds;  // a message that gets no answer, nor does its call; `held` counts them
  int held = 0;
  net::RequestHead lastHttp;

 private:
  static Task<void> write(std::shared_ptr<net::GrpcServerCall> call, std::string bytes) {
    Result<void> sent = co_await call->write(std::move(bytes));
    EXPECT_TRUE(sent.ok());
  }

  static Task<void> handle(Control* self, std::shared_ptr<net::Exchange> exchange) {
    if (!net::isGrpc(exchange->head())) {
      co_await blob(self, exchange);
      co_return;
    }
    auto call = std::make_shared<net::GrpcServerCall>(exchange);
    const std::string path = call->path();
    if (path.ends_with("/Session")) {
      co_await serveSession(self, call);
    } else if (path.ends_with("/FetchFile")) {
      co_await serveFile(self, call);
    } else {
      self->metadata.push_back(call->metadata());
      if (path.ends_with("/FunctionPutOutputs")) self->outputAtPutOutputs.push_back(self->output("ta-1"));
      co_await echo(self, call);
    }
  }

  static Task<void> serveSession(Control* self, std::shared_ptr<net::GrpcServerCall> call) {
    self->session = call;
    ++self->sessions;
    for (;;) {
      Result<std::optional<std::string>> bytes = co_await call->read();
      if (!bytes.ok() || !bytes->has_value()) co_return;
      link::FromWorker message;
      EXPECT_TRUE(message.ParseFromString(**bytes));
      if (message.has_hello()) {
        link::ToWorker welcome;
        welcome.mutable_welcome();
        std::string reply = welcome.SerializeAsString();
        co_await write(call, std::move(reply));
      }
      if (!message.has_beat()) self->told.push_back(std::move(message));
    }
  }

  static Task<void> serveFile(Control* self, std::shared_ptr<net::GrpcServerCall> call) {
    Result<std::optional<std::string>> bytes = co_await call->read();
    link::FetchFileRequest request;
    EXPECT_TRUE(bytes.ok() && request.ParseFromString(**bytes));
    self->fetched.push_back(request.sha256_hex());
    const auto found = self->files.find(request.sha256_hex());
    net::GrpcStatus status;
    if (found == self->files.end()) {
      status = net::GrpcStatus(makeError(Code::notFound, "no such file"));
    } else {
      link::FileChunk chunk;
      chunk.set_data(found->second);
      std::string reply = chunk.SerializeAsString();
      co_await write(call, std::move(reply));
    }
    Result<void> sent = co_await call->finish(std::move(status));
    (void)sent;
  }

  // Every message comes back with "re: "; "fail" ends the call with an error, warnings and a back-off.
  static Task<void> echo(Control* self, std::shared_ptr<net::GrpcServerCall> call) {
    call->onCancel([self] { ++self->cancelled; });
    for (;;) {
      Result<std::optional<std::string>> message = co_await call->read();
      if (!message.ok()) co_return;
      if (message->has_value() && !self->holds.empty() && **message == self->holds) {
        ++self->held;
        Notifier never(self->io_);
        co_await never.wait(std::chrono::hours(1));
        co_return;
      }
      net::GrpcStatus status;
      if (!message->has_value() || **message == "fail") {
        if (message->has_value()) {
          status = net::GrpcStatus(makeError(Code::exhausted, "too much, größer"));
          status.retryAfter = std::chrono::seconds(7);
          status.warnings = {"mind the gap"};
        }
        Result<void> sent = co_await call->finish(std::move(status));
        (void)sent;
        co_return;
      }
      std::string reply = "re: " + **message;
      Result<void> sent = co_await call->write(std::move(reply));
      if (!sent.ok()) co_return;
    }
  }

  static Task<void> blob(Control* self, std::shared_ptr<net::Exchange> exchange) {
    self->lastHttp = exchange->head();
    std::string body;
    for (;;) {
      Result<std::optional<std::string>> piece = co_await exchange->read();
      if (!piece.ok() || !piece->has_value()) break;
      body += **piece;
    }
    net::Headers headers;
    headers.add("etag", hexEncode(sha256(body).hex()).substr(0, 8));
    std::string reply = exchange->head().method == "GET" ? std::string(3'000'000, 'b') : std::to_string(body.size());
    Result<void> sent = co_await exchange->answer(200, std::move(headers), std::move(reply));
    (void)sent;
  }

  asio::io_context& io_;
  net::Door door_;
};

// Runs the loop until `done` holds; the test fails when that takes longer than anything here may.
template <class Done>
bool runUntil(asio::io_context& io, Done done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    io.restart();
    io.run_one_for(std::chrono::milliseconds(100));
  }
  return true;
}

}  // namespace gridiron::worker::testing
