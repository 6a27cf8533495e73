#include "edge/http/followed.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace gridiron::edge {
namespace {

constexpr std::size_t kMostNames = 4096;
constexpr std::size_t kMostText = 1024;
constexpr int kPeerLeft = 499;

double millis(Nanos took) { return std::chrono::duration<double, std::milli>(took).count(); }

// A JSON string of at most kMostText bytes of `text`; what is no printable ASCII is escaped byte by byte, since paths
// and headers have no encoding.
void putString(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text.substr(0, kMostText)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\u{:04x}", byte);
    }
  }
  out += '"';
}

class Line {
 public:
  void text(std::string_view name, std::string_view value) {
    if (value.empty()) return;
    key(name);
    putString(out_, value);
  }
  template <class Number>
  void number(std::string_view name, Number value) {
    key(name);
    out_ += fmt::format("{}", value);
  }
  void decimals(std::string_view name, double value) {
    key(name);
    out_ += fmt::format("{:.3f}", value);
  }
  void yesOrNo(std::string_view name, bool value) {
    key(name);
    out_ += value ? "true" : "false";
  }
  void phases(const std::vector<TimedPhase>& phases) {
    if (phases.empty()) return;
    key("phases");
    out_ += '{';
    for (bool first = true; const TimedPhase& phase : phases) {
      if (!std::exchange(first, false)) out_ += ',';
      putString(out_, phase.name);
      out_ += fmt::format(":{:.3f}", std::max(0.0, millis(phase.took)));
    }
    out_ += '}';
  }
  std::string finish() { return std::move(out_) + "}"; }

 private:
  void key(std::string_view name) {
    out_ += out_.empty() ? '{' : ',';
    out_ += '"';
    out_.append(name).append("\":");
  }
  std::string out_;
};

const char* protocolOf(net::HttpVersion version) {
  if (version == net::HttpVersion::http2) return "HTTP/2";
  return version == net::HttpVersion::http10 ? "HTTP/1.0" : "HTTP/1.1";
}

}  // namespace

std::string accessLine(const net::RequestHead& head, const RequestFacts& facts) {
  const std::string_view target = head.target;
  Line line;
  line.decimals("time", toSeconds(facts.at));
  line.text("client", head.peerHost);
  line.text("protocol", protocolOf(head.version));
  line.text("scheme", head.scheme);
  line.text("method", head.method);
  line.text("host", head.authority);
  line.text("path", target.substr(0, target.find('?')));
  line.number("status", facts.status);
  line.yesOrNo("complete", facts.complete);
  line.number("bytes_in", facts.bytesIn);
  line.number("bytes_out", facts.bytesOut);
  line.decimals("ms", millis(facts.took));
  if (facts.toHead > Nanos::zero()) line.decimals("head_ms", millis(facts.toHead));
  line.phases(facts.phases);
  line.text("refused", facts.refused);
  line.text("environment", facts.environment);
  line.text("app", facts.app);
  line.text("function", facts.function);
  line.text("call", facts.call);
  line.text("input", facts.input);
  line.text("container", facts.container);
  line.text("user_agent", head.headers.find("user-agent").value_or(""));
  line.text("traceparent", facts.traceparent);
  return line.finish();
}

std::shared_ptr<Followed> RequestBook::follow(std::shared_ptr<net::Exchange> exchange) {
  return std::make_shared<Followed>(*this, std::move(exchange));
}

void RequestBook::done(const net::RequestHead& head, const RequestFacts& facts) {
  if (log_ != nullptr) log_->write(accessLine(head, facts));
  if (facts.function.empty()) return;
  Name name(facts.environment, facts.app, facts.function);
  if (counts_.size() >= kMostNames && !counts_.contains(name)) name = {};
  RequestCounts& counts = counts_[name];
  ++counts.byStatus[facts.status];
  if (!facts.refused.empty()) ++counts.refused[facts.refused];
  counts.bytesIn += facts.bytesIn;
  counts.bytesOut += facts.bytesOut;
  const double seconds = std::chrono::duration<double>(facts.took).count();
  counts.seconds += seconds;
  const auto& bounds = RequestCounts::kBounds;
  ++counts.took[static_cast<std::size_t>(std::lower_bound(bounds.begin(), bounds.end(), seconds) - bounds.begin())];
}

Followed::Followed(RequestBook& book, std::shared_ptr<net::Exchange> inner)
    : PassedExchange(std::move(inner)), book_(book) {
  facts_.at = book_.clock_.now();
  bodiless_ = inner_->head().method == "HEAD";
}

Followed::~Followed() { end(); }

void Followed::isFor(const Function& function, std::string name) {
  facts_.environment = function.environment;
  facts_.app = book_.appName_ ? book_.appName_(function.app) : function.app.str();
  facts_.function = std::move(name);
}

void Followed::end() {
  if (std::exchange(told_, true)) return;
  facts_.took = book_.clock_.now() - facts_.at;
  if (facts_.status == 0) facts_.status = kPeerLeft;
  if (const auto fill = std::exchange(fill_, {})) fill(facts_);
  book_.done(head(), facts_);
}

void Followed::headSent(int status) {
  facts_.status = status;
  facts_.toHead = book_.clock_.now() - facts_.at;
}

void Followed::completed() {
  facts_.complete = true;
  end();
}

Task<Result<std::optional<std::string>>> Followed::read() {
  Result<std::optional<std::string>> piece = co_await inner_->read();
  if (piece.ok() && piece->has_value()) facts_.bytesIn += (*piece)->size();
  co_return piece;
}

bool Followed::readBuffered(std::string& out) {
  const std::size_t before = out.size();
  const bool whole = inner_->readBuffered(out);
  facts_.bytesIn += out.size() - before;
  return whole;
}

Task<Result<void>> Followed::upgrade(net::Headers headers) {
  Result<void> taken = co_await inner_->upgrade(std::move(headers));
  if (taken.ok()) headSent(101);
  co_return taken;
}

Task<Result<void>> Followed::respond(int status, net::Headers headers, bool endStream) {
  Result<void> sent = co_await inner_->respond(status, std::move(headers), endStream);
  if (sent.ok()) headSent(status);
  if (sent.ok() && endStream) completed();
  co_return sent;
}

Task<Result<void>> Followed::write(std::string chunk) {
  const std::size_t size = chunk.size();
  Result<void> sent = co_await inner_->write(std::move(chunk));
  if (sent.ok() && !bodiless_) facts_.bytesOut += size;
  co_return sent;
}

Task<Result<void>> Followed::finish(net::Headers trailers) {
  Result<void> sent = co_await inner_->finish(std::move(trailers));
  if (sent.ok()) completed();
  co_return sent;
}

Task<Result<void>> Followed::answer(int status, net::Headers headers, std::string body) {
  const std::size_t size = body.size();
  Result<void> sent = co_await inner_->answer(status, std::move(headers), std::move(body));
  if (!sent.ok()) co_return sent;
  headSent(status);
  if (!bodiless_) facts_.bytesOut += size;
  completed();
  co_return sent;
}

}  // namespace gridiron::edge
