#include "net/crowd.h"

#include <arpa/inet.h>

namespace gridiron::net {

std::string networkOf(const std::string& host) {
  in6_addr six{};
  if (host.find(':') == std::string::npos || ::inet_pton(AF_INET6, host.c_str(), &six) != 1) return host;
  return std::string(reinterpret_cast<const char*>(six.s6_addr), 8);
}

bool Crowd::isCounted(const std::string& host) const {
  return mostOfAddress_ > 0 && host != "unix" && !trusted_.has(host);
}

Crowd::Verdict Crowd::enter(const std::string& host) {
  const bool known = host == "unix" || trusted_.has(host);
  if (size_ >= most_ + (known ? most_ / 10 : 0)) return Verdict::full;
  if (isCounted(host)) {
    std::size_t& count = ofAddress_[networkOf(host)];
    if (count >= mostOfAddress_) return Verdict::tooManyOfAddress;
    ++count;
  }
  ++size_;
  return Verdict::welcome;
}

void Crowd::leave(const std::string& host) {
  --size_;
  if (!isCounted(host)) return;
  const auto found = ofAddress_.find(networkOf(host));
  if (--found->second == 0) ofAddress_.erase(found);
}

}  // namespace gridiron::net
