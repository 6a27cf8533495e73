#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "catalog/apps.h"
#include "catalog/grid_config.h"
#include "modal_proto/api.pb.h"
#include "model/function.h"
#include "plan/schedule.h"

namespace gridiron::wire {

// A client's definition of a function, read.
struct ReadFunction {
  Function function;                               // without id, app and web labels
  std::string content;                             // what makes it different from another definition (Apps::putDraft)
  Apps::LabelWish wish;                            // for its web address, if it has one
  std::map<std::string, Apps::LabelWish> methods;  // for those of its methods, by name
};

// Either shape: `function`, or `function_data` with a function for each choice of GPU (the first is taken). Errors:
// invalidArgument naming the field.
Result<ReadFunction> readFunction(::modal::client::FunctionCreateRequest&& request, const std::string& clientVersion);

// `base` with a class instance's parameters and options put on it. For Apps::setBinder.
Result<Function> bindFunction(const Function& base, const Binding& binding);

// When the function runs by itself, if its definition says so.
std::optional<plan::Schedule> scheduleOf(const Function& function);

// The Python module that has its code; "" for serialized code.
std::string moduleOf(const Function& function);

// Addresses of web functions.
class WebUrls {
 public:
  WebUrls(const Apps& apps, GridConfig config) : apps_(apps), config_(std::move(config)) {}
  // "http://<workspace>--<label>.<domain>:<port>"; "" for no label.
  std::string of(const std::string& environment, const std::string& label) const;

 private:
  const Apps& apps_;
  GridConfig config_;
};

// What clients are told of a function. Fill empty messages.
void writeHandle(const Function& function, const WebUrls& urls, ::modal::client::FunctionHandleMetadata& out);
// The definition without serialized code, with its web address.
void writeDefinition(const Function& function, const WebUrls& urls, ::modal::client::Function& out);
void writeFunctionData(const Function& function, const WebUrls& urls, ::modal::client::FunctionData& out);

// The same message always gives the same bytes.
std::string deterministicBytes(const google::protobuf::Message& message);

Scaling readScaling(const ::modal::client::AutoscalerSettings& settings, Scaling otherwise);
void writeScaling(const Scaling& scaling, ::modal::client::AutoscalerSettings& out);

}  // namespace gridiron::wire
