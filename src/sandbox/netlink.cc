#include "sandbox/netlink.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace gridiron::sandbox {

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags) {
  nlmsghdr head{};
  head.nlmsg_type = type;
  head.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST | NLM_F_ACK);
  append(&head, sizeof head);
}

void NetlinkMessage::append(const void* bytes, std::size_t size) {
  const std::size_t at = bytes_.size();
  bytes_.resize(at + NLMSG_ALIGN(size), 0);
  std::memcpy(bytes_.data() + at, bytes, size);
}

NetlinkMessage& NetlinkMessage::put(std::uint16_t type, std::string_view value) {
  rtattr head{};
  head.rta_type = type;
  head.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(value.size()));
  append(&head, sizeof head);
  if (!value.empty()) append(value.data(), value.size());
  return *this;
}

NetlinkMessage& NetlinkMessage::putU8(std::uint16_t type, std::uint8_t value) {
  return put(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}

NetlinkMessage& NetlinkMessage::putU32(std::uint16_t type, std::uint32_t value) {
  return put(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}

NetlinkMessage& NetlinkMessage::putString(std::uint16_t type, const std::string& value) {
  return put(type, std::string_view(value.c_str(), value.size() + 1));
}

NetlinkMessage& NetlinkMessage::begin(std::uint16_t type) {
  nests_.push_back(bytes_.size());
  return put(type, {});
}

NetlinkMessage& NetlinkMessage::end() {
  const std::size_t at = nests_.back();
  nests_.pop_back();
  rtattr head{};
  std::memcpy(&head, bytes_.data() + at, sizeof head);
  head.rta_len = static_cast<std::uint16_t>(bytes_.size() - at);
  std::memcpy(bytes_.data() + at, &head, sizeof head);
  return *this;
}

std::vector<char>& NetlinkMessage::finish() {
  nlmsghdr head{};
  std::memcpy(&head, bytes_.data(), sizeof head);
  head.nlmsg_len = static_cast<std::uint32_t>(bytes_.size());
  std::memcpy(bytes_.data(), &head, sizeof head);
  return bytes_;
}

Result<Netlink> Netlink::open() {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd.valid()) return errnoError("open a netlink socket");
  return Netlink(std::move(fd));
}

int Netlink::exchange(NetlinkMessage& message) {
  std::vector<char>& bytes = message.finish();
  if (::send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) return errno;
  alignas(nlmsghdr) std::array<char, 8192> answer;
  ssize_t n;
  do {
    n = ::recv(fd_.get(), answer.data(), answer.size(), 0);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return errno;
  nlmsghdr head{};
  nlmsgerr error{};
  if (static_cast<std::size_t>(n) < sizeof head + sizeof error) return EPROTO;
  std::memcpy(&head, answer.data(), sizeof head);
  std::memcpy(&error, answer.data() + sizeof head, sizeof error);
  return head.nlmsg_type == NLMSG_ERROR ? -error.error : EPROTO;
}

Result<void> Netlink::request(NetlinkMessage& message, const std::string& attempt) {
  const int error = exchange(message);
  return error == 0 ? Result<void>{} : errnoError(attempt, error);
}

Result<void> Netlink::ensure(NetlinkMessage& message, const std::string& attempt) {
  const int error = exchange(message);
  return error == 0 || error == EEXIST ? Result<void>{} : errnoError(attempt, error);
}

}  // namespace gridiron::sandbox
