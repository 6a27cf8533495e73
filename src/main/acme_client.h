#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/result.h"
#include "main/acme_keys.h"

namespace gridiron {

struct AcmeAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// How an AcmeClient reaches the world; all of them block.
struct AcmeParts {
  // HEAD, GET or POST; `body` of a POST is application/jose+json. An error: no answer came.
  std::function<Result<AcmeAnswer>(const std::string& method, const std::string& url, const std::string& body)> ask;
  // Lets http://<name>/.well-known/acme-challenge/<token> be answered with `text`; "" ends that.
  std::function<void(const std::string& token, const std::string& text)> publish;
  // False: the process ends, give up.
  std::function<bool(Nanos)> sleep;
};

// One account at a certificate authority that speaks ACME (RFC 8555), and orders of it, by http-01. Not thread-safe.
class AcmeClient {
 public:
  AcmeClient(AcmeParts parts, std::string directory, std::string email, EcKey accountKey)
      : parts_(std::move(parts)),
        directoryUrl_(std::move(directory)),
        email_(std::move(email)),
        key_(std::move(accountKey)) {}

  // A certificate for one host name, in PEM with its chain. `key` is the certificate's. Errors say what the authority
  // said; `exhausted`: it wants us to come later (retryAfter()).
  Result<std::string> obtain(const std::string& name, const EcKey& key);
  // Of the last answer that was refused, if it named a time.
  std::optional<Nanos> retryAfter() const { return retryAfter_; }

 private:
  using Json = nlohmann::json;
  struct Reply {
    AcmeAnswer answer;
    Json body;
  };
  Result<void> begin();
  Result<Reply> post(const std::string& url, const std::optional<Json>& payload);
  Result<Reply> postOnce(const std::string& url, const std::string& payload, bool* badNonce);
  Result<std::string> nonce();
  Result<void> prove(const std::string& authorization, const std::string& name);
  Result<Json> poll(const std::string& url, const std::string& until, const std::string& what);
  Error refused(const AcmeAnswer& answer, const std::string& what);

  const AcmeParts parts_;
  const std::string directoryUrl_, email_;
  const EcKey key_;
  Json directory_;
  std::string account_;  // its URL
  std::string nonce_;    // the next one, if an answer gave it
  std::optional<Nanos> retryAfter_;
};

}  // namespace gridiron
