#include "sandbox/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <thread>

#include "base/digest.h"
#include "base/fd.h"
#include "base/subprocess.h"
#include "sandbox/netlink.h"

namespace gridiron::sandbox {
namespace {

constexpr std::uint16_t kCreate = NLM_F_CREATE | NLM_F_EXCL;

std::string bytesOf(std::uint32_t address) {
  const std::uint32_t ordered = htonl(address);
  return {reinterpret_cast<const char*>(&ordered), sizeof ordered};
}

ifinfomsg linkHeader(int index, bool up) {
  ifinfomsg out{};
  out.ifi_index = index;
  out.ifi_flags = up ? IFF_UP : 0;
  out.ifi_change = up ? IFF_UP : 0;
  return out;
}

Result<void> raise(Netlink& netlink, const std::string& name) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  message.header(linkHeader(static_cast<int>(::if_nametoindex(name.c_str())), true));
  return netlink.request(message, "bring up " + name);
}

Result<void> addAddress(Netlink& netlink, const std::string& name, std::uint32_t address, int prefix) {
  ifaddrmsg head{};
  head.ifa_family = AF_INET;
  head.ifa_prefixlen = static_cast<unsigned char>(prefix);
  head.ifa_index = ::if_nametoindex(name.c_str());
  NetlinkMessage message(RTM_NEWADDR, kCreate);
  message.header(head).put(IFA_LOCAL, bytesOf(address)).put(IFA_ADDRESS, bytesOf(address));
  return netlink.ensure(message, "give " + addressText(address) + " to " + name);
}

Result<void> addDefaultRoute(Netlink& netlink, std::uint32_t gateway) {
  rtmsg head{};
  head.rtm_family = AF_INET;
  head.rtm_table = RT_TABLE_MAIN;
  head.rtm_protocol = RTPROT_BOOT;
  head.rtm_scope = RT_SCOPE_UNIVERSE;
  head.rtm_type = RTN_UNICAST;
  NetlinkMessage message(RTM_NEWROUTE, kCreate);
  message.header(head).put(RTA_GATEWAY, bytesOf(gateway));
  return netlink.ensure(message, "route by " + addressText(gateway));
}

Result<void> deleteLink(Netlink& netlink, const std::string& name) {
  const unsigned index = ::if_nametoindex(name.c_str());
  if (index == 0) return {};
  NetlinkMessage message(RTM_DELLINK, 0);
  message.header(linkHeader(static_cast<int>(index), false));
  const Result<void> deleted = netlink.request(message, "delete link " + name);
  // The kernel removes it by itself when the other end's namespace goes.
  return deleted.ok() || ::if_nametoindex(name.c_str()) == 0 ? Result<void>{} : deleted;
}

// A write to a switch of the kernel that need not exist.
bool set(const std::string& file, const std::string& value) {
  Fd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return fd.valid() && ::write(fd.get(), value.data(), value.size()) > 0;
}

// The largest packet that leaves this host unsplit: the MTU of the interface with the default route.
std::uint32_t uplinkMtu() {
  const auto routes = readFile("/proc/net/route");
  std::istringstream lines(routes.ok() ? *routes : "");
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string interface, destination;
    fields >> interface >> destination;
    if (destination != "00000000") continue;
    const auto mtu = readFile("/sys/class/net/" + interface + "/mtu");
    if (mtu.ok()) return static_cast<std::uint32_t>(std::max(576, std::atoi(mtu->c_str())));
  }
  return 1500;
}

Result<void> applyRules(const std::string& rules) {
  Command nft;
  nft.argv = {"nft", "-f", "-"};
  nft.input = rules;
  nft.timeout = std::chrono::seconds(20);
  const auto done = runCommand(nft);
  if (!done.ok()) return done.error().within("nftables");
  if (done->exitCode != 0) return makeError(Code::failedPrecondition, "nft: {}", done->output);
  return {};
}

// A locally administered address that is the bridge's for good: else it would be that of its lowest port, and change.
std::string bridgeAddress(const std::string& name) {
  const Sha256 digest = sha256(name);
  std::string out(reinterpret_cast<const char*>(digest.bytes.data()), 6);
  out[0] = '\x02';
  return out;
}

}  // namespace

std::string addressText(std::uint32_t address) {
  return fmt::format("{}.{}.{}.{}", address >> 24, (address >> 16) & 255, (address >> 8) & 255, address & 255);
}

Result<Subnet> Subnet::parse(const std::string& text) {
  const auto wrong = [&] {
    return makeError(Code::invalidArgument, "\"{}\" is not a subnet such as 10.213.0.0/16", text);
  };
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) return wrong();
  in_addr address{};
  if (::inet_pton(AF_INET, text.substr(0, slash).c_str(), &address) != 1) return wrong();
  Subnet out;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + slash + 1, end, out.prefix);
  if (error != std::errc{} || rest != end || out.prefix < 8 || out.prefix > 29) return wrong();
  out.base = ntohl(address.s_addr) & ~((1U << (32 - out.prefix)) - 1);
  return out;
}

NetworkNames NetworkNames::of(const std::string& instance) {
  NetworkNames out;
  out.table = "gridiron_";
  for (const char c : instance) out.table += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  out.linkPrefix = "gv" + sha256(instance).hex().substr(0, 5);
  return out;
}

HostNetwork::HostNetwork(Options options) : options_(std::move(options)), names_(NetworkNames::of(options_.instance)) {
  const auto subnet = Subnet::parse(options_.subnet);
  if (subnet.ok()) subnet_ = *subnet;
}

namespace {

// What a container sends to the gateway's grid port, and nothing else, goes on to where the grid listens.
std::string forwarding(const HostNetwork::Options& options, const Subnet& subnet) {
  if (options.gridHost.empty()) return "";
  return fmt::format(R"(  chain arrive {{
    type nat hook prerouting priority -100; policy accept;
    iifname "{}" ip daddr {} tcp dport {} dnat ip to {}
  }}
)",
                     options.bridge, addressText(subnet.gateway()), options.gridPort, options.gridHost);
}

}  // namespace

std::string HostNetwork::rules(const Options& options, const Subnet& subnet) {
  const std::string table = NetworkNames::of(options.instance).table;
  const std::string accepted = options.gridHost.empty() ? "ip daddr " + addressText(subnet.gateway())
                                                        : "ip daddr " + options.gridHost + " ct status dnat";
  return fmt::format(R"(table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname != "{bridge}" return
    ct state established,related accept
    ip saddr {upper}/{half} drop
    {accepted} tcp dport {port} accept
    drop
  }}
{forwarding}  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname "{bridge}" oifname "{bridge}" drop
    iifname "{bridge}" meta nfproto ipv6 drop
    iifname "{bridge}" ip daddr 169.254.0.0/16 drop
    oifname "{bridge}" ct state established,related accept
    oifname "{bridge}" drop
  }}
  chain leave {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {base}/{prefix} oifname != "{bridge}" masquerade
  }}
}}
)",
                     fmt::arg("table", table), fmt::arg("bridge", options.bridge),
                     fmt::arg("upper", addressText(subnet.upperHalf())), fmt::arg("half", subnet.prefix + 1),
                     fmt::arg("accepted", accepted), fmt::arg("forwarding", forwarding(options, subnet)),
                     fmt::arg("port", options.gridPort), fmt::arg("base", addressText(subnet.base)),
                     fmt::arg("prefix", subnet.prefix));
}

Result<void> HostNetwork::makeBridge() {
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::open());
  NetlinkMessage message(RTM_NEWLINK, kCreate);
  message.header(linkHeader(0, false)).putString(IFLA_IFNAME, options_.bridge).putU32(IFLA_MTU, mtu_);
  message.put(IFLA_ADDRESS, bridgeAddress(options_.bridge));
  message.begin(IFLA_LINKINFO).put(IFLA_INFO_KIND, "bridge").end();
  RETURN_IF_ERROR(netlink.ensure(message, "make bridge " + options_.bridge));
  (void)set("/proc/sys/net/ipv6/conf/" + options_.bridge + "/disable_ipv6", "1");
  RETURN_IF_ERROR(addAddress(netlink, options_.bridge, subnet_.gateway(), subnet_.prefix));
  return raise(netlink, options_.bridge);
}

Result<void> HostNetwork::setUp() {
  if (ready_) return {};
  if (options_.bridge.empty() || options_.bridge.size() >= IFNAMSIZ) {
    return makeError(Code::invalidArgument, "\"{}\" is no name for a bridge (1 to 15 characters)", options_.bridge);
  }
  ASSIGN_OR_RETURN(subnet_, Subnet::parse(options_.subnet));
  mtu_ = uplinkMtu();
  RETURN_IF_ERROR(makeBridge());
  RETURN_IF_ERROR(applyRules(rules(options_, subnet_)));
  // Only behind the rules: from here the bridge would pass packets on to 127.0.0.0/8.
  const std::string local = "/proc/sys/net/ipv4/conf/" + options_.bridge + "/route_localnet";
  if (options_.gridHost.starts_with("127.") && !set(local, "1")) return errnoError("switch on " + local);
  if (!set("/proc/sys/net/ipv4/ip_forward", "1")) return errnoError("switch on /proc/sys/net/ipv4/ip_forward");
  ready_ = true;
  return {};
}

Result<std::uint32_t> HostNetwork::reserve(bool gridInternal) {
  const std::uint32_t first = gridInternal ? subnet_.gateway() + 1 : subnet_.upperHalf();
  const std::uint32_t last = gridInternal ? subnet_.upperHalf() - 1 : subnet_.last();
  const std::uint32_t count = last - first + 1;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t address = first + (next_++ % count);
    if (taken_.insert(address).second) return address;
  }
  return makeError(Code::exhausted, "all {} addresses of {} are in use", count, options_.subnet);
}

Result<std::unique_ptr<HostNetwork::Lease>> HostNetwork::lease(bool gridInternal) {
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(setUp());
  ASSIGN_OR_RETURN(const std::uint32_t address, reserve(gridInternal));
  return std::make_unique<Lease>(*this, address);
}

std::string HostNetwork::linkOf(std::uint32_t address) const {
  return fmt::format("{}{:x}", names_.linkPrefix, address - subnet_.base);
}

Result<void> HostNetwork::Lease::attach(int pid, int pidfd) {
  const std::string name = network_.linkOf(address_);
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::open());
  NetlinkMessage pair(RTM_NEWLINK, kCreate);
  // A queue for each CPU, as it would make, the kernel takes back at once, and waits for all CPUs as it does.
  const auto oneQueue = [&pair] { pair.putU32(IFLA_NUM_TX_QUEUES, 1).putU32(IFLA_NUM_RX_QUEUES, 1); };
  pair.header(linkHeader(0, true)).putString(IFLA_IFNAME, name).putU32(IFLA_MTU, network_.mtu_);
  oneQueue();
  pair.putU32(IFLA_MASTER, ::if_nametoindex(network_.options_.bridge.c_str()));
  pair.begin(IFLA_LINKINFO).put(IFLA_INFO_KIND, "veth").begin(IFLA_INFO_DATA).begin(VETH_INFO_PEER);
  pair.header(linkHeader(0, false)).putString(IFLA_IFNAME, "eth0").putU32(IFLA_MTU, network_.mtu_);
  oneQueue();
  pair.putU32(IFLA_NET_NS_PID, static_cast<std::uint32_t>(pid)).end().end().end();
  RETURN_IF_ERROR(netlink.request(pair, "make veth pair " + name));
  linked_ = true;
  ifinfomsg port = linkHeader(static_cast<int>(::if_nametoindex(name.c_str())), false);
  port.ifi_family = AF_BRIDGE;
  NetlinkMessage isolate(RTM_SETLINK, 0);
  isolate.header(port).begin(IFLA_PROTINFO | NLA_F_NESTED).putU8(IFLA_BRPORT_ISOLATED, 1).end();
  RETURN_IF_ERROR(netlink.request(isolate, "isolate bridge port " + name));
  return inNetworkOf(pidfd, [&]() -> Result<void> {
    RETURN_IF_ERROR(raiseLoopback());
    ASSIGN_OR_RETURN(Netlink inside, Netlink::open());
    RETURN_IF_ERROR(addAddress(inside, "eth0", address_, network_.subnet_.prefix));
    RETURN_IF_ERROR(raise(inside, "eth0"));
    return addDefaultRoute(inside, network_.gateway());
  });
}

HostNetwork::Lease::~Lease() {
  if (linked_) {
    auto netlink = Netlink::open();
    if (netlink.ok()) (void)deleteLink(*netlink, network_.linkOf(address_)).ok();
  }
  const std::lock_guard lock(network_.mutex_);
  network_.taken_.erase(address_);
}

HostNetwork::~HostNetwork() {
  if (ready_) (void)sweep().ok();
}

Result<void> HostNetwork::sweep() {
  const std::lock_guard lock(mutex_);
  ready_ = false;
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::open());
  std::error_code failed;
  std::vector<std::string> links;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net", failed)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(names_.linkPrefix)) links.push_back(name);
  }
  links.push_back(options_.bridge);
  for (const std::string& name : links) RETURN_IF_ERROR(deleteLink(netlink, name));
  return applyRules(fmt::format("table inet {0} {{}}\ndelete table inet {0}\n", names_.table));
}

Result<void> inNetworkOf(int pidfd, const std::function<Result<void>()>& act) {
  Result<void> out;
  std::thread inside(
      [&] { out = ::setns(pidfd, CLONE_NEWNET) == 0 ? act() : errnoError("enter the network namespace"); });
  inside.join();
  return out;
}

Result<void> raiseLoopback() {
  (void)set("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::open());
  return raise(netlink, "lo");
}

}  // namespace gridiron::sandbox
