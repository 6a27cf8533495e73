#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "base/result.h"

namespace gridiron::sandbox {

// The addresses of a grid on one host, from text such as "10.213.0.0/16" (a prefix of 8 to 29 bits).
struct Subnet {
  std::uint32_t base = 0;  // host byte order
  int prefix = 0;

  static Result<Subnet> parse(const std::string& text);
  std::uint32_t gateway() const { return base + 1; }
  // Containers without the grid's door are in the upper half, so that one rule can tell them.
  std::uint32_t upperHalf() const { return base + (1U << (31 - prefix)); }
  std::uint32_t last() const { return base + ((1U << (32 - prefix)) - 2); }
};
std::string addressText(std::uint32_t address);

// Names that an instance gives to what is visible on the whole host; made of letters, digits and '_'.
struct NetworkNames {
  std::string table;       // nftables
  std::string linkPrefix;  // of the host's ends of veth pairs, 7 characters

  static NetworkNames of(const std::string& instance);
};

// The bridge, its rules and the addresses of one instance. Containers reach the gateway's grid port, and what lies
// beyond the host; not the rest of the host, not each other, and not link-local addresses (clouds' metadata). Any
// thread.
class HostNetwork {
 public:
  struct Options {
    std::string bridge, subnet, instance;
    std::string gridHost;  // where what is sent to the gateway's grid port goes on to; "" = the gateway itself
    int gridPort = 0;
  };
  explicit HostNetwork(Options options);
  // Takes bridge and rules away again if it made them. All leases have ended.
  ~HostNetwork();
  HostNetwork(const HostNetwork&) = delete;
  HostNetwork& operator=(const HostNetwork&) = delete;

  // A container's connection. Its end removes the link and frees the address.
  class Lease {
   public:
    Lease(HostNetwork& network, std::uint32_t address) : network_(network), address_(address) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease();
    std::uint32_t address() const { return address_; }
    // Puts eth0 into the network namespace of process `pid`, which `pidfd` refers to.
    Result<void> attach(int pid, int pidfd);

   private:
    HostNetwork& network_;
    const std::uint32_t address_;
    bool linked_ = false;
  };
  // Makes bridge and rules when this is the first, and reserves an address.
  Result<std::unique_ptr<Lease>> lease(bool gridInternal);

  std::uint32_t gateway() const { return subnet_.gateway(); }
  // Removes bridge, links and rules of this instance, by name. Repeatable.
  Result<void> sweep();

  // The nftables ruleset, for `nft -f -`. A pure function.
  static std::string rules(const Options& options, const Subnet& subnet);

 private:
  Result<void> setUp();
  Result<void> makeBridge();
  Result<std::uint32_t> reserve(bool gridInternal);
  std::string linkOf(std::uint32_t address) const;

  const Options options_;
  const NetworkNames names_;
  Subnet subnet_;
  std::mutex mutex_;
  bool ready_ = false;
  std::uint32_t mtu_ = 1500;
  std::uint32_t next_ = 0;
  std::set<std::uint32_t> taken_;
};

// Runs `act` on a thread of its own inside the network namespace of the process that `pidfd` refers to.
Result<void> inNetworkOf(int pidfd, const std::function<Result<void>()>& act);
// Brings up lo and lets everyone ping, in the calling thread's network namespace.
Result<void> raiseLoopback();

}  // namespace gridiron::sandbox
