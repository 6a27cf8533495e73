#include "wire/functions.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>

namespace gridiron::wire {

namespace {

namespace api = ::modal::client;
namespace pb = google::protobuf;

// Copies the fields that both messages have under the same name and of the same kind.
void copySameFields(const pb::Message& from, pb::Message& to) {
  const pb::Reflection* reading = from.GetReflection();
  std::vector<const pb::FieldDescriptor*> fields;
  reading->ListFields(from, &fields);
  // By the wire: fields that agree in name and type are sent under the other's number.
  for (const pb::FieldDescriptor* field : fields) {
    const pb::FieldDescriptor* other = to.GetDescriptor()->FindFieldByName(field->name());
    const bool same = other && other->cpp_type() == field->cpp_type() && other->is_repeated() == field->is_repeated();
    if (!same || field->is_map()) continue;
    const pb::Reflection* writing = to.GetReflection();
    const bool message = field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE;
    if (message && field->message_type() != other->message_type()) continue;
    const int count = field->is_repeated() ? reading->FieldSize(from, field) : 1;
    for (int i = 0; i < count; ++i) {
      const bool many = field->is_repeated();
      switch (field->cpp_type()) {
#define GRID_COPY(kind, Verb)                                                     \
  case pb::FieldDescriptor::CPPTYPE_##kind:                                       \
    if (many)                                                                     \
      writing->Add##Verb(&to, other, reading->GetRepeated##Verb(from, field, i)); \
    else                                                                          \
      writing->Set##Verb(&to, other, reading->Get##Verb(from, field));            \
    break
        GRID_COPY(INT32, Int32);
        GRID_COPY(INT64, Int64);
        GRID_COPY(UINT32, UInt32);
        GRID_COPY(UINT64, UInt64);
        GRID_COPY(DOUBLE, Double);
        GRID_COPY(FLOAT, Float);
        GRID_COPY(BOOL, Bool);
        GRID_COPY(STRING, String);
#undef GRID_COPY
        case pb::FieldDescriptor::CPPTYPE_ENUM:
          if (many)
            writing->AddEnumValue(&to, other, reading->GetRepeatedEnumValue(from, field, i));
          else
            writing->SetEnumValue(&to, other, reading->GetEnumValue(from, field));
          break;
        case pb::FieldDescriptor::CPPTYPE_MESSAGE:
          if (many)
            writing->AddMessage(&to, other)->CopyFrom(reading->GetRepeatedMessage(from, field, i));
          else
            writing->MutableMessage(&to, other)->CopyFrom(reading->GetMessage(from, field));
          break;
      }
    }
  }
}

// The one definition that a request carries, whichever shape it has.
Result<api::Function> definitionIn(api::FunctionCreateRequest& request) {
  if (!request.has_function_data()) {
    if (!request.has_function()) return makeError(Code::invalidArgument, "FunctionCreate without a function");
    return std::move(*request.mutable_function());
  }
  const api::FunctionData& data = request.function_data();
  if (data.ranked_functions().empty())
    return makeError(Code::invalidArgument, "FunctionCreate with function_data that ranks no function");
  const auto& ranked = data.ranked_functions();
  const auto first =
      std::min_element(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.rank() < b.rank(); });
  api::Function merged = first->function();
  copySameFields(data, merged);
  for (const auto& [name, method] : data.method_definitions()) (*merged.mutable_method_definitions())[name] = method;
  for (const auto& [name, value] : data.experimental_options()) (*merged.mutable_experimental_options())[name] = value;
  return merged;
}

Nanos secondsOf(std::uint32_t seconds) { return std::chrono::seconds(seconds); }

// Of a server (@app.server), which has no WebhookConfig.
WebEndpoint readServer(const api::HTTPConfig& config) {
  WebEndpoint web;
  web.kind = WebKind::webServer;
  web.port = static_cast<int>(config.port());
  web.requiresProxyAuth = !config.unauthenticated();
  web.startupTimeout = secondsOf(config.startup_timeout());
  return web;
}

WebEndpoint readWeb(const api::WebhookConfig& config) {
  WebEndpoint web;
  web.kind = static_cast<WebKind>(config.type());
  web.method = config.method();
  web.requiresProxyAuth = config.requires_proxy_auth();
  web.port = static_cast<int>(config.web_server_port());
  web.startupTimeout =
      std::chrono::duration_cast<Nanos>(std::chrono::duration<float>(config.web_server_startup_timeout()));
  return web;
}

Apps::LabelWish readWish(const api::WebhookConfig& config, const std::string& name) {
  return {config.requested_suffix(), name, config.ephemeral_suffix()};
}

Resources readResources(const api::Resources& resources) {
  Resources out;
  out.milliCpu = resources.milli_cpu();
  out.memoryMb = resources.memory_mb();
  out.milliCpuLimit = resources.milli_cpu_max();
  out.memoryLimitMb = resources.memory_mb_max();
  const api::GPUConfig& gpu = resources.gpu_config();
  out.gpuCount = static_cast<int>(gpu.count());
  if (out.gpuCount == 0) return out;
  out.gpuType = gpu.gpu_type();
  if (out.gpuType.empty()) {  // clients before the type was a string
    const std::string prefix = "GPU_TYPE_";
    const std::string name = api::GPUType_Name(gpu.type());
    out.gpuType = name.starts_with(prefix) ? name.substr(prefix.size()) : "ANY";
    std::replace(out.gpuType.begin(), out.gpuType.end(), '_', '-');
  }
  return out;
}

RetryPolicy readRetries(const api::FunctionRetryPolicy& policy) {
  RetryPolicy retries;
  retries.count = static_cast<int>(policy.retries());
  if (retries.count == 0) return retries;
  retries.backoff = policy.backoff_coefficient() > 0 ? policy.backoff_coefficient() : 1.0;
  retries.initial = std::chrono::milliseconds(policy.initial_delay_ms());
  if (policy.max_delay_ms() > 0) retries.max = std::chrono::milliseconds(policy.max_delay_ms());
  return retries;
}

// Clients say it twice, for older servers; the settings win.
Scaling readScaling(const api::Function& in) {
  Scaling scaling;
  scaling.minContainers = static_cast<int>(in.warm_pool_size());
  scaling.maxContainers = static_cast<int>(in.concurrency_limit());
  scaling.bufferContainers = static_cast<int>(in._experimental_buffer_containers());
  if (in.task_idle_timeout_secs() > 0) scaling.scaledownWindow = secondsOf(in.task_idle_timeout_secs());
  return wire::readScaling(in.autoscaler_settings(), scaling);
}

// What of servers is not run here.
Result<void> checkServer(const api::Function& in) {
  const auto no = [&](const char* what, const char* instead) {
    return makeError(Code::unimplemented, "'{}' is {}, which this grid does not run: {}", in.function_name(), what,
                     instead);
  };
  const api::HTTPConfig& config = in.http_config();
  if (!in.is_server()) return no("a Flash class (http_server)", "@app.server and @modal.web_server serve a port");
  if (in.is_sessioned()) return no("a server with sticky sessions", "without them any container gets a request");
  if (config.h2_enabled()) return no("a server that speaks HTTP/2", "without h2_enabled it is spoken to by HTTP/1.1");
  if (config.has_lift_and_shift_config())
    return no("an image's own server", "start it in an @modal.enter() method of an @app.server class");
  if (config.port() < 1 || config.port() > 65535)
    return makeError(Code::invalidArgument, "'{}' has no port from 1 to 65535", in.function_name());
  return {};
}

// A server's requests: without a limit of its own as many as a container has connections; nothing but the peer ends
// them.
void readServer(const api::Function& in, Function& out) {
  constexpr int kUnlimited = 1000;
  if (!in.is_server()) return;
  out.isServer = true;
  out.web = readServer(in.http_config());
  out.maxConcurrentInputs = in.max_concurrent_inputs() > 0 ? static_cast<int>(in.max_concurrent_inputs()) : kUnlimited;
  const double target = in.autoscaler_settings().target_concurrency_float();
  if (target > 0) out.targetConcurrentInputs = std::max(1, static_cast<int>(target));
  out.timeout = std::chrono::hours(24);
}

Result<void> checkDefinition(const api::Function& in) {
  const auto missing = [](const char* field) {
    return makeError(Code::invalidArgument, "the function's definition has no {}", field);
  };
  if (in.function_name().empty()) return missing("function_name");
  if (in.image_id().empty()) return missing("image_id");
  if (in.definition_type() == api::Function::DEFINITION_TYPE_SERIALIZED && in.function_serialized().empty() &&
      in.class_serialized().empty())
    return missing("function_serialized");
  const Scaling scaling = readScaling(in);
  if (scaling.maxContainers > 0 && scaling.minContainers > scaling.maxContainers)
    return makeError(Code::invalidArgument, "min_containers ({}) is more than max_containers ({})",
                     scaling.minContainers, scaling.maxContainers);
  if (in.is_server() || in.has_http_config()) RETURN_IF_ERROR(checkServer(in));
  if (in.batch_max_size() > 0 && in.max_concurrent_inputs() > 1)
    return makeError(Code::invalidArgument, "a batched function cannot take concurrent inputs");
  return {};
}

Function readDefinition(const api::Function& in) {
  Function out;
  out.tag = in.function_name();
  out.image = {in.image_id()};
  for (const std::string& id : in.mount_ids()) out.mounts.push_back({id});
  std::sort(out.mounts.begin(), out.mounts.end());  // the client has a set; equal sets are equal definitions
  for (const std::string& id : in.secret_ids()) out.secrets.push_back({id});
  for (const auto& dependency : in.object_dependencies()) out.objectDependencies.push_back(dependency.object_id());
  out.scaling = readScaling(in);
  out.maxConcurrentInputs = std::max(1, static_cast<int>(in.max_concurrent_inputs()));
  out.targetConcurrentInputs = static_cast<int>(in.target_concurrent_inputs());
  if (in.timeout_secs() > 0) out.timeout = secondsOf(in.timeout_secs());
  out.startupTimeout = in.startup_timeout_secs() > 0 ? secondsOf(in.startup_timeout_secs()) : out.timeout;
  out.retries = readRetries(in.retry_policy());
  out.batching = {static_cast<int>(in.batch_max_size()), std::chrono::milliseconds(in.batch_linger_ms())};
  out.web = readWeb(in.webhook_config());
  readServer(in, out);
  out.needsFastapi = out.web.kind == WebKind::function;
  for (const auto& [name, method] : in.method_definitions()) {
    out.methods.push_back({name, readWeb(method.webhook_config())});
    out.needsFastapi = out.needsFastapi || out.methods.back().web.kind == WebKind::function;
  }
  std::sort(out.methods.begin(), out.methods.end(), [](const Method& a, const Method& b) { return a.name < b.name; });
  out.resources = readResources(in.resources());
  out.singleUse = in.single_use_containers() || in.max_inputs() == 1;
  out.isGenerator = in.function_type() == api::Function::FUNCTION_TYPE_GENERATOR;
  out.isBuilder = in.is_builder_function();
  if (in.class_parameter_info().schema_size() > 0) out.classParameters = deterministicBytes(in.class_parameter_info());
  return out;
}

api::Function parsed(const Function& function) {
  api::Function definition;
  if (!definition.ParseFromString(function.definition)) definition.Clear();
  return definition;
}

}  // namespace

std::string deterministicBytes(const pb::Message& message) {
  std::string out;
  {
    pb::io::StringOutputStream stream(&out);
    pb::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return out;
}

Scaling readScaling(const api::AutoscalerSettings& settings, Scaling scaling) {
  if (settings.has_min_containers()) scaling.minContainers = static_cast<int>(settings.min_containers());
  if (settings.has_max_containers()) scaling.maxContainers = static_cast<int>(settings.max_containers());
  if (settings.has_buffer_containers()) scaling.bufferContainers = static_cast<int>(settings.buffer_containers());
  if (settings.has_scaleup_window()) scaling.scaleupWindow = secondsOf(settings.scaleup_window());
  if (settings.has_scaledown_window()) scaling.scaledownWindow = secondsOf(settings.scaledown_window());
  return scaling;
}

void writeScaling(const Scaling& scaling, api::AutoscalerSettings& out) {
  const auto seconds = [](Nanos nanos) {
    return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(nanos).count());
  };
  out.set_min_containers(static_cast<std::uint32_t>(scaling.minContainers));
  if (scaling.maxContainers > 0) out.set_max_containers(static_cast<std::uint32_t>(scaling.maxContainers));
  out.set_buffer_containers(static_cast<std::uint32_t>(scaling.bufferContainers));
  out.set_scaleup_window(seconds(scaling.scaleupWindow));
  out.set_scaledown_window(seconds(scaling.scaledownWindow));
}

Result<ReadFunction> readFunction(api::FunctionCreateRequest&& request, const std::string& clientVersion) {
  ASSIGN_OR_RETURN(api::Function definition, definitionIn(request));
  RETURN_IF_ERROR(checkDefinition(definition));
  definition.clear_web_url();
  definition.clear_web_url_info();
  std::sort(definition.mutable_mount_ids()->begin(), definition.mutable_mount_ids()->end());
  ReadFunction read;
  read.function = readDefinition(definition);
  read.function.definition = deterministicBytes(definition);
  read.function.clientVersion = clientVersion;
  read.content = clientVersion + '\n' + read.function.definition;
  read.wish = readWish(definition.webhook_config(), definition.function_name());
  for (const auto& [name, method] : definition.method_definitions())
    read.methods[name] = readWish(method.webhook_config(), method.function_name());
  return read;
}

namespace {

// Options that clients of `with_options` gave; what they did not give is inherited.
void applyOptions(const api::FunctionOptions& options, api::Function& to) {
  if (options.replace_secret_ids()) to.clear_secret_ids();
  for (const std::string& id : options.secret_ids()) to.add_secret_ids(id);
  for (const std::string& id : options.mount_ids()) to.add_mount_ids(id);
  if (options.replace_volume_mounts()) to.clear_volume_mounts();
  for (const auto& mount : options.volume_mounts()) *to.add_volume_mounts() = mount;
  if (options.replace_cloud_bucket_mounts()) to.clear_cloud_bucket_mounts();
  for (const auto& mount : options.cloud_bucket_mounts()) *to.add_cloud_bucket_mounts() = mount;
  if (options.has_resources()) to.mutable_resources()->MergeFrom(options.resources());
  if (options.has_retry_policy()) *to.mutable_retry_policy() = options.retry_policy();
  if (options.has_timeout_secs()) to.set_timeout_secs(options.timeout_secs());
  if (options.has_max_concurrent_inputs()) to.set_max_concurrent_inputs(options.max_concurrent_inputs());
  if (options.has_target_concurrent_inputs()) to.set_target_concurrent_inputs(options.target_concurrent_inputs());
  if (options.has_batch_max_size()) to.set_batch_max_size(options.batch_max_size());
  if (options.has_batch_linger_ms()) to.set_batch_linger_ms(options.batch_linger_ms());
  if (options.has_scheduler_placement()) *to.mutable_scheduler_placement() = options.scheduler_placement();
  if (options.has_cloud_provider_str()) to.set_cloud_provider_str(options.cloud_provider_str());
  api::AutoscalerSettings& scaling = *to.mutable_autoscaler_settings();
  if (options.has_warm_pool_size()) scaling.set_min_containers(options.warm_pool_size());
  if (options.has_concurrency_limit()) scaling.set_max_containers(options.concurrency_limit());
  if (options.has_buffer_containers()) scaling.set_buffer_containers(options.buffer_containers());
  if (options.has_task_idle_timeout_secs()) scaling.set_scaledown_window(options.task_idle_timeout_secs());
}

}  // namespace

std::optional<plan::Schedule> scheduleOf(const Function& function) {
  if (!function.boundFrom.empty()) return std::nullopt;
  const api::Function definition = parsed(function);
  const api::Schedule& from = definition.schedule();
  if (from.has_cron()) return plan::Schedule{from.cron().cron_string(), from.cron().timezone(), 0, {}};
  if (!from.has_period()) return std::nullopt;
  const auto& period = from.period();
  const auto days = std::chrono::hours(24) * (static_cast<std::int64_t>(period.weeks()) * 7 + period.days());
  const auto rest = std::chrono::hours(period.hours()) + std::chrono::minutes(period.minutes());
  const auto seconds = std::chrono::duration_cast<Nanos>(std::chrono::duration<double>(period.seconds()));
  return plan::Schedule{"", "", period.years() * 12 + period.months(), days + rest + seconds};
}

std::string moduleOf(const Function& function) { return parsed(function).module_name(); }

Result<Function> bindFunction(const Function& base, const Binding& binding) {
  api::FunctionOptions options;
  if (!options.ParseFromString(binding.options))
    return makeError(Code::invalidArgument, "the options for function '{}' cannot be read", base.tag);
  api::Function definition = parsed(base);
  writeScaling(base.scaling, *definition.mutable_autoscaler_settings());
  // The base's warm containers are its own: a bound function has none unless its options say so.
  definition.mutable_autoscaler_settings()->set_min_containers(0);
  applyOptions(options, definition);
  RETURN_IF_ERROR(checkDefinition(definition));
  Function bound = readDefinition(definition);
  bound.app = base.app;
  bound.workspace = base.workspace;
  bound.environment = base.environment;
  bound.clientVersion = base.clientVersion;
  bound.definition = deterministicBytes(definition);
  bound.web.label = base.web.label;
  return bound;
}

std::string WebUrls::of(const std::string& environment, const std::string& label) const {
  if (label.empty()) return "";
  return fmt::format("{}://{}--{}.{}{}", schemeOf(config_.publicUrl), apps_.hostPrefix(environment), label,
                     config_.domain, portOf(config_.publicUrl));
}

namespace {

std::string methodUrl(const Function& function, const std::string& name, const WebUrls& urls) {
  for (const Method& method : function.methods) {
    if (method.name == name) return urls.of(function.environment, method.web.label);
  }
  return "";
}

void writeMethodHandle(const Function& function, const std::string& name, const api::MethodDefinition& method,
                       const WebUrls& urls, api::FunctionHandleMetadata& out) {
  out.set_function_name(method.function_name());
  out.set_use_method_name(name);  // what callers put into their inputs
  out.set_function_type(method.function_type());
  out.set_web_url(methodUrl(function, name, urls));
  out.set_app_id(function.app.str());
  if (method.has_function_schema()) *out.mutable_function_schema() = method.function_schema();
  *out.mutable_supported_input_formats() = method.supported_input_formats();
  *out.mutable_supported_output_formats() = method.supported_output_formats();
}

}  // namespace

void writeHandle(const Function& function, const WebUrls& urls, api::FunctionHandleMetadata& out) {
  const api::Function definition = parsed(function);
  out.set_function_name(function.tag);
  out.set_function_type(definition.function_type());
  const std::string url = urls.of(function.environment, function.web.label);
  if (function.isServer) {
    out.add__experimental_flash_urls(url);
  } else {
    out.set_web_url(url);
  }
  out.set_definition_id(function.definitionId.str());
  out.set_app_id(function.app.str());
  if (!function.boundFrom.empty()) out.set_base_function_id(function.boundFrom.str());
  if (definition.has_class_parameter_info()) *out.mutable_class_parameter_info() = definition.class_parameter_info();
  if (definition.has_function_schema()) *out.mutable_function_schema() = definition.function_schema();
  *out.mutable_supported_input_formats() = definition.supported_input_formats();
  *out.mutable_supported_output_formats() = definition.supported_output_formats();
  for (const auto& [name, method] : definition.method_definitions())
    writeMethodHandle(function, name, method, urls, (*out.mutable_method_handle_metadata())[name]);
}

void writeDefinition(const Function& function, const WebUrls& urls, api::Function& out) {
  out = parsed(function);
  out.clear_function_serialized();
  out.clear_class_serialized();
  const std::string url = urls.of(function.environment, function.web.label);
  if (function.isServer) {
    out.add_flash_service_urls(url);
  } else {
    out.set_web_url(url);
  }
  for (auto& [name, method] : *out.mutable_method_definitions()) method.set_web_url(methodUrl(function, name, urls));
  writeScaling(function.scaling, *out.mutable_autoscaler_settings());
}

void writeFunctionData(const Function& function, const WebUrls& urls, api::FunctionData& out) {
  api::Function definition;
  writeDefinition(function, urls, definition);
  copySameFields(definition, out);
  for (const auto& [name, method] : definition.method_definitions()) (*out.mutable_method_definitions())[name] = method;
  for (const auto& [name, value] : definition.experimental_options())
    (*out.mutable_experimental_options())[name] = value;
  *out.add_ranked_functions()->mutable_function() = std::move(definition);
}

}  // namespace gridiron::wire
