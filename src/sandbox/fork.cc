#include "sandbox/fork.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace gridiron::sandbox {
namespace {

constexpr std::size_t kMostFds = 16;

void add(std::string& out, std::string_view field) {
  const auto length = static_cast<std::uint32_t>(field.size());
  out.append(reinterpret_cast<const char*>(&length), sizeof length);
  out += field;
}

void addCount(std::string& out, std::size_t count) {
  const auto number = static_cast<std::uint32_t>(count);
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

}  // namespace

std::string forkOrders(const Spec& spec, std::uint64_t capabilities, const std::vector<sock_filter>& filter) {
  return rightsOrders(capabilities, filter) + programOrders(spec);
}

std::string rightsOrders(std::uint64_t capabilities, const std::vector<sock_filter>& filter) {
  std::string out;
  add(out, {reinterpret_cast<const char*>(&capabilities), sizeof capabilities});
  add(out, {reinterpret_cast<const char*>(filter.data()), filter.size() * sizeof(sock_filter)});
  return out;
}

std::string programOrders(const Spec& spec) {
  std::string out;
  add(out, spec.workdir.empty() ? "/" : spec.workdir);
  addCount(out, spec.argv.size());
  for (const std::string& argument : spec.argv) add(out, argument);
  addCount(out, spec.environment.size());
  for (const auto& [name, value] : spec.environment) {
    add(out, name);
    add(out, value);
  }
  return out;
}

Result<void> append(const Fd& file, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t wrote = ::write(file.get(), text.data() + done, text.size() - done);
    if (wrote < 0) return errnoError("write the orders of a fork");
    done += static_cast<std::size_t>(wrote);
  }
  return {};
}

Result<Fd> memoryFile(const std::string& text) {
  Fd file(::memfd_create("orders", MFD_CLOEXEC));
  if (!file.valid()) return errnoError("memfd_create");
  RETURN_IF_ERROR(append(file, text));
  return file;
}

Result<void> askForFork(int door, Child child, std::span<const int> fds) {
  GRID_CHECK(fds.size() <= kMostFds);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostFds * sizeof(int))> extra{};
  char kind = static_cast<char>(child);
  iovec part{&kind, 1};
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
  if (::sendmsg(door, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) return errnoError("ask the zygote");
  return {};
}

}  // namespace gridiron::sandbox
