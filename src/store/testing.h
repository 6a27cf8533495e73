#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/testing.h"
#include "store/store.h"

namespace gridiron {

inline const Time kStart{std::chrono::seconds{1'700'000'000}};

struct SqliteMaker {
  const TemporaryDirectory folder;
  const std::string& directory = folder.path();
  std::unique_ptr<Store> make() {
    auto store = openSqliteStore(directory + "/data/grid.db");
    GRID_CHECK(store.ok());
    return std::move(store).value();
  }
};

inline Object object(const std::string& id, const std::string& name, Nanos age = Nanos{0}) {
  return Object{"app", id, "acme", "main", name, true, kStart - age, "body of " + id};
}

inline Input input(const std::string& id, const std::string& call, int index) {
  Input i;
  i.id = InputId{id};
  i.call = CallId{call};
  i.function = FunctionId{"fu-1"};
  i.index = index;
  i.args = Payload{DataFormat::pickle, std::string("\x80\x04\0x", 4), {}};
  return i;
}

inline Call call(const std::string& id, Nanos age = Nanos{0}) {
  Call c;
  c.id = CallId{id};
  c.function = FunctionId{"fu-1"};
  c.createdAt = kStart - age;
  return c;
}

inline Output output(const std::string& inputId, const std::string& callId, std::int64_t sequence, int index = 0) {
  Output o;
  o.index = index;
  o.input = InputId{inputId};
  o.call = CallId{callId};
  o.sequence = sequence;
  o.outcome.status = OutcomeStatus::success;
  o.outcome.value.data = "result of " + inputId;
  return o;
}

inline LogEntry line(const std::string& text, Nanos at, const std::string& app = "ap-1") {
  LogEntry e;
  e.at = kStart + at;
  e.text = text;
  e.app = AppId{app};
  return e;
}

}  // namespace gridiron
