#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "edge/http/limits.h"
#include "edge/http/webhooks.h"
#include "edge/rpc/custom_domains.h"
#include "net/origin.h"
#include "net/tls.h"

namespace gridiron {

// What the operator decides. Every field has a default, so that `gridiron up` alone starts a grid for one machine.
struct Settings {
  std::string data;       // everything that must outlive the process: ledger, blobs, keys
  std::string cache;      // what can be fetched again: base images, wheels; shared by the grids of a machine
  std::string listen;     // host:port of the one door
  std::string publicUrl;  // how clients reach the door; "" = made from listen and TLS
  std::string domain;     // functions answer at <workspace>--<app>-<function>.<domain>
  std::string workspace;
  std::string tlsCertificate, tlsKey;           // PEM files; both or neither
  std::vector<net::TlsFiles> moreCertificates;  // for other host names
  // Certificates from an authority that speaks ACME: its directory ("" = none), the PEM file of its own authority ("" =
  // the system's), what it may write to, and the host names.
  std::string acmeDirectory, acmeAuthority, acmeEmail;
  std::vector<std::string> acmeNames;
  std::string listenHttp;                         // a second address of the same door; "" = none
  bool redirectHttp = true;                       // with TLS: who comes without it, from elsewhere, is sent to https
  net::TrustedPeers trustedProxies;               // whose word about who sent a request counts
  std::string logLevel;                           // trace, debug, info, warn, error
  std::vector<std::string> mirrors;               // image registries tried before an image's own
  bool inheritHostSettings = true;                // image builds use the host's apt, pip, proxy and CA settings
  std::vector<edge::ConfiguredWebhook> webhooks;  // functions whose senders must sign
  std::vector<edge::ConfiguredLimit> limits;      // how many requests functions take
  std::vector<edge::AllowedDomain> domains;       // host names that deployments may claim
  std::string accessLog;                          // path, "-" for standard output, "" for none
  std::int64_t maxConnections = 0;                // of the door
  std::int64_t maxClientConnections = 0;          // of one address that is not trusted
  bool predict = false;                           // containers are started ahead of requests that come regularly
  bool fastLane = true;                        // web requests go to containers by sockets of their own, where they can
  std::optional<std::int64_t> zygoteMemoryMb;  // of the processes that cold starts are forked from; 0 = every start is
                                               // plain; nothing: as the machine allows
  std::int64_t snapshotSpaceMb = 0;            // of all memory snapshots on disk; 0 = there are none
  std::string criuRoot;                        // a folder with usr/sbin/criu and its libraries; "" = found or fetched
  Nanos clientSilence{};                       // after which an app that lives with its client is stopped
  Nanos stopGrace{};  // what running containers get between SIGTERM and SIGKILL when the grid ends
  // What may wait at most; who asks for more is told to come back later.
  std::int64_t queueInputs = 0;           // inputs of one function
  std::int64_t queueWorkspaceInputs = 0;  // of all functions of a workspace
  std::int64_t queueWorkspaceBytes = 0;   // of their arguments in memory, also while they run
};

// Where values may come from besides the defaults. A flag wins over the environment, which wins over the file.
struct ConfigSources {
  std::map<std::string, std::string> flags;        // by key ("tls_key"), as given on the command line
  std::map<std::string, std::string> environment;  // the whole of it: GRIDIRON_*, HOME, XDG_*
  std::string file;                                // --config; "" = GRIDIRON_CONFIG, else the usual place if it exists
  bool root = false;                               // decides the usual places
};

// One effective value and who set it: "default", "/etc/gridiron/gridiron.toml:3", "GRIDIRON_LISTEN", "--listen".
struct ConfigValue {
  std::string key, value, origin;
};

struct Configuration {
  Settings settings;
  std::vector<ConfigValue> values;    // every key, in the order of configKeys()
  std::vector<std::string> warnings;  // GRIDIRON_ variables that nothing reads
};

struct ConfigKey {
  std::string name;  // "log_level": in the file; --log-level and GRIDIRON_LOG_LEVEL elsewhere
  std::string help;
};
const std::vector<ConfigKey>& configKeys();
std::string flagOf(const std::string& key);
std::string variableOf(const std::string& key);

// Reads all sources. Errors name the source, the key and what would be right; an unknown key in the file is an error
// with the nearest known name.
Result<Configuration> readConfiguration(const ConfigSources& sources);

// The process's own environment, for ConfigSources.
std::map<std::string, std::string> processEnvironment();

// Does the door speak TLS?
bool hasTls(const Settings& settings);

// http(s)://host:port by which clients on this machine reach the door: public_url, else localhost and the port.
std::string publicUrlOf(const Settings& settings);

}  // namespace gridiron
