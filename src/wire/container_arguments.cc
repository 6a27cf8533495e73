#include "wire/container_arguments.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/digest.h"

namespace gridiron::wire {
namespace {

namespace api = ::modal::client;

constexpr std::string_view kServiceSuffix = ".*";  // of the function that serves a class's methods

void addFunction(const Function& function, const std::string& tag, const HandleWriter& handle, api::AppLayout& out) {
  (*out.mutable_function_ids())[tag] = function.id.str();
  api::Object& object = *out.add_objects();
  object.set_object_id(function.id.str());
  handle(function, *object.mutable_function_handle_metadata());
}

void addClass(const std::string& name, const ClassId& id, const App& app, const Functions& functions,
              const HandleWriter& handle, api::AppLayout& out) {
  (*out.mutable_class_ids())[name] = id.str();
  api::Object& object = *out.add_objects();
  object.set_object_id(id.str());
  api::ClassHandleMetadata& metadata = *object.mutable_class_handle_metadata();
  auto service = app.functions.find(name + std::string(kServiceSuffix));
  if (service == app.functions.end()) return;
  metadata.set_class_function_id(service->second.str());
  if (auto function = functions.find(service->second)) handle(*function, *metadata.mutable_class_function_metadata());
}

// Ids that the container looks up by position; what the layout does not have yet gets an entry without metadata.
void addDependencies(const api::Function& definition, api::AppLayout& out) {
  std::set<std::string> present;
  for (const api::Object& object : out.objects()) present.insert(object.object_id());
  auto add = [&](const std::string& id) {
    if (!id.empty() && present.insert(id).second) out.add_objects()->set_object_id(id);
  };
  for (const api::ObjectDependency& dependency : definition.object_dependencies()) add(dependency.object_id());
}

std::vector<std::pair<std::string, std::string>> gridVariables(const Function& function) {
  return {{"MODAL_ENVIRONMENT", function.environment},
          {"MODAL_CLOUD_PROVIDER", "CLOUD_PROVIDER_UNSPECIFIED"},
          {"MODAL_REGION", "local"}};
}

Result<std::vector<MountOrder>> mountsOf(Catalog& catalog, const Function& function) {
  std::vector<MountOrder> orders;
  for (const MountId& id : function.mounts) {
    ASSIGN_OR_RETURN(std::shared_ptr<const Mount> mount, catalog.mounts().get(id));
    if (!mount->globalName.empty()) continue;  // the worker's own
    MountOrder order;
    order.id = id;
    for (const MountFile& file : mount->files)
      order.files.push_back(MountedFile{file.path, file.content.hex(), file.mode, file.size});
    orders.push_back(std::move(order));
  }
  return orders;
}

Result<std::vector<std::pair<std::string, std::string>>> secretsOf(Catalog& catalog, const Function& function) {
  std::map<std::string, std::string> merged;
  for (const SecretId& id : function.secrets) {
    ASSIGN_OR_RETURN(Variables values, catalog.secrets().reveal(id));
    for (auto& [name, value] : values) merged[name] = std::move(value);
  }
  return std::vector<std::pair<std::string, std::string>>(merged.begin(), merged.end());
}

// Does the user's code listen at a port?
bool hasServer(const Function& function) {
  const auto isServer = [](const WebEndpoint& web) { return web.kind == WebKind::webServer; };
  return isServer(function.web) || std::any_of(function.methods.begin(), function.methods.end(),
                                               [&](const Method& method) { return isServer(method.web); });
}

bool mayHaveLane(const Function& function, const App& app) {
  if (function.isServer || function.singleUse || function.isBuilder || function.clientVersion.empty()) return false;
  const auto off = app.tags.find("fast-lane");
  if (off != app.tags.end() && off->second == "off") return false;
  const auto isWeb = [](const Method& method) { return method.web.kind != WebKind::none; };
  return function.web.kind != WebKind::none || std::any_of(function.methods.begin(), function.methods.end(), isWeb);
}

// Of a function that lives as long as its app is deployed: another start will come, which can go on from what is kept.
bool mayHaveSnapshot(const Function& function, const App& app, const api::Function& definition) {
  return definition.checkpointing_enabled() && app.state == AppState::deployed && !function.singleUse &&
         !function.isBuilder && !function.clientVersion.empty();
}

// Of the arguments of all containers that a snapshot of one could become.
std::string digestOf(api::ContainerArguments arguments, const Function& function) {
  arguments.clear_task_id();
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream text(&bytes);
    google::protobuf::io::CodedOutputStream out(&text);
    out.SetSerializationDeterministic(true);
    arguments.SerializeToCodedStream(&out);
  }
  return sha256(function.definitionId.str() + '\0' + bytes).hex();
}

}  // namespace

api::AppLayout writeLayout(const App& app, const Functions& functions, const HandleWriter& handle) {
  api::AppLayout out;
  for (const auto& [tag, id] : app.functions) {
    if (auto function = functions.find(id)) addFunction(*function, tag, handle, out);
  }
  for (const auto& [name, id] : app.classes) addClass(name, id, app, functions, handle, out);
  return out;
}

Result<ContainerBytes> containerArguments(const Instance& instance, const Function& function, const App& app,
                                          const Functions& functions, const HandleWriter& handle) {
  api::ContainerArguments out;
  api::Function& definition = *out.mutable_function_def();
  if (!definition.ParseFromString(function.definition))
    return makeError(Code::dataLoss, "the stored definition of function {} cannot be read", function.tag);
  out.set_task_id(instance.id.str());
  out.set_function_id(function.id.str());
  out.set_app_id(function.app.str());
  out.set_serialized_params(function.serializedParams);
  out.set_environment_name(function.environment);
  *out.mutable_app_layout() = writeLayout(app, functions, handle);
  // A function that builds an image runs before its app has a layout.
  if (app.functions.count(function.tag) == 0) addFunction(function, function.tag, handle, *out.mutable_app_layout());
  addDependencies(definition, *out.mutable_app_layout());
  ContainerBytes bytes;
  if (mayHaveSnapshot(function, app, definition)) {
    definition.set_is_checkpointing_function(true);
    out.set_checkpoint_id("ch-" + function.id.str().substr(function.id.str().find('-') + 1));
    bytes.snapshot = digestOf(out, function);
  }
  bytes.arguments = out.SerializeAsString();
  return bytes;
}

Result<StartOrder> CatalogOrders::compose(const Instance& instance, const Function& function) {
  ASSIGN_OR_RETURN(App app, catalog_.apps().get(function.app));
  StartOrder order;
  order.instance = instance.id;
  order.function = function.id;
  order.image = function.image;
  order.clientVersion = function.clientVersion;
  order.needsFastapi = function.needsFastapi;
  order.resources = instance.resources;
  order.commitAsImage = function.commitAsImage;
  order.lane = fastLane_ && mayHaveLane(function, app);
  order.ports = function.isServer || (order.lane && hasServer(function));
  order.environment = gridVariables(function);
  ASSIGN_OR_RETURN(ContainerBytes bytes, containerArguments(instance, function, app, catalog_.apps(), handle_));
  order.containerArguments = std::move(bytes.arguments);
  order.snapshot = std::move(bytes.snapshot);
  order.app = function.app;
  order.definition = function.definitionId;
  ASSIGN_OR_RETURN(order.secrets, secretsOf(catalog_, function));
  ASSIGN_OR_RETURN(order.mounts, mountsOf(catalog_, function));
  return order;
}

}  // namespace gridiron::wire
