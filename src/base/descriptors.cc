#include "base/descriptors.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace gridiron {

Result<void> sendDescriptors(int to, char byte, std::span<const int> fds) {
  GRID_CHECK(!fds.empty() && fds.size() <= kMostDescriptors);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostDescriptors * sizeof(int))> extra{};
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = extra.data();
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* item = CMSG_FIRSTHDR(&message);
  item->cmsg_level = SOL_SOCKET;
  item->cmsg_type = SCM_RIGHTS;
  item->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(item), fds.data(), fds.size_bytes());
  if (::sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1) return {};
  return makeError(Code::unavailable, "hand descriptors over: {}", std::strerror(errno));
}

Result<Fd> receiveDescriptor(int from) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> extra{};  // the kernel closes what has no room
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = extra.data();
  message.msg_controllen = extra.size();
  if (::recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1)
    return makeError(Code::unavailable, "no descriptor has come");
  const cmsghdr* item = CMSG_FIRSTHDR(&message);
  const bool one = item != nullptr && item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_RIGHTS &&
                   item->cmsg_len == CMSG_LEN(sizeof(int));
  if (!one) return makeError(Code::unavailable, "a message without a descriptor has come");
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(item), sizeof fd);
  return Fd(fd);
}

}  // namespace gridiron
