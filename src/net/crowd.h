#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>

#include "net/origin.h"

namespace gridiron::net {

// What counts as one address: an IPv4 one, or the /64 of an IPv6 one, which is what one customer has at least.
std::string networkOf(const std::string& host);

// How many connections a door has, in all and of each address, and who may still come. Trusted peers and unix sockets
// are of no number that an address has, and for them there is room for a tenth more when all others are refused: the
// operator gets in, and a proxy speaks for many. Loop thread only.
class Crowd {
 public:
  // `mostOfAddress`: 0 is any number.
  Crowd(std::size_t most, std::size_t mostOfAddress, TrustedPeers trusted)
      : most_(most), mostOfAddress_(mostOfAddress), trusted_(std::move(trusted)) {}

  enum class Verdict { welcome, full, tooManyOfAddress };
  // Whoever is welcome is in until leave(). `host` as in RequestHead::peerHost.
  Verdict enter(const std::string& host);
  void leave(const std::string& host);
  std::size_t size() const { return size_; }

 private:
  bool isCounted(const std::string& host) const;

  const std::size_t most_, mostOfAddress_;
  const TrustedPeers trusted_;
  std::size_t size_ = 0;
  std::unordered_map<std::string, std::size_t> ofAddress_;
};

}  // namespace gridiron::net
