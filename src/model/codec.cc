#include "model/codec.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <type_traits>
#include <vector>

#include "model/app.h"
#include "model/call.h"
#include "model/function.h"
#include "model/instance.h"
#include "model/usage.h"

namespace gridiron {
namespace {

// The fields of each value, once for both ways. Tags are for ever; new fields get new ones.
template <class A>
void fields(A& a, Resources& v) {
  a(1, v.milliCpu), a(2, v.memoryMb), a(3, v.gpuType), a(4, v.gpuCount), a(5, v.milliCpuLimit), a(6, v.memoryLimitMb);
}
template <class A>
void fields(A& a, Scaling& v) {
  a(1, v.minContainers), a(2, v.maxContainers), a(3, v.bufferContainers), a(4, v.scaledownWindow);
  a(5, v.scaleupWindow);
}
template <class A>
void fields(A& a, RetryPolicy& v) {
  a(1, v.count), a(2, v.backoff), a(3, v.initial), a(4, v.max);
}
template <class A>
void fields(A& a, Batching& v) {
  a(1, v.maxSize), a(2, v.linger);
}
template <class A>
void fields(A& a, WebEndpoint& v) {
  a(1, v.kind), a(2, v.label), a(3, v.method), a(4, v.requiresProxyAuth), a(5, v.port), a(6, v.startupTimeout);
}
template <class A>
void fields(A& a, Method& v) {
  a(1, v.name), a(2, v.web);
}
template <class A>
void fields(A& a, Function& v) {
  a(1, v.id), a(2, v.app), a(3, v.workspace), a(4, v.environment), a(5, v.tag), a(6, v.definitionId);
  a(7, v.definition), a(8, v.serializedParams), a(9, v.boundFrom), a(10, v.image), a(11, v.mounts);
  a(12, v.secrets), a(13, v.objectDependencies), a(14, v.scaling), a(15, v.maxConcurrentInputs);
  a(16, v.targetConcurrentInputs), a(17, v.timeout), a(18, v.startupTimeout), a(19, v.retries);
  a(20, v.batching), a(21, v.web), a(22, v.methods), a(23, v.resources), a(24, v.singleUse);
  a(25, v.isGenerator), a(26, v.isBuilder), a(27, v.commitAsImage), a(28, v.clientVersion), a(29, v.needsFastapi);
  a(30, v.classParameters), a(31, v.isServer);
}
template <class A, class K, class V>
void fields(A& a, std::pair<K, V>& v) {
  a(1, v.first), a(2, v.second);
}
template <class A>
void fields(A& a, App& v) {
  a(1, v.id), a(2, v.workspace), a(3, v.environment), a(4, v.name), a(5, v.description), a(6, v.state);
  a(7, v.createdAt), a(8, v.deployedAt), a(9, v.stoppedAt), a(10, v.heartbeatAt), a(11, v.createdBy);
  a(12, v.deployedBy), a(13, v.stoppedBy), a(14, v.version), a(15, v.functions), a(16, v.classes), a(17, v.tags);
}
template <class A>
void fields(A& a, Payload& v) {
  a(1, v.format), a(2, v.data), a(3, v.blob);
}
template <class A>
void fields(A& a, Call& v) {
  a(1, v.id), a(2, v.function), a(3, v.app), a(4, v.kind), a(5, v.mode), a(6, v.returnExceptions);
  a(7, v.fromSpawnMap), a(8, v.parent), a(9, v.createdAt), a(10, v.expectedInputs), a(11, v.cancelled);
  a(12, v.key);
}
template <class A>
void fields(A& a, Input& v) {
  a(1, v.id), a(2, v.call), a(3, v.function), a(4, v.index), a(5, v.args), a(6, v.method), a(7, v.state);
  a(8, v.attempt), a(9, v.losses), a(10, v.instance), a(11, v.createdAt), a(12, v.queuedAt), a(13, v.startedAt);
  a(14, v.again);
}
template <class A>
void fields(A& a, Outcome& v) {
  a(1, v.status), a(2, v.value), a(3, v.exception), a(4, v.traceback), a(5, v.serializedTraceback);
  a(6, v.tracebackLines), a(7, v.exitCode);
}
template <class A>
void fields(A& a, Output& v) {
  a(1, v.input), a(2, v.call), a(3, v.index), a(4, v.sequence), a(5, v.outcome), a(6, v.attempt);
  a(7, v.instance), a(8, v.startedAt), a(9, v.settledAt), a(10, v.again);
}
template <class A>
void fields(A& a, StartPhase& v) {
  a(1, v.name), a(2, v.took);
}
template <class A>
void fields(A& a, Instance& v) {
  a(1, v.id), a(2, v.function), a(3, v.app), a(4, v.definition), a(5, v.worker), a(6, v.resources);
  a(7, v.state), a(8, v.wantedAt), a(9, v.orderedAt), a(10, v.sandboxAt), a(11, v.helloAt), a(12, v.readyAt);
  a(13, v.goneAt), a(14, v.why), a(15, v.exitCode), a(16, v.phases);
  a(17, v.ahead), a(18, v.usedAt);
}
template <class A>
void fields(A& a, UsageRecord& v) {
  a(1, v.id), a(2, v.kind), a(3, v.app), a(4, v.function), a(5, v.instance), a(6, v.resources);
  a(7, v.queuedAt), a(8, v.startedAt), a(9, v.endedAt), a(10, v.outcome), a(11, v.call), a(12, v.method);
  a(13, v.ahead), a(14, v.usedAt);
}

void appendNumber(std::string& out, std::uint64_t n, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(n >> (8 * i)));
}

std::uint64_t readNumber(std::string_view bytes) {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < bytes.size() && i < 8; ++i) {
    n |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return n;
}

template <class T>
concept Number = std::is_integral_v<T> || std::is_enum_v<T>;

class Writer {
 public:
  std::string out;

  void operator()(int tag, const std::string& v) { field(tag, v); }
  template <class Tag>
  void operator()(int tag, const Id<Tag>& v) {
    field(tag, v.value);
  }
  template <Number T>
  void operator()(int tag, const T& v) {
    number(tag, static_cast<std::uint64_t>(static_cast<std::int64_t>(v)));
  }
  void operator()(int tag, const double& v) {
    std::uint64_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    number(tag, bits);
  }
  void operator()(int tag, const Nanos& v) { number(tag, static_cast<std::uint64_t>(v.count())); }
  void operator()(int tag, const Time& v) { (*this)(tag, v.time_since_epoch()); }
  template <class T>
  void operator()(int tag, const std::vector<T>& v) {
    for (const auto& item : v) (*this)(tag, item);
  }
  template <class K, class V>
  void operator()(int tag, const std::map<K, V>& v) {
    for (const auto& [key, value] : v) (*this)(tag, std::pair<K, V>(key, value));
  }
  template <class T>
  void operator()(int tag, const T& v) requires(std::is_class_v<T>) {
    Writer inner;
    fields(inner, const_cast<T&>(v));  // only read: one description serves both ways
    field(tag, inner.out);
  }

 private:
  void field(int tag, std::string_view bytes) {
    appendNumber(out, static_cast<std::uint64_t>(tag), 2);
    appendNumber(out, bytes.size(), 4);
    out += bytes;
  }
  void number(int tag, std::uint64_t n) {
    std::string bytes;
    appendNumber(bytes, n, 8);
    field(tag, bytes);
  }
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) {
    found_.reserve(std::min<std::size_t>(bytes.size() / 6, 16));
    while (!bytes.empty()) {
      if (bytes.size() < 6) return;
      const auto tag = static_cast<int>(readNumber(bytes.substr(0, 2)));
      const auto size = readNumber(bytes.substr(2, 4));
      if (bytes.size() - 6 < size) return;
      found_.push_back({tag, bytes.substr(6, size)});
      bytes.remove_prefix(6 + size);
    }
    ok_ = true;
  }
  bool ok() const { return ok_; }

  void operator()(int tag, std::string& v) {
    if (const auto* bytes = last(tag)) v = std::string(*bytes);
  }
  template <class Tag>
  void operator()(int tag, Id<Tag>& v) {
    (*this)(tag, v.value);
  }
  template <Number T>
  void operator()(int tag, T& v) {
    if (const auto* bytes = last(tag)) v = static_cast<T>(static_cast<std::int64_t>(readNumber(*bytes)));
  }
  void operator()(int tag, double& v) {
    const auto* bytes = last(tag);
    if (!bytes) return;
    const auto bits = readNumber(*bytes);
    std::memcpy(&v, &bits, sizeof v);
  }
  void operator()(int tag, Nanos& v) {
    if (const auto* bytes = last(tag)) v = Nanos(static_cast<std::int64_t>(readNumber(*bytes)));
  }
  void operator()(int tag, Time& v) {
    Nanos since = v.time_since_epoch();
    (*this)(tag, since);
    v = Time(since);
  }
  template <class T>
  void operator()(int tag, std::vector<T>& v) {
    for (const auto& field : found_) {
      if (field.tag == tag) v.push_back(one<T>(field.bytes));
    }
  }
  template <class K, class V>
  void operator()(int tag, std::map<K, V>& v) {
    for (const auto& field : found_) {
      if (field.tag == tag) v.insert(one<std::pair<K, V>>(field.bytes));
    }
  }
  template <class T>
  void operator()(int tag, T& v) requires(std::is_class_v<T>) {
    const auto* bytes = last(tag);
    if (!bytes) return;
    Reader inner(*bytes);
    fields(inner, v);
    ok_ = ok_ && inner.ok();
  }

 private:
  struct Field {
    int tag;
    std::string_view bytes;
  };

  const std::string_view* last(int tag) const {
    const auto it = std::find_if(found_.rbegin(), found_.rend(), [&](const Field& field) { return field.tag == tag; });
    return it == found_.rend() ? nullptr : &it->bytes;
  }
  template <class T>
  T one(std::string_view bytes) {
    Reader wrapper("");
    wrapper.found_.push_back({1, bytes});
    T value{};
    wrapper(1, value);
    ok_ = ok_ && wrapper.ok();
    return value;
  }

  std::vector<Field> found_;  // few: looked through faster than kept in a map
  bool ok_ = false;
};

}  // namespace

template <class T>
std::string encode(const T& value) {
  Writer writer;
  fields(writer, const_cast<T&>(value));  // only read
  return std::move(writer.out);
}

template <class T>
Result<T> decode(std::string_view bytes) {
  Reader reader(bytes);
  T value{};
  fields(reader, value);
  if (!reader.ok()) return makeError(Code::dataLoss, "{} bytes of the store are not in our format", bytes.size());
  return value;
}

#define GRID_CODEC(T)                          \
  template std::string encode(const T& value); \
  template Result<T> decode<T>(std::string_view bytes)
GRID_CODEC(App);
GRID_CODEC(Function);
GRID_CODEC(Call);
GRID_CODEC(Input);
GRID_CODEC(Output);
GRID_CODEC(Instance);
GRID_CODEC(UsageRecord);

std::string encodeFunction(const Function& function) { return encode(function); }
Result<Function> decodeFunction(std::string_view bytes) { return decode<Function>(bytes); }
std::string encodeApp(const App& app) { return encode(app); }
Result<App> decodeApp(std::string_view bytes) { return decode<App>(bytes); }

}  // namespace gridiron
