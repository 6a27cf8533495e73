#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/ids.h"
#include "model/resources.h"

namespace gridiron {

// How many containers a function may and shall have.
struct Scaling {
  int minContainers = 0;                             // kept warm
  int maxContainers = 0;                             // 0: no limit of its own
  int bufferContainers = 0;                          // idle ones kept beside busy ones while the function is in use
  Nanos scaledownWindow = std::chrono::seconds(60);  // an idle container goes after it
  Nanos scaleupWindow{};                             // a queue must last so long before one is added; 0: at once
  bool operator==(const Scaling&) const = default;
};

// A failed input is run again `count` times; the n-th wait is initial · backoff^(n-1), at most `max`.
struct RetryPolicy {
  int count = 0;
  double backoff = 1.0;
  Nanos initial = std::chrono::seconds(1);
  Nanos max = std::chrono::seconds(60);
  bool operator==(const RetryPolicy&) const = default;
};

// Several inputs in one run of the function. maxSize 0 or 1: not batched.
struct Batching {
  int maxSize = 0;
  Nanos linger{};  // how long the oldest waits for company
  bool operator==(const Batching&) const = default;
};

// The numbers are the wire's (WebhookType).
enum class WebKind { none = 0, asgiApp = 1, function = 2, wsgiApp = 3, webServer = 4 };

struct WebEndpoint {
  WebKind kind = WebKind::none;
  std::string label;   // first part of its host name, unique among live functions
  std::string method;  // "POST" for WebKind::function, else ""
  bool requiresProxyAuth = false;
  int port = 0;  // WebKind::webServer
  Nanos startupTimeout{};
  bool operator==(const WebEndpoint&) const = default;
};

// A method of a class service function (tag "Cls.*").
struct Method {
  std::string name;
  WebEndpoint web;
  bool operator==(const Method&) const = default;
};

// One deployed function: everything that control decides by. A value; a redeploy makes another with a new definition
// id.
struct Function {
  FunctionId id;
  AppId app;
  std::string workspace;
  std::string environment;  // its name
  std::string tag;          // "f", "Cls.*"
  DefinitionId definitionId;
  std::string definition;        // the client's Function message as it came, never looked into below wire/
  std::string serializedParams;  // bound class parameters
  FunctionId boundFrom;          // the service function that it was bound from
  ImageId image;
  std::vector<MountId> mounts;    // in the order to be laid over each other
  std::vector<SecretId> secrets;  // later ones win
  std::vector<std::string> objectDependencies;

  Scaling scaling;
  int maxConcurrentInputs = 1;     // of one container
  int targetConcurrentInputs = 0;  // what scaling aims at; 0: the same as the most
  Nanos timeout = std::chrono::seconds(300);
  Nanos startupTimeout = std::chrono::seconds(300);
  RetryPolicy retries;
  Batching batching;
  WebEndpoint web;
  std::vector<Method> methods;
  Resources resources;
  bool singleUse = false;  // a container runs one input and goes
  bool isGenerator = false;
  bool isBuilder = false;     // Image.run_function: runs once while an image is built
  ImageId commitAsImage;      // with isBuilder: what its file system becomes
  std::string clientVersion;  // the deployer's: "1.3.5"
  bool needsFastapi = false;
  bool isServer = false;        // @app.server: asks for no inputs; requests go to web.port
  std::string classParameters;  // of a class with parameters: the client's ClassParameterInfo, as `definition`

  bool operator==(const Function&) const = default;
};

// Inputs that a container of `function` takes at once, and how many scaling counts on. Both at least 1.
int slotsOf(const Function& function);
int targetSlotsOf(const Function& function);

// One byte string for the store, and back. Fields are only ever added; bytes of another format are Code::dataLoss.
std::string encodeFunction(const Function& function);
Result<Function> decodeFunction(std::string_view bytes);

// Where functions are looked up by those who must not know the catalog. Loop thread only.
class Functions {
 public:
  virtual ~Functions() = default;
  // The newest definition, or null when there is none (any more). The pointer stays good after a redeploy.
  virtual std::shared_ptr<const Function> find(const FunctionId& id) const = 0;
};

// Functions kept in memory.
class FunctionTable final : public Functions {
 public:
  std::shared_ptr<const Function> find(const FunctionId& id) const override;
  void put(Function function);
  void erase(const FunctionId& id) { functions_.erase(id); }

 private:
  std::unordered_map<FunctionId, std::shared_ptr<const Function>> functions_;
};

}  // namespace gridiron
