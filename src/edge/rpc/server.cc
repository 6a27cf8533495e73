#include "edge/rpc/server.h"

#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>
#include <charconv>
#include <deque>
#include <unordered_map>

namespace gridiron::edge {

namespace {

constexpr std::string_view kClientService = "/modal.client.ModalClient/";

std::string shortName(std::string_view path) { return std::string(path.substr(path.rfind('/') + 1)); }

Error deniedTo(const Caller& caller, Access access, const std::string& name) {
  if (access == Access::container && caller.kind == Caller::Kind::client)
    return makeError(Code::permissionDenied, "{} is for containers", name);
  return makeError(Code::unauthenticated,
                   "{} needs a token: run `modal setup` or `modal token set` against this server, or set "
                   "MODAL_TOKEN_ID and MODAL_TOKEN_SECRET",
                   name);
}

bool admits(Access access, Caller::Kind kind) {
  switch (access) {
    case Access::open:
      return true;
    case Access::identity:
      return kind != Caller::Kind::anonymous;
    case Access::container:
      return kind == Caller::Kind::container;
  }
  return false;
}

// A reply that may be asked for again, or one that is being made.
struct Remembered {
  explicit Remembered(asio::io_context& io) : done(io) {}
  std::optional<std::string> reply;  // nothing while it is made
  bool failed = false;               // it came to an error, which is not kept
  std::vector<std::string> warnings;
  Notifier done;
};

class Replies {
 public:
  Replies(asio::io_context& io, const Clock& clock, RpcServer::Options options)
      : io_(io), clock_(clock), options_(options) {}

  // The entry of `key`, and whether the caller has to make the reply.
  std::pair<std::shared_ptr<Remembered>, bool> claim(const std::string& key) {
    dropOld();
    auto& slot = byKey_[key];
    if (slot) return {slot, false};
    slot = std::make_shared<Remembered>(io_);
    return {slot, true};
  }

  void settle(const std::string& key, Remembered& entry, const Result<std::string>& reply,
              std::vector<std::string> warnings) {
    if (reply.ok()) {
      entry.reply = *reply;
      entry.warnings = std::move(warnings);
      bytes_ += reply->size();
      order_.push_back({key, clock_.now(), reply->size()});
    } else {
      entry.failed = true;
      byKey_.erase(key);
    }
    entry.done.notifyAll();
    dropOld();
  }

 private:
  struct Aged {
    std::string key;
    Time at;
    std::size_t size;
  };
  void dropOld() {
    const Time limit = clock_.now() - options_.rememberFor;
    while (!order_.empty() && (order_.front().at < limit || order_.size() > options_.rememberedReplies ||
                               bytes_ > options_.rememberedBytes)) {
      bytes_ -= order_.front().size;
      byKey_.erase(order_.front().key);
      order_.pop_front();
    }
  }

  asio::io_context& io_;
  const Clock& clock_;
  const RpcServer::Options options_;
  std::unordered_map<std::string, std::shared_ptr<Remembered>> byKey_;
  std::deque<Aged> order_;
  std::size_t bytes_ = 0;
};

struct Registered {
  Method method;
  std::function<Task<Result<std::string>>(Context&, std::string)> unary;
  std::function<Task<net::GrpcStatus>(Context&, std::string)> stream;
};

}  // namespace

DiskGate::DiskGate(asio::io_context& io, Store& store)
    : io_(io), store_(store), advanced_(std::make_shared<Notifier>(io)) {
  // The notifier is the loop's: it is shared so that a post on its way finds it.
  store_.onDurable([this, advanced = std::weak_ptr(advanced_)] {
    asio::post(io_, [advanced] {
      if (const auto waiters = advanced.lock()) waiters->notifyAll();
    });
  });
}

DiskGate::~DiskGate() { store_.onDurable({}); }

Task<void> DiskGate::pass() {
  const Mark mark = store_.written();
  store_.hurry(mark);
  while (store_.durable() < mark) co_await advanced_->wait(std::chrono::hours(1));
}

Error malformedMessage(const std::string& type) {
  return makeError(Code::invalidArgument, "the request is no {} message", type);
}

struct RpcServer::Impl {
  Impl(asio::io_context& io, const Clock& clock, Identify who, Options options)
      : replies(io, clock, options), gate(options.gate), identify(std::move(who)) {}
  Replies replies;
  DiskGate* const gate;
  Identify identify;
  std::map<std::string, Registered> methods;

  // The reply of a unary method; an exception of its handler is an internal error, not the end of the process.
  static Task<Result<std::string>> run(const Registered& method, Context& context, std::string bytes) {
    std::string what;
    try {
      co_return co_await method.unary(context, std::move(bytes));
    } catch (const std::exception& exception) {
      what = exception.what();
    }
    spdlog::error("{}: {}", context.call.path(), what);
    co_return makeError(Code::internal, "{} failed inside the server: {}", shortName(context.call.path()), what);
  }

  Task<Result<std::string>> runOnce(const Registered& method, Context& context, std::string bytes) {
    const std::string key = context.call.path() + "|" + context.caller.key() + "|" + context.idempotencyKey;
    while (true) {
      auto [entry, mine] = replies.claim(key);
      if (mine) {
        Result<std::string> reply = co_await run(method, context, std::move(bytes));
        replies.settle(key, *entry, reply, context.warnings);
        co_return reply;
      }
      while (!entry->reply && !entry->failed) {
        co_await entry->done.wait(std::chrono::minutes(1));
        if (context.call.cancelled()) co_return Error{Code::cancelled, "the caller is gone"};
      }
      if (entry->failed) continue;  // the first came to an error: this one tries
      context.warnings = entry->warnings;
      co_return *entry->reply;
    }
  }

  Task<net::GrpcStatus> runStream(const Registered& method, Context& context, std::string bytes) {
    std::string what;
    try {
      co_return co_await method.stream(context, std::move(bytes));
    } catch (const std::exception& exception) {
      what = exception.what();
    }
    spdlog::error("{}: {}", context.call.path(), what);
    co_return net::GrpcStatus(
        makeError(Code::internal, "{} failed inside the server: {}", shortName(context.call.path()), what));
  }

  Task<void> answer(const Registered& method, Context& context, std::string bytes) {
    net::GrpcStatus status;
    std::optional<std::string> message;
    if (method.unary) {
      Result<std::string> reply = Error{};
      if (method.method.once && !context.idempotencyKey.empty()) {
        reply = co_await runOnce(method, context, std::move(bytes));
      } else {
        reply = co_await run(method, context, std::move(bytes));
      }
      if (reply.ok()) {
        message = std::move(reply).value();
      } else {
        status = net::GrpcStatus(reply.error());
        status.retryAfter = context.retryAfter;
      }
    } else {
      status = co_await runStream(method, context, std::move(bytes));
    }
    co_await context.passDisk();
    for (auto& warning : context.warnings) status.warnings.push_back(std::move(warning));
    [[maybe_unused]] Result<void> sent = co_await context.call.finish(std::move(status), std::move(message));
  }
};

RpcServer::RpcServer(asio::io_context& io, const Clock& clock, Identify identify)
    : RpcServer(io, clock, std::move(identify), Options{}) {}
RpcServer::RpcServer(asio::io_context& io, const Clock& clock, Identify identify, Options options)
    : impl_(std::make_shared<Impl>(io, clock, std::move(identify), options)) {}
RpcServer::~RpcServer() = default;

void RpcServer::add(const std::string& name, Method method, UnaryBytes unary, StreamBytes stream) {
  const std::string path = name.find('/') == std::string::npos ? std::string(kClientService) + name : name;
  const bool isNew =
      impl_->methods.emplace(path, Registered{std::move(method), std::move(unary), std::move(stream)}).second;
  GRID_CHECK(isNew);
}

namespace {

Task<void> refuse(net::GrpcServerCall& call, Error error) {
  net::GrpcStatus status(std::move(error));
  [[maybe_unused]] Result<void> sent = co_await call.finish(std::move(status));
}

int numberOf(const net::Headers& headers, std::string_view name) {
  int number = 0;
  if (const auto text = headers.find(name)) std::from_chars(text->data(), text->data() + text->size(), number);
  return number;
}

}  // namespace

Task<void> RpcServer::serve(std::shared_ptr<net::Exchange> exchange) {
  const std::shared_ptr<Impl> impl = impl_;
  net::GrpcServerCall call(std::move(exchange));
  const auto found = impl->methods.find(call.path());
  Result<Caller> caller = impl->identify(call.head());
  const std::string name = shortName(call.path());
  if (!caller.ok()) {
    co_await refuse(call, caller.error());
    co_return;
  }
  if (found == impl->methods.end()) {
    co_await refuse(call, makeError(Code::unimplemented, "{} is not in this version of Gridiron", name));
    co_return;
  }
  const Registered& method = found->second;
  if (!admits(method.method.access, caller->kind)) {
    co_await refuse(call, deniedTo(*caller, method.method.access, name));
    co_return;
  }
  Result<std::optional<std::string>> request = co_await call.read();
  if (!request.ok()) {
    co_await refuse(call, request.error());
    co_return;
  }
  if (!request->has_value()) {
    co_await refuse(call, makeError(Code::invalidArgument, "{} came without a request message", name));
    co_return;
  }
  Context context{std::move(*caller), call, "", numberOf(call.metadata(), "x-retry-attempt")};
  context.disk = impl->gate;
  context.awaitsDisk = method.method.awaitsDisk;
  if (const auto key = call.metadata().find("x-idempotency-key")) context.idempotencyKey = std::string(*key);
  co_await impl->answer(method, context, std::move(**request));
}

std::vector<RpcServer::Row> RpcServer::table() const {
  std::vector<Row> rows;
  for (const auto& [path, registered] : impl_->methods)
    rows.push_back({path, registered.method, registered.stream != nullptr});
  return rows;
}

}  // namespace gridiron::edge
