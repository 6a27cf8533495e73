#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "calls/calls.h"
#include "catalog/catalog.h"
#include "edge/http/followed.h"
#include "edge/schedules.h"
#include "fleet/fleet.h"
#include "meter/meter.h"
#include "net/door.h"
#include "net/http.h"
#include "store/store.h"

namespace gridiron::edge {

struct AdminQuestion {
  std::string method;                        // GET, POST, DELETE
  std::string path;                          // "/v1/status", decoded
  std::map<std::string, std::string> query;  // decoded
  nlohmann::json body;                       // null when there was none
};

struct AdminAnswer {
  int status = 200;
  nlohmann::json body;  // of an error: {"error": text, "code": gRPC code}
};

// What is on disk, and what runs if something does.
struct AdminParts {
  Store& store;
  Catalog& catalog;
  Meter& meter;
  const Clock& clock;
  Fleet* fleet = nullptr;                // null: no grid runs, commands read the data folder
  Calls* calls = nullptr;                // as fleet
  const Schedules* schedules = nullptr;  // as fleet
  std::string url;                       // of the door, "http://localhost:8400"
  std::string domain;                    // functions' hosts are under it
  std::string version;
  const RequestBook* book = nullptr;           // null: requests are not counted
  std::function<std::size_t()> connections{};  // of the door; unset: not known
  std::function<net::RefusedConnections()> refusedConnections{};
};

// The facts and verbs behind the `gridiron` commands and the page's JSON (docs/formats.md). It trusts whoever asks: its
// doors (the unix socket, the page) have checked. Loop thread only.
class AdminApi {
 public:
  explicit AdminApi(AdminParts parts) : parts_(std::move(parts)), startedAt_(parts_.clock.now()) {}

  // What it changed is on disk when it returns.
  AdminAnswer answer(const AdminQuestion& question);

  // Makes the links that sign in to the page; set by whoever owns the page.
  void onSignInLink(std::function<std::string()> make) { signInLink_ = std::move(make); }

  const AdminParts& parts() const { return parts_; }

 private:
  AdminAnswer decide(const AdminQuestion& question);
  AdminAnswer status();
  AdminAnswer apps();
  AdminAnswer usage(const std::map<std::string, std::string>& query);
  AdminAnswer trace(const std::string& id);
  AdminAnswer coldStarts(const std::string& asked);
  AdminAnswer logs(const std::map<std::string, std::string>& query);
  AdminAnswer tokens(const AdminQuestion& question, const std::string& path, TokenBook& book);
  AdminAnswer secrets(const AdminQuestion& question);
  AdminAnswer listSecrets(const std::string& environment);
  AdminAnswer createSecret(const nlohmann::json& wanted);
  AdminAnswer deleteSecret(const std::string& environment, const std::string& name);
  AdminAnswer signInLink();

  AdminParts parts_;
  Time startedAt_;
  std::function<std::string()> signInLink_;
};

// Serves the API as HTTP/1.1 JSON; for a unix socket that only the grid's owner can open. `api` outlives it.
net::HttpHandler makeAdminHandler(AdminApi& api);

AdminAnswer adminErrorAnswer(const Error& error);
// The whole body of a request, at most `most` bytes (else exhausted).
Task<Result<std::string>> readBody(std::shared_ptr<net::Exchange> exchange, std::size_t most);
// "" is null; anything but JSON is invalidArgument.
Result<nlohmann::json> readJson(const std::string& text);

}  // namespace gridiron::edge
