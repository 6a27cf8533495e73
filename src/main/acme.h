#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "main/acme_client.h"
#include "net/tls.h"

namespace gridiron {

struct AcmeOptions {
  std::string directory;           // URL of the authority's directory
  std::string authority;           // PEM file of who signed its own TLS certificate; "": the system's
  std::string email;               // what the authority writes to; "": nobody
  std::vector<std::string> names;  // host names, a certificate each
  // account.key, NAME.pem (key and chain), NAME.failed (when it is tried again, and why it was not issued); 0700.
  std::string folder;
};

// How long to wait before `attempt` (1: after the first failure) of a name: a minute, doubled each time, a day at most.
Nanos acmeBackOff(int attempt);
// When a certificate is to be renewed: when a third of its time is left.
Time acmeRenewAt(const Validity& validity);

// Keeps certificates for host names from a certificate authority that speaks ACME, renews them ahead of their end, and
// proves that the names are ours by http-01. A thread of its own does the asking.
class Acme {
 public:
  // Makes the folder, and for names without a certificate one that nobody trusts yet, so that the door can begin.
  // Errors name the file.
  static Result<std::unique_ptr<Acme>> open(AcmeOptions options, const Clock& clock);
  ~Acme();  // gives up what it waits for
  Acme(const Acme&) = delete;
  Acme& operator=(const Acme&) = delete;

  // The files of each name, for the door, which sees when they change.
  std::vector<net::TlsFiles> files() const;
  // Begins to ask; when the door is open, since the authority comes to it.
  void start();
  // What http://<any name>/.well-known/acme-challenge/<token> says, if anything. Any thread.
  std::optional<std::string> answerTo(const std::string& path) const;

 private:
  struct Name {
    std::string name;
    Time due{};
    int failures = 0;
  };
  Acme(AcmeOptions options, const Clock& clock) : options_(std::move(options)), clock_(clock) {}

  std::string fileOf(const std::string& name) const { return options_.folder + "/" + name + ".pem"; }
  std::string failureOf(const std::string& name) const { return options_.folder + "/" + name + ".failed"; }
  void recall(Name& name) const;
  Result<void> prepare(Name& name);
  Result<EcKey> accountKey() const;
  Result<AcmeAnswer> ask(const std::string& method, const std::string& url, const std::string& body) const;
  Result<void> obtain(AcmeClient& client, Name& name);
  void run();
  void turn(Name& name);
  bool sleep(Nanos wait);

  const AcmeOptions options_;
  const Clock& clock_;
  std::vector<Name> names_;  // the thread's, once it runs
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::map<std::string, std::string> challenges_;  // token to text
  std::thread thread_;
};

}  // namespace gridiron
