#include "wire/class_parameters.h"

#include <charconv>

#include "modal_proto/api.pb.h"
#include "wire/functions.h"

namespace gridiron::wire {
namespace {

namespace api = ::modal::client;

api::ParameterType typeOf(const api::ClassParameterSpec& spec) {
  return spec.full_type().base_type() != api::PARAM_TYPE_UNSPECIFIED ? spec.full_type().base_type() : spec.type();
}

Error unreadable(const std::string& name, const std::string& text, const char* expected) {
  return makeError(Code::invalidArgument, "'{}={}' in the address: {} is expected", name, text.substr(0, 100),
                   expected);
}

Result<api::ClassParameterValue> valueOf(const api::ClassParameterSpec& spec, const std::string& text) {
  api::ClassParameterValue value;
  value.set_name(spec.name());
  value.set_type(typeOf(spec));
  switch (value.type()) {
    case api::PARAM_TYPE_STRING:
      value.set_string_value(text);
      return value;
    case api::PARAM_TYPE_BYTES:
      value.set_bytes_value(text);
      return value;
    case api::PARAM_TYPE_INT: {
      std::int64_t number = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      if (error != std::errc() || end != text.data() + text.size())
        return unreadable(spec.name(), text, "a whole number");
      value.set_int_value(number);
      return value;
    }
    case api::PARAM_TYPE_BOOL:
      if (text != "true" && text != "1" && text != "false" && text != "0")
        return unreadable(spec.name(), text, "true or false");
      value.set_bool_value(text == "true" || text == "1");
      return value;
    default:
      return makeError(Code::invalidArgument, "the parameter '{}' is of a type that an address cannot give",
                       spec.name());
  }
}

Result<api::ClassParameterValue> defaultOf(const api::ClassParameterSpec& spec) {
  api::ClassParameterValue value;
  value.set_name(spec.name());
  value.set_type(typeOf(spec));
  switch (spec.default_oneof_case()) {
    case api::ClassParameterSpec::kStringDefault:
      value.set_string_value(spec.string_default());
      return value;
    case api::ClassParameterSpec::kIntDefault:
      value.set_int_value(spec.int_default());
      return value;
    case api::ClassParameterSpec::kBytesDefault:
      value.set_bytes_value(spec.bytes_default());
      return value;
    case api::ClassParameterSpec::kBoolDefault:
      value.set_bool_value(spec.bool_default());
      return value;
    case api::ClassParameterSpec::kPickleDefault:
      value.set_pickle_value(spec.pickle_default());
      return value;
    case api::ClassParameterSpec::DEFAULT_ONEOF_NOT_SET:
      break;
  }
  return makeError(Code::invalidArgument, "the address lacks '{}=…', a parameter of the class", spec.name());
}

}  // namespace

Result<std::optional<std::string>> classParameters(const Function& function,
                                                   const std::map<std::string, std::string>& query) {
  if (function.classParameters.empty()) return std::optional<std::string>();
  api::ClassParameterInfo info;
  if (!info.ParseFromString(function.classParameters))
    return makeError(Code::dataLoss, "the stored parameters of {} cannot be read", function.tag);
  const auto& schema = info.schema();
  api::ClassParameterSet set;
  bool whole = true;  // as it was deployed
  for (const api::ClassParameterSpec& spec : schema) {
    const auto given = query.find(spec.name());
    if (given == query.end()) {
      whole = whole && spec.has_default();
      continue;
    }
    whole = false;
    ASSIGN_OR_RETURN(*set.add_parameters(), valueOf(spec, given->second));
  }
  if (whole) return std::optional<std::string>();
  for (const api::ClassParameterSpec& spec : schema) {
    if (!query.contains(spec.name())) {
      ASSIGN_OR_RETURN(*set.add_parameters(), defaultOf(spec));
    }
  }
  return std::optional<std::string>(deterministicBytes(set));
}

}  // namespace gridiron::wire
