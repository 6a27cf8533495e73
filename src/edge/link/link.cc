#include "edge/link/link.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <map>

#include "base/digest.h"
#include "base/fd.h"
#include "base/id.h"
#include "edge/link/session.h"
#include "wire/link.h"

namespace gridiron::edge {

namespace {

constexpr std::size_t kChunk = 1u << 20;
constexpr std::string_view kSessionPath = "/gridiron.link.Link/Session";
constexpr std::string_view kFetchPath = "/gridiron.link.Link/FetchFile";

using Call = std::shared_ptr<net::GrpcServerCall>;

Task<void> refuse(Call call, Error error) {
  net::GrpcStatus status(std::move(error));
  Result<void> sent = co_await call->finish(std::move(status));
  (void)sent;
}

// The file's bytes in chunks, then the call's end.
Task<void> sendFile(Call call, std::string path) {
  std::ifstream file(path, std::ios::binary);
  std::string piece(kChunk, '\0');
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    if (file.gcount() == 0) break;
    link::FileChunk chunk;
    chunk.set_data(piece.substr(0, static_cast<std::size_t>(file.gcount())));
    std::string bytes = chunk.SerializeAsString();
    Result<void> sent = co_await call->write(std::move(bytes));
    if (!sent.ok()) co_return;
  }
  net::GrpcStatus status;
  if (!file.eof()) status = net::GrpcStatus(makeError(Code::internal, "reading the file failed"));
  Result<void> sent = co_await call->finish(std::move(status));
  (void)sent;
}

}  // namespace

Result<std::string> loadWorkerSecret(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) {
    const std::string fresh = randomAlnum(48);
    RETURN_IF_ERROR(writeFileAtomic(path, fresh + "\n", 0600, Durable::yes));
    return fresh;
  }
  ASSIGN_OR_RETURN(std::string secret, readFile(path));
  while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.pop_back();
  if (secret.size() < 16) return makeError(Code::failedPrecondition, "{} holds no worker secret", path);
  return secret;
}

struct WorkerLinks::Impl : std::enable_shared_from_this<WorkerLinks::Impl> {
  struct Build {
    link::BuildImage order;
    WorkerId worker;  // empty: with none
  };

  Impl(asio::io_context& context, Fleet& theFleet, const Clock& theClock, Options given, Hooks what)
      : io(context), fleet(theFleet), clock(theClock), options(std::move(given)), hooks(std::move(what)) {}

  asio::io_context& io;
  Fleet& fleet;
  const Clock& clock;
  const Options options;
  Hooks hooks;
  std::map<WorkerId, std::shared_ptr<LinkSession>> sessions;
  std::map<std::string, Build> builds;  // by image
  bool closed = false;

  std::optional<WorkerId> workerOf(const net::Headers& headers) const {
    const auto id = headers.find("x-gridiron-worker");
    const auto secret = headers.find("x-gridiron-worker-secret");
    if (!id || id->empty() || !secret || !equalConstantTime(*secret, options.secret)) return std::nullopt;
    return WorkerId{std::string(*id)};
  }

  void handOut(Build& build) {
    if (!build.worker.empty() || sessions.empty()) return;
    build.worker = sessions.begin()->first;
    link::ToWorker command;
    *command.mutable_build() = build.order;
    sessions.begin()->second->send(std::move(command));
  }

  void joined(const std::shared_ptr<LinkSession>& session, const Worker& worker, const link::WorkerHello& hello) {
    if (const auto old = sessions.find(worker.id); old != sessions.end()) {
      old->second->close();
      forgetBuildsOf(worker.id);
    }
    sessions[worker.id] = session;
    link::ToWorker welcome;
    welcome.mutable_welcome()->set_workspace_domain(options.workspaceDomain);
    session->send(std::move(welcome));
    spdlog::info("worker {} ({}) has joined", worker.id.value, worker.host);
    if (hooks.lanes) hooks.lanes(worker.id, hello.lanes());
    fleet.workerJoined(worker, *session, wire::readInstances(hello));
    for (const std::string& app : hello.snapshot_app_ids()) {
      if (hooks.appLives && !hooks.appLives({app})) session->forgetApp({app});
    }
    for (auto& [image, build] : builds) handOut(build);
  }

  // Builds whose worker is not there any more are for anybody again.
  void forgetBuildsOf(const WorkerId& worker) {
    for (auto& [image, build] : builds) {
      if (build.worker == worker) build.worker = {};
    }
  }

  void left(const std::shared_ptr<LinkSession>& session, const WorkerId& worker) {
    const auto found = sessions.find(worker);
    if (found == sessions.end() || found->second != session) return;  // it has joined anew meanwhile
    sessions.erase(found);
    spdlog::warn("worker {} is lost", worker.value);
    if (!closed) fleet.workerLost(worker);
    forgetBuildsOf(worker);
    for (auto& [image, build] : builds) handOut(build);
  }

  void tell(const link::InstanceEvent& event) {
    const InstanceId instance{event.task_id()};
    if (event.state() == link::InstanceEvent::RUNNING) fleet.sandboxRunning(instance, wire::readPhases(event));
    if (event.state() == link::InstanceEvent::EXITED) fleet.exited(instance, wire::readExit(event));
  }

  void take(const WorkerId& worker, link::FromWorker message, LinkSession& session) {
    if (message.has_instance()) {
      tell(message.instance());
    } else if (message.has_logs()) {
      if (hooks.lines) hooks.lines(message.logs());
    } else if (message.has_build()) {
      if (message.build().finished()) builds.erase(message.build().image_id());
      if (hooks.built) hooks.built(message.build());
    } else if (message.has_beat()) {
      link::ToWorker beat;
      beat.mutable_beat();
      session.send(std::move(beat));
    } else if (message.has_start_detail()) {
      fleet.startDetail(InstanceId{message.start_detail().task_id()}, wire::readPhases(message.start_detail()));
    } else if (message.has_zygotes()) {
      fleet.workerKeeps(worker, wire::readZygotes(message.zygotes()), message.zygotes().limit_bytes());
    }
  }

  // The worker's next message; nothing at the end of the session.
  static Task<std::optional<link::FromWorker>> next(Call call) {
    Result<std::optional<std::string>> bytes = co_await call->read();
    if (!bytes.ok() || !bytes->has_value()) co_return std::nullopt;
    link::FromWorker message;
    if (!message.ParseFromString(**bytes)) co_return std::nullopt;
    co_return message;
  }

  static Task<void> serve(std::shared_ptr<Impl> self, Call call, std::shared_ptr<net::Exchange> exchange,
                          WorkerId who) {
    std::optional<link::FromWorker> first = co_await next(call);
    if (!first || !first->has_hello() || first->hello().worker_id() != who.value) {
      co_await refuse(call, makeError(Code::invalidArgument, "a session begins with the worker's hello"));
      co_return;
    }
    Result<Worker> worker = wire::readWorker(first->hello(), self->clock.now());
    if (!worker.ok()) {
      co_await refuse(call, worker.error());
      co_return;
    }
    const auto session = std::make_shared<LinkSession>(self->io, call, std::move(exchange), self->options.silence);
    session->begin();
    self->joined(session, *worker, first->hello());
    for (;;) {
      std::optional<link::FromWorker> message = co_await next(call);
      if (!message || session->isClosed() || self->closed) break;
      session->heard();
      self->take(who, std::move(*message), *session);
    }
    session->close();
    if (!self->closed) self->left(session, who);
  }

  static Task<void> fetch(std::shared_ptr<Impl> self, Call call) {
    Result<std::optional<std::string>> bytes = co_await call->read();
    link::FetchFileRequest request;
    if (!bytes.ok() || !bytes->has_value() || !request.ParseFromString(**bytes)) {
      co_await refuse(call, makeError(Code::invalidArgument, "FetchFile without a request"));
      co_return;
    }
    Result<std::string> path = self->hooks.file(request);
    if (!path.ok()) {
      co_await refuse(call, path.error());
      co_return;
    }
    co_await sendFile(call, *path);
  }
};

WorkerLinks::WorkerLinks(asio::io_context& io, Fleet& fleet, const Clock& clock, Options options, Hooks hooks)
    : impl_(std::make_shared<Impl>(io, fleet, clock, std::move(options), std::move(hooks))) {}

WorkerLinks::~WorkerLinks() {
  impl_->closed = true;
  for (const auto& [id, session] : impl_->sessions) session->close();
}

Task<void> WorkerLinks::handle(std::shared_ptr<net::Exchange> exchange) {
  const std::shared_ptr<Impl> self = impl_;
  const auto call = std::make_shared<net::GrpcServerCall>(exchange);
  const std::optional<WorkerId> who = self->workerOf(call->metadata());
  if (!who) {
    co_await refuse(call, makeError(Code::unauthenticated, "this is for the grid's workers, and the secret is wrong"));
  } else if (call->path() == kSessionPath) {
    co_await Impl::serve(self, call, std::move(exchange), *who);
  } else if (call->path() == kFetchPath && self->hooks.file) {
    co_await Impl::fetch(self, call);
  } else {
    co_await refuse(call, makeError(Code::unimplemented, "no method {}", call->path()));
  }
}

std::optional<WorkerId> WorkerLinks::workerOf(const net::Headers& headers) const { return impl_->workerOf(headers); }

std::optional<InstanceId> WorkerLinks::instanceOf(const net::Headers& headers) const {
  const auto task = headers.find("x-gridiron-task");
  if (!task || task->empty() || !impl_->workerOf(headers)) return std::nullopt;
  return InstanceId{std::string(*task)};
}

void WorkerLinks::build(link::BuildImage order) {
  const std::string image = order.image_id();
  const auto [place, isNew] = impl_->builds.try_emplace(image, Impl::Build{std::move(order), {}});
  if (isNew) impl_->handOut(place->second);
}

void WorkerLinks::cancelBuild(const ImageId& image) {
  const auto found = impl_->builds.find(image.value);
  if (found == impl_->builds.end()) return;
  const auto session = impl_->sessions.find(found->second.worker);
  if (session != impl_->sessions.end()) {
    link::ToWorker command;
    command.mutable_cancel_build()->set_image_id(image.value);
    session->second->send(std::move(command));
    return;
  }
  impl_->builds.erase(found);
  link::BuildEvent event;
  event.set_image_id(image.value);
  event.set_finished(true);
  event.set_error("the build was cancelled");
  if (impl_->hooks.built) impl_->hooks.built(event);
}

std::size_t WorkerLinks::connected() const { return impl_->sessions.size(); }

}  // namespace gridiron::edge
