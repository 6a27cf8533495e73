#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "model/ids.h"
#include "net/grpc.h"
#include "store/store.h"

namespace gridiron::edge {

// Who makes a call, as far as we believe it.
struct Caller {
  enum class Kind { anonymous, client, container };
  Kind kind = Kind::anonymous;
  std::string workspace;      // "" for anonymous callers
  std::string username;       // of the token; for containers who deployed is not asked: "container"
  std::string tokenId;        // of clients
  InstanceId task;            // of containers: which one
  AppId app;                  // of containers: the app that it runs
  FunctionId function;        // of containers: the function that it runs
  std::string environment;    // of containers: where their app is; "" for clients: they name it in each request
  std::string clientVersion;  // "1.6.4"
  int clientType = 0;         // modal.client.ClientType: 1 Python, 3 container, 8 JS, 9 Go
  std::string host;           // server name as the client has it (x-modal-host, else :authority), with its port
  std::string scheme;         // "http" or "https": how it reached the door

  // What is answered from memory is answered to the same caller only.
  std::string key() const { return tokenId + "|" + task.str(); }
};

// Finds out who calls. An Error (unauthenticated) is what the caller gets when its credentials are wrong; without any
// credentials the answer is an anonymous Caller.
using Identify = std::function<Result<Caller>(const net::RequestHead&)>;

// Where answers wait until what they tell is on disk. Loop thread only; before the store goes.
class DiskGate {
 public:
  DiskGate(asio::io_context& io, Store& store);
  ~DiskGate();

  // Ends when everything that is written now is durable.
  Task<void> pass();

 private:
  asio::io_context& io_;
  Store& store_;
  std::shared_ptr<Notifier> advanced_;
};

// One call while its handler runs; the handler may set what goes along with its answer.
struct Context {
  Caller caller;
  net::GrpcServerCall& call;  // cancelled(), onCancel(), timeLeft(), metadata()
  std::string idempotencyKey;
  int retryAttempt = 0;
  std::optional<Nanos> retryAfter{};    // with an Error: the client comes back after it, uncounted
  std::vector<std::string> warnings{};  // shown to the user by clients >= 1.6
  DiskGate* disk = nullptr;             // null: the store forgets nothing
  bool awaitsDisk = false;              // its answers go out when what was written before them is durable

  Task<void> passDisk() const {
    if (awaitsDisk && disk) co_await disk->pass();
  }
};

// Sends the messages of a server stream.
template <class Resp>
class StreamWriter {
 public:
  explicit StreamWriter(Context& context) : context_(context) {}
  // An Error means that the caller is gone: end the handler.
  Task<Result<void>> write(const Resp& message) {
    std::string bytes = message.SerializeAsString();
    co_await context_.passDisk();
    co_return co_await context_.call.write(std::move(bytes));
  }

 private:
  Context& context_;
};

enum class Access {
  identity,   // a client with a token, or a container
  container,  // containers only
  open,       // anybody
};
enum class Works { yes, partly };

// What registration says of an RPC beside its handler.
struct Method {
  Access access = Access::identity;
  // Its answer is kept for the caller's idempotency key: a repetition of the call gets it, and one that arrives while
  // the first still runs waits for it. For RPCs that make or change something.
  bool once = false;
  // Its answers wait until all that was written by then is on disk. Not for what may be forgotten: the caller would not
  // be told a lie, as nobody has acted on it.
  // A handler may decide for one call (Context::awaitsDisk).
  bool awaitsDisk = true;
  Works works = Works::yes;
  std::string note{};  // for docs/compatibility.md: what is missing
};

// The client API: by name to handlers. Names without a slash are of modal.client.ModalClient. What is not registered is
// UNIMPLEMENTED with a text that says so. Handlers are kept until the end of the server, so a coroutine may be a lambda
// with captures here. Loop thread only; must outlive the calls it serves.
class RpcServer {
 public:
  struct Options {
    std::size_t rememberedReplies = 16384;
    std::size_t rememberedBytes = 64u << 20;
    Nanos rememberFor = std::chrono::minutes(10);
    DiskGate* gate = nullptr;  // null: the store forgets nothing
  };
  RpcServer(asio::io_context& io, const Clock& clock, Identify identify);
  RpcServer(asio::io_context& io, const Clock& clock, Identify identify, Options options);
  ~RpcServer();

  // handler(Context&, Req) → Task<Result<Resp>>, Task<Result<void>> (Resp is Empty), Result<Resp> or Result<void>.
  template <class Req, class Resp, class Handler>
  void unary(const std::string& name, Method method, Handler handler);
  // handler(Context&, Req, StreamWriter<Resp>&) → Task<net::GrpcStatus>; the stream ends with that status.
  template <class Req, class Resp, class Handler>
  void serverStream(const std::string& name, Method method, Handler handler);

  // Serves one gRPC call of the client API, to its end.
  Task<void> serve(std::shared_ptr<net::Exchange> exchange);

  struct Row {
    std::string path;  // "/modal.client.ModalClient/AppCreate"
    Method method;
    bool stream = false;
  };
  std::vector<Row> table() const;

 private:
  using UnaryBytes = std::function<Task<Result<std::string>>(Context&, std::string)>;
  using StreamBytes = std::function<Task<net::GrpcStatus>(Context&, std::string)>;
  void add(const std::string& name, Method method, UnaryBytes unary, StreamBytes stream);

  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Error of a message that is not one: a client that is broken or of an unknown kind.
Error malformedMessage(const std::string& type);

namespace detail {

template <class T>
struct IsTask : std::false_type {};
template <class T>
struct IsTask<Task<T>> : std::true_type {};

template <class Resp>
Result<std::string> serialized(Result<Resp> answer) {
  if (!answer.ok()) return answer.error();
  return answer->SerializeAsString();
}
inline Result<std::string> serialized(Result<void> answer) {
  if (!answer.ok()) return answer.error();
  return std::string();
}

}  // namespace detail

template <class Req, class Resp, class Handler>
void RpcServer::unary(const std::string& name, Method method, Handler handler) {
  static_assert(std::is_base_of_v<google::protobuf::Message, Req>);
  add(
      name, std::move(method),
      [handler = std::move(handler)](Context& context, std::string bytes) -> Task<Result<std::string>> {
        Req request;
        if (!request.ParseFromString(bytes)) co_return malformedMessage(request.GetTypeName());
        bytes = {};
        if constexpr (detail::IsTask<std::invoke_result_t<Handler, Context&, Req>>::value) {
          auto answer = co_await handler(context, std::move(request));
          co_return detail::serialized(std::move(answer));
        } else {
          auto answer = handler(context, std::move(request));
          co_return detail::serialized(std::move(answer));
        }
      },
      nullptr);
}

template <class Req, class Resp, class Handler>
void RpcServer::serverStream(const std::string& name, Method method, Handler handler) {
  static_assert(std::is_base_of_v<google::protobuf::Message, Req>);
  add(name, std::move(method), nullptr,
      [handler = std::move(handler)](Context& context, std::string bytes) -> Task<net::GrpcStatus> {
        Req request;
        if (!request.ParseFromString(bytes)) co_return net::GrpcStatus(malformedMessage(request.GetTypeName()));
        bytes = {};
        StreamWriter<Resp> writer(context);
        auto status = co_await handler(context, std::move(request), writer);
        co_return status;
      });
}

}  // namespace gridiron::edge
