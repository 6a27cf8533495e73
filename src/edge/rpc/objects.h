#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "catalog/catalog.h"
#include "catalog/grid_config.h"
#include "edge/http/ingress.h"
#include "edge/rpc/custom_domains.h"
#include "edge/rpc/server.h"
#include "edge/rpc/wakes.h"
#include "fleet/fleet.h"
#include "link.pb.h"
#include "store/store.h"
#include "wire/container_arguments.h"
#include "wire/functions.h"

namespace gridiron::edge {

// What the RPCs about people's things need; all of it outlives the server.
struct ObjectParts {
  asio::io_context& io;
  Catalog& catalog;
  Fleet& fleet;
  Store& store;
  Wakes& wakes;
  const Clock& clock;
  GridConfig config;
  std::function<void(link::BuildImage)> build;                    // has an image built (WorkerLinks::build)
  std::function<void(const ImageId&, const AppId&)> buildingFor;  // whose log its lines are (LogHub::buildingFor)
  std::function<void()> flushLogs;  // what is gathered is in the store then (LogHub::flush)
  Calls* calls = nullptr;           // for the inputs of functions that make images; without it there are none
  // What the container prints is the image's build (LogHub::buildingIn).
  std::function<void(const InstanceId&, const ImageId&)> buildingIn = {};
  // Who has which host name of its own. Null: no function can have one.
  const CustomDomains* domains = nullptr;
};

// Image builds: what clients ask for, what workers tell. Give it to the fleet as observer: an image that a function
// makes (Image.run_function) is finished when that function's container has gone. Loop thread only.
class ImageBuilds final : public FleetObserver {
 public:
  explicit ImageBuilds(ObjectParts parts) : parts_(std::move(parts)) {}

  // Orders again what was being built when the process before this one ended.
  void resume();
  // Makes sure that the image is built or being built; its state as it is now.
  Result<Image> ask(const Caller& caller, modal::client::ImageGetOrCreateRequest request);
  // The newest log line of the image that is older than its last build; 0 when there is none.
  std::int64_t begunBehind(const ImageId& image) const;
  // A worker's word (WorkerLinks::Hooks::built): tells the end of a build.
  void built(const link::BuildEvent& event);
  void instanceChanged(const Instance& instance) override;
  // Somebody waits for lines or the end of this image.
  static Wake wakeOf(const ImageId& image) { return Wake::logs(image); }

 private:
  Result<link::BuildImage> orderOf(const Image& image);
  Result<void> begin(const Image& image);
  Result<void> runBuilder(const Image& image);
  void forgetLinesOf(const ImageId& image);
  void end(const ImageId& image, const std::string& error, ImageFacts facts);

  struct Run {
    ImageId image;
    std::optional<link::BuildEvent> committed;  // the worker's word on what the container left
  };

  ObjectParts parts_;
  std::map<InstanceId, Run> runs_;
  std::map<ImageId, std::int64_t> begunBehind_;
};

// Who calls: containers by `containerOf` (their worker's word), clients by their token, else anonymous.
Identify identifyCallers(Catalog& catalog, const Fleet& fleet,
                         std::function<std::optional<InstanceId>(const net::Headers&)> containerOf);

// The function in force at a web address, for the ingress.
std::optional<WebTarget> webTargetAt(const Catalog& catalog, const CustomDomains& domains,
                                     const FunctionAddress& address);

// The class instance whose parameters a query names, for the ingress; the class as deployed where it names none.
Result<std::shared_ptr<const Function>> instanceOf(Catalog& catalog, const Function& service,
                                                   const std::map<std::string, std::string>& query);

// How the senders of a web function must sign: as the grid's configuration says, else as the tags of its app do.
Result<std::optional<WebhookRule>> webhookRuleFor(const Catalog& catalog,
                                                  const std::vector<ConfiguredWebhook>& configured,
                                                  const Function& function, const std::string& method);

// What a web function takes, likewise; of the configured ones the first that fits.
Result<std::optional<LimitRule>> limitRuleFor(const Catalog& catalog, const std::vector<ConfiguredLimit>& configured,
                                              const Function& function, const std::string& method);

// Where the bytes lie that a worker asks for (WorkerLinks::Hooks::file).
Result<std::string> fileFor(Catalog& catalog, const link::FetchFileRequest& request);

// A file a noun. `builds` outlives the server.
void registerTokens(RpcServer& server, ObjectParts parts);
void registerEnvironments(RpcServer& server, ObjectParts parts);
void registerSecrets(RpcServer& server, ObjectParts parts);
void registerMounts(RpcServer& server, ObjectParts parts);
void registerImages(RpcServer& server, ObjectParts parts, ImageBuilds& builds);
void registerApps(RpcServer& server, ObjectParts parts);
void registerFunctions(RpcServer& server, ObjectParts parts);
void registerTasks(RpcServer& server, ObjectParts parts);
void registerQueues(RpcServer& server, ObjectParts parts);
void registerDicts(RpcServer& server, ObjectParts parts);
// All of them.
void registerObjects(RpcServer& server, ObjectParts parts, ImageBuilds& builds);

// Shared by the files above: the environment that a request names (containers: their own when it names none), the app
// when it is of the caller's workspace.
Result<Environment> environmentFor(const ObjectParts& parts, const Caller& caller, const std::string& name);
Result<App> appFor(const ObjectParts& parts, const Caller& caller, const std::string& id);

}  // namespace gridiron::edge
