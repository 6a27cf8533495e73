#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <map>
#include <string>

#include "base/heap.h"
#include "main/commands.h"
#include "main/config.h"
#include "main/trust.h"
#include "main/up.h"

namespace gridiron {
namespace {

// The command line: what was asked for becomes `chosen`, which runs once the configuration is read.
class CommandLine {
 public:
  int run(int argc, char** argv) {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", "gridiron " GRIDIRON_VERSION);
    addUp();
    addTokens();
    addSecrets();
    addReports();
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return app_.exit(error) == 0 ? 0 : 2;
    }
    auto done = runChosen();
    if (done.ok()) return 0;
    std::fprintf(stderr, "gridiron: %s\n", done.error().message.c_str());
    return 1;
  }

 private:
  using Run = std::function<Result<void>(const Configuration&)>;

  Result<void> runChosen() {
    if (!configured_) return chosen_(Configuration{});
    sources_.environment = processEnvironment();
    sources_.root = ::geteuid() == 0;
    ASSIGN_OR_RETURN(auto configuration, readConfiguration(sources_));
    return chosen_(configuration);
  }

  // A command with flags for every setting (or only --data), --config, and --json.
  CLI::App* add(CLI::App& parent, const std::string& name, const std::string& help, bool allSettings, Run run) {
    CLI::App* command = parent.add_subcommand(name, help);
    command->add_option("--config", sources_.file, "configuration file (TOML)");
    for (const auto& key : configKeys()) {
      if (!allSettings && key.name != "data") continue;
      command->add_option_function<std::string>(
          flagOf(key.name), [this, name = key.name](const std::string& value) { sources_.flags[name] = value; },
          key.help);
    }
    command->callback([this, run = std::move(run)] { chosen_ = run; });
    return command;
  }

  CLI::App* addWithJson(CLI::App& parent, const std::string& name, const std::string& help, bool allSettings, Run run) {
    CLI::App* command = add(parent, name, help, allSettings, std::move(run));
    command->add_flag_callback(
        "--json", [this] { format_ = Format::json; }, "for programs (docs/formats.md)");
    return command;
  }

  void addUp() {
    add(app_, "up", "run a grid on this machine until SIGTERM", true,
        [](const Configuration& c) { return runUp(c, GridParts::all); });
    add(app_, "control", "run a grid without a worker: others join it", true,
        [](const Configuration& c) { return runUp(c, GridParts::controlOnly); });
    CLI::App* worker = add(app_, "worker", "run this machine's worker for a grid that runs elsewhere", true,
                           [this](const Configuration& c) { return runWorker(c, join_); });
    worker->add_option("--join", join_.url, "URL of the grid's door")->required();
    worker->add_option("--secret-file", join_.secretFile, "a copy of worker-secret in the grid's data folder")
        ->required()
        ->check(CLI::ExistingFile);
  }

  void addTokens() {
    CLI::App* token = app_.add_subcommand("token", "tokens that clients sign in with");
    token->require_subcommand(1);
    addTokens(*token, TokenKind::client, "ak-…");
    CLI::App* proxy = token->add_subcommand("proxy", "tokens for web functions with requires_proxy_auth");
    proxy->require_subcommand(1);
    addTokens(*proxy, TokenKind::proxy, "wk-…");
  }

  void addTokens(CLI::App& parent, TokenKind kind, const std::string& id) {
    auto* made =
        addWithJson(parent, "new", "make a token; its secret is shown once", false,
                    [this, kind](const Configuration& c) { return newToken(c.settings, format_, kind, name_); });
    made->add_option("--name", name_, "what lists call it");
    addWithJson(parent, "list", "tokens, without their secrets", false,
                [this, kind](const Configuration& c) { return listTokens(c.settings, format_, kind); });
    auto* revoked = addWithJson(parent, "revoke", "make a token useless", false, [this, kind](const Configuration& c) {
      return revokeToken(c.settings, format_, kind, name_);
    });
    revoked->add_option("id", name_, id)->required();
  }

  void addSecrets() {
    CLI::App* secret = app_.add_subcommand("secret", "values that functions get and nobody can read");
    secret->require_subcommand(1);
    auto* made = addWithJson(*secret, "create", "make a secret", false,
                             [this](const Configuration& c) { return createSecret(c.settings, format_, secret_); });
    made->add_option("name", secret_.name)->required();
    made->add_option("values", secret_.pairs, "KEY=VALUE …; KEY=- takes the value from standard input");
    made->add_option("--from-env-file", secret_.envFile, "lines of KEY=VALUE; - is standard input");
    made->add_option("--env", secret_.environment, "environment (main)");
    made->add_flag("--force", secret_.replace, "replace one of that name");
    auto* listed = addWithJson(*secret, "list", "names and keys", false, [this](const Configuration& c) {
      return listSecrets(c.settings, format_, secret_.environment);
    });
    listed->add_option("--env", secret_.environment, "only this environment");
    auto* deleted = addWithJson(*secret, "delete", "delete a secret", false, [this](const Configuration& c) {
      return deleteSecret(c.settings, format_, secret_.name, secret_.environment);
    });
    deleted->add_option("name", secret_.name)->required();
    deleted->add_option("--env", secret_.environment, "environment (main)");
  }

  void addReports() {
    addWithJson(app_, "status", "what runs now", false,
                [this](const Configuration& c) { return showStatus(c.settings, format_); });
    auto* usage = addWithJson(app_, "usage", "what was used, to the millisecond", false,
                              [this](const Configuration& c) { return showUsage(c.settings, format_, usage_); });
    usage->add_option("--app", usage_.app, "only this app (name or id)");
    usage->add_option("--function", usage_.function, "only this function (name or id)");
    usage->add_option("--since", usage_.since, "24h (ago), or seconds since 1970");
    usage->add_option("--until", usage_.until, "1h (ago), or seconds since 1970");
    auto* trace = addWithJson(app_, "trace", "where the time of a call or of a function's cold starts went", false,
                              [this](const Configuration& c) {
                                return cold_ ? showColdStarts(c.settings, format_, traced_)
                                             : showTrace(c.settings, format_, traced_);
                              });
    trace->add_option("id", traced_, "id of a call, an input or a container; with --cold a function (APP/FUNCTION)")
        ->required();
    trace->add_flag("--cold", cold_, "its last cold starts, by phase");
    addWithJson(app_, "sign-in", "a link that signs a browser in to the page, once", false,
                [this](const Configuration& c) { return showSignInLink(c.settings, format_); });
    addWithJson(app_, "config", "the settings in force and where each comes from", true,
                [this](const Configuration& c) { return showConfiguration(c, format_); });
    addWithJson(app_, "doctor", "what this machine lacks, and what to do about it", true,
                [this](const Configuration& c) { return showDoctor(c.settings, format_); });
    auto* trust = addWithJson(app_, "trust", "make a certificate authority of one's own known to clients", false,
                              [this](const Configuration&) { return trustAuthority(format_, trust_); });
    trust->add_option("authority", trust_.file, "its certificate, a PEM file")->required()->check(CLI::ExistingFile);
    trust->add_option("--python", trust_.python,
                      "the Python whose modal client shall trust it; without it: what to do");
    trust->add_flag("--undo", trust_.undo, "take it out again");
    CLI::App* version = app_.add_subcommand("version", "the version");
    version->add_flag_callback(
        "--json", [this] { format_ = Format::json; }, "for programs");
    version->callback([this] {
      configured_ = false;
      chosen_ = [this](const Configuration&) { return showVersion(format_); };
    });
  }

  CLI::App app_{"Gridiron: a serverless grid on your own machines, for the official modal clients", "gridiron"};
  ConfigSources sources_;
  Run chosen_;
  bool configured_ = true;  // the command needs the configuration
  Format format_ = Format::text;
  std::string name_;
  Join join_;
  NewSecret secret_;
  TrustRequest trust_;
  UsageFilter usage_;
  std::string traced_;
  bool cold_ = false;
};

}  // namespace
}  // namespace gridiron

int main(int argc, char** argv) {
  gridiron::keepFreedMemory();
  return gridiron::CommandLine().run(argc, argv);
}
