#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "main/config.h"

namespace gridiron {

enum class Format { text, json };

// The commands other than `up`. Each prints its answer on stdout, for people or (docs/formats.md) for programs. Those
// that only need what is on disk work without a running grid too: they then take the data folder's lock meanwhile.

// client: of those who deploy and call. proxy: of those who ask web functions that want one.
enum class TokenKind { client, proxy };
Result<void> newToken(const Settings& settings, Format format, TokenKind kind, const std::string& name);
Result<void> listTokens(const Settings& settings, Format format, TokenKind kind);
Result<void> revokeToken(const Settings& settings, Format format, TokenKind kind, const std::string& id);

struct NewSecret {
  std::string name;
  std::string environment;
  std::vector<std::string> pairs;  // "KEY=VALUE"; "KEY=-" reads the value from stdin
  std::string envFile;             // lines of KEY=VALUE; "-" is stdin
  bool replace = false;
};
Result<void> createSecret(const Settings& settings, Format format, const NewSecret& secret);
Result<void> listSecrets(const Settings& settings, Format format, const std::string& environment);
Result<void> deleteSecret(const Settings& settings, Format format, const std::string& name,
                          const std::string& environment);

struct UsageFilter {
  std::string app, function;  // names or ids; "" = all
  std::string since, until;   // seconds since 1970 or "24h" for so long ago; "" = open
};
Result<void> showUsage(const Settings& settings, Format format, const UsageFilter& filter);

// Where the time of a call, an input or all inputs of a container went; `of` is its id.
Result<void> showTrace(const Settings& settings, Format format, const std::string& of);
// The last cold starts of a function ("function", "app/function" or an id) by phase.
Result<void> showColdStarts(const Settings& settings, Format format, const std::string& function);
Result<void> showStatus(const Settings& settings, Format format);
// Prints a link that signs a browser in once.
Result<void> showSignInLink(const Settings& settings, Format format);
Result<void> showConfiguration(const Configuration& configuration, Format format);
Result<void> showVersion(Format format);
// An error when something stands in the way of containers.
Result<void> showDoctor(const Settings& settings, Format format);

// The values of a new secret; errors name the pair by its place and key, never the value.
Result<std::map<std::string, std::string>> readSecretValues(const NewSecret& secret);

// "24h" (so long before now), seconds since 1970, or "" for nothing.
Result<std::string> readMoment(const std::string& text, Time now);

}  // namespace gridiron
