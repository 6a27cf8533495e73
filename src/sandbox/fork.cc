#include "sandbox/fork.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/descriptors.h"

namespace gridiron::sandbox {
namespace {

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
  const Result<void> asked = sendDescriptors(door, static_cast<char>(child), fds);
  if (!asked.ok()) return asked.error().within("ask the zygote");
  return {};
}

}  // namespace gridiron::sandbox
