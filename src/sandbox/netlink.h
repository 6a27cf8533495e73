#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace gridiron::sandbox {

// One rtnetlink request under construction. Attributes may be nested; sizes are kept right as it grows.
class NetlinkMessage {
 public:
  NetlinkMessage(std::uint16_t type, std::uint16_t flags);

  // The fixed header behind nlmsghdr (ifinfomsg, ifaddrmsg, rtmsg), also inside a nest (VETH_INFO_PEER).
  template <class Header>
  NetlinkMessage& header(const Header& value) {
    append(&value, sizeof value);
    return *this;
  }
  NetlinkMessage& put(std::uint16_t type, std::string_view bytes);
  NetlinkMessage& putU8(std::uint16_t type, std::uint8_t value);
  NetlinkMessage& putU32(std::uint16_t type, std::uint32_t value);
  NetlinkMessage& putString(std::uint16_t type, const std::string& value);  // with the final zero
  NetlinkMessage& begin(std::uint16_t type);
  NetlinkMessage& end();
  // The finished bytes.
  std::vector<char>& finish();

 private:
  void append(const void* bytes, std::size_t size);

  std::vector<char> bytes_;
  std::vector<std::size_t> nests_;
};

// An rtnetlink socket in the network namespace of the thread that opened it.
class Netlink {
 public:
  static Result<Netlink> open();
  // Sends and waits for the kernel's acknowledgement. `attempt` names the request in errors.
  Result<void> request(NetlinkMessage& message, const std::string& attempt);
  // The same, with "there is one already" taken for success.
  Result<void> ensure(NetlinkMessage& message, const std::string& attempt);

 private:
  explicit Netlink(Fd fd) : fd_(std::move(fd)) {}
  // The errno that the kernel answers, 0 for success.
  int exchange(NetlinkMessage& message);

  Fd fd_;
};

}  // namespace gridiron::sandbox
