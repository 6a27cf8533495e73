#pragma once

#include <string>

#include "base/result.h"
#include "main/commands.h"

namespace gridiron {

// A certificate authority of one's own, in a PEM file.
struct Authority {
  std::string pem;  // of the one certificate
  std::string subject, sha256;
  std::string expires;  // "Nov 25 00:00:00 2036 GMT"
};
// Errors: the file has no certificate, more than one, or one that is no authority.
Result<Authority> readAuthority(const std::string& file);

// Puts the authority into a bundle of PEM certificates, in a part that is marked as ours, or takes that part out.
// False: it was so already. The bundle is replaced as a whole or not at all, and keeps its mode.
Result<bool> trustIn(const std::string& bundle, const Authority& authority);
Result<bool> distrustIn(const std::string& bundle, const Authority& authority);

struct TrustRequest {
  std::string file;    // the authority's
  std::string python;  // whose modal client shall trust it; "" only prints what to do for all clients
  bool undo = false;
};
// `gridiron trust`.
Result<void> trustAuthority(Format format, const TrustRequest& request);

}  // namespace gridiron
