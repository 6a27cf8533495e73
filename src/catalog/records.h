#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/digest.h"
#include "base/result.h"
#include "store/store.h"

// How the catalog's own records are written into the store: JSON bodies, times in nanoseconds, bytes in base64.
namespace gridiron::records {

using Json = nlohmann::json;

inline std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Reads a body with `read(json)`; whatever does not fit is dataLoss naming the record.
template <class Read>
Result<void> parse(const Object& object, Read read) {
  try {
    read(Json::parse(object.body));
  } catch (const Json::exception& exception) {
    return makeError(Code::dataLoss, "{} {} in the store is damaged: {}", object.kind, object.id, exception.what());
  }
  return {};
}

inline ObjectQuery all(std::string kind) {
  ObjectQuery query;
  query.kind = std::move(kind);
  return query;
}
inline ObjectQuery childrenOf(std::string kind, const std::string& parent) {
  ObjectQuery query = all(std::move(kind));
  query.idPrefix = parent + "/";
  return query;
}

inline std::int64_t nanosOf(Time time) { return time.time_since_epoch().count(); }
inline Time timeOf(std::int64_t nanos) { return Time{Nanos{nanos}}; }
inline std::string bytesOf(const std::string& base64) { return base64Decode(base64).value_or(""); }

}  // namespace gridiron::records
