#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "catalog/environments.h"
#include "model/app.h"
#include "model/function.h"
#include "store/store.h"

namespace gridiron {

// Told of changes after they were made; may note and post, must not change apps.
class AppsObserver {
 public:
  virtual ~AppsObserver() = default;
  virtual void functionChanged(const Function&) {}  // (again) in force, maybe with another definition or scaling
  virtual void functionRemoved(const Function&, const std::string& /*why*/) {}
  virtual void appStopped(const App&, const std::string& /*why*/) {}
};

// One deployment of an app that changed something.
struct AppVersion {
  int version = 0;
  std::string clientVersion;
  Time deployedAt{};
  std::string deployedBy;
  std::string tag;
  int rollbackOf = 0;      // 0: not a rollback
  bool rollover = false;   // the version before, with new containers
  std::string commitInfo;  // the client's message as it came; "" = none
  std::map<std::string, std::pair<FunctionId, DefinitionId>> functions;
  std::map<std::string, ClassId> classes;
};

// What a client wants an app to consist of from now on.
struct Publication {
  AppId app;
  std::string name;                             // of a deployed app
  AppState state = AppState::unspecified;       // unspecified: as it is
  std::map<std::string, FunctionId> functions;  // tag → id
  std::map<std::string, ClassId> classes;
  std::map<FunctionId, DefinitionId> definitions;  // of `functions`; those not named: the newest
  std::map<std::string, std::string> tags;
  std::string clientVersion, deploymentTag, commitInfo, by;
};

struct Published {
  App app;
  bool changed = false;  // else everything was so already, and no version was made
};

// A web address for a function: the first label of its host is "<workspace>[-<environment's suffix>]--<label>".
struct WebLabel {
  std::string label;
  bool truncated = false;
  bool hashed = false;  // the plain one is another function's
  bool stolen = false;  // another function answered there until now
};

struct WebFunction {
  std::shared_ptr<const Function> function;
  std::string method;  // of a class; "" for plain functions
  WebEndpoint web;
};

// A class instance's parameters or options put on a function: what bind() remembers.
struct Binding {
  FunctionId base;
  std::string parameters;  // as the client serialized them
  std::string options;     // as above; never looked into here
};

// Apps, the functions they consist of, and their versions. What a client creates is a draft until it publishes the app:
// a deployment that fails half-way changes nothing of what runs. Loop thread only.
class Apps final : public Functions {
 public:
  struct Options {
    Nanos clientSilence = std::chrono::minutes(1);  // of `modal run`: its client beats every 15 s
    std::size_t mostBound = 10'000;                 // sets of parameters and options of a function
  };
  Apps(Store& store, const Environments& environments, const Clock& clock, std::string workspace, Options options);
  Result<void> load();
  void observe(AppsObserver& observer) { observers_.push_back(&observer); }
  // Makes a bound function of a base and a binding; without it bind() is unimplemented.
  using Binder = std::function<Result<Function>(const Function& base, const Binding& binding)>;
  void setBinder(Binder binder) { binder_ = std::move(binder); }

  // --- apps ---
  struct NewApp {
    std::string environment, description, name, by;
    AppState state = AppState::initializing;
    std::map<std::string, std::string> tags;
  };
  Result<App> create(NewApp app);
  Result<App> get(const AppId& id) const;  // notFound
  const App* find(const AppId& id) const;  // null: unknown; valid until the next change
  std::optional<App> named(const std::string& environment, const std::string& name) const;  // that is live
  Error notFound(const std::string& environment, const std::string& name) const;            // names the nearest
  std::optional<App> lastStopped(const std::string& environment, const std::string& name) const;
  std::vector<App> list(const std::string& environment) const;  // newest first; "" = of all environments
  Result<void> heartbeat(const AppId& id);
  Result<void> setTags(const AppId& id, std::map<std::string, std::string> tags);
  Result<void> stop(const AppId& id, const std::string& by, const std::string& why);
  // The client that made it is gone: ends what lives only as long as its client, leaves what is deployed.
  Result<void> disconnect(const AppId& id, const std::string& why);
  // Stops apps whose client has not been heard of for Options::clientSilence, and detached ones that have nothing to do
  // any more.
  void expire(const std::function<bool(const App&)>& busy);

  // --- functions and classes ---
  // The id for a function that will be created. An existing one of the same app is kept; one of another app is refused.
  Result<FunctionId> precreate(const AppId& app, const std::string& tag, const FunctionId& existing);
  // `function`: id (from precreate), app, tag and everything that the client said. Its definition id is a function of
  // `content`, which has all that makes one definition different from another.
  Result<std::shared_ptr<const Function>> putDraft(Function function, const std::string& content);
  Result<ClassId> putClass(const AppId& app, const ClassId& existing);
  Result<Published> publish(const Publication& publication);
  // In force, else the draft (of an app that is not published yet, or of an image's builder).
  std::shared_ptr<const Function> find(const FunctionId& id) const override;
  // The newest draft if there is one, else as find: what a client that is deploying has just created.
  std::shared_ptr<const Function> newest(const FunctionId& id) const;
  Result<std::shared_ptr<const Function>> get(const FunctionId& id) const;  // notFound
  // In force in the deployed app of that name. version 0: the newest.
  Result<std::shared_ptr<const Function>> lookup(const std::string& environment, const std::string& app,
                                                 const std::string& tag) const;
  std::vector<std::shared_ptr<const Function>> functionsOf(const App& app) const;  // in force, by tag
  std::vector<std::shared_ptr<const Function>> withBoundOf(const App& app) const;  // in force, bound ones too
  // The same base and binding give the same id. Its definition follows its base. exhausted: Options::mostBound.
  Result<std::shared_ptr<const Function>> bind(const Binding& binding);
  // Until the next deployment of the app, whether that changes the function or not.
  Result<std::shared_ptr<const Function>> rescale(const FunctionId& id, const Scaling& scaling);

  // --- versions ---
  Result<std::vector<AppVersion>> history(const AppId& id) const;  // newest first
  // version -1: the one before the present. Makes a new version that is as that one was.
  Result<Published> rollback(const AppId& id, int version, const std::string& by);
  // Makes a new version that is as the present one, but whose functions count as changed: each gets new containers.
  Result<Published> rollover(const AppId& id, const std::string& by);

  // --- web addresses ---
  struct LabelWish {
    std::string requested;        // by the user; "" = made from the names
    std::string function;         // "f", "Cls.method"
    std::string ephemeralSuffix;  // of `modal serve`; "" = "dev"
  };
  WebLabel labelFor(const App& app, const FunctionId& function, const LabelWish& wish) const;
  // "<workspace>[-<suffix>]" of an environment: what comes before "--".
  std::string hostPrefix(const std::string& environment) const;
  // `prefix` as in hostPrefix; "" finds the label in any environment.
  std::optional<WebFunction> atAddress(const std::string& prefix, const std::string& label) const;

 private:
  struct Origin {  // of a version that is no deployment
    int rollbackOf = 0;
    bool rollover = false;
  };
  using FunctionPtr = std::shared_ptr<const Function>;

  App* mutableApp(const AppId& id);
  Result<App*> liveApp(const AppId& id);
  Result<void> keepApp(const App& app);
  Result<std::map<std::string, FunctionPtr>> chosen(const App& app, const Publication& publication) const;
  Result<std::map<std::string, FunctionPtr>> ofVersion(const App& app, const AppVersion& version) const;
  Result<Published> putInForce(const App& before, Publication publication,
                               const std::map<std::string, FunctionPtr>& functions, Origin origin);
  static Publication publicationOf(const App& app, const AppVersion& version, const std::string& by);
  Result<App> deployedApp(const AppId& id);
  enum class Rescaled { stays, isReset };
  Result<FunctionPtr> bind(const Binding& binding, Rescaled rescaled);
  void rebind(const FunctionPtr& base);
  void remove(const FunctionPtr& function, const std::string& why);
  void end(App& app, const std::string& by, const std::string& why);
  void reindexWeb();

  Store& store_;
  const Environments& environments_;
  const Clock& clock_;
  const std::string workspace_;
  const Options options_;
  Binder binder_;
  std::vector<AppsObserver*> observers_;
  std::unordered_map<AppId, App> apps_;
  std::unordered_map<FunctionId, FunctionPtr> inForce_;
  std::unordered_map<FunctionId, FunctionPtr> drafts_;
  std::unordered_map<FunctionId, std::pair<AppId, std::string>> reserved_;  // precreated: app and tag
  std::unordered_map<ClassId, AppId> classes_;
  std::unordered_map<FunctionId, Binding> bindings_;
  struct AtHost {
    FunctionId function;
    std::string method;
  };
  std::map<std::string, AtHost> web_;  // "<prefix>--<label>"
};

}  // namespace gridiron
