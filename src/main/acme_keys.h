#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

struct evp_pkey_st;

namespace gridiron {

// A P-256 key: of an ACME account, or of a certificate. A value that is shared; any thread.
class EcKey {
 public:
  static Result<EcKey> generate();
  static Result<EcKey> fromPem(const std::string& pem);

  std::string pem() const;
  // RFC 7517, and RFC 7638's thumbprint of it.
  nlohmann::json jwk() const;
  std::string thumbprint() const;
  // ES256 of `text`, base64url: r and s of 32 bytes each.
  std::string sign(const std::string& text) const;
  // A certificate request for the host name, DER in base64url.
  std::string request(const std::string& name) const;
  // A certificate that the key signs for itself, good for a day: a door with TLS needs one until it has a real one.
  std::string selfSigned(const std::string& name) const;
  // Is the first certificate of the chain this key's, and for the host name?
  Result<void> fits(const std::string& chainPem, const std::string& name) const;

 private:
  explicit EcKey(evp_pkey_st* key);
  std::shared_ptr<evp_pkey_st> key_;
};

// Of the first certificate in PEM.
struct Validity {
  Time from{}, until{};
  bool selfSigned = false;
};
Result<Validity> validityOf(const std::string& pem);

}  // namespace gridiron
