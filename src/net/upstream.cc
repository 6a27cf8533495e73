#include "net/upstream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "net/wire.h"

namespace gridiron::net {

namespace {

constexpr std::size_t kMaxHead = 64 * 1024;
constexpr std::size_t kPiece = 64 * 1024;
constexpr std::size_t kInHigh = 512 * 1024;   // then the server is held back
constexpr std::size_t kOutHigh = 512 * 1024;  // then who sends waits
constexpr auto kLong = std::chrono::hours(24);

}  // namespace

// What the connection and whoever uses it share.
struct Upstream::State {
  explicit State(asio::io_context& io) : changed(io) {}

  // The connection's side of it.
  class Pipe final : public Protocol {
   public:
    explicit Pipe(std::shared_ptr<State> state) : state_(std::move(state)) {}
    void receive(std::string_view bytes) override {
      state_->in.append(bytes);
      state_->heard = true;
      state_->heldBack = !wantsRead();
      state_->changed.notifyAll();
    }
    void fill(std::string& out) override {
      const bool crowded = state_->out.size() > kOutHigh;
      if (out.empty()) {
        out.swap(state_->out);
      } else {
        out.append(std::exchange(state_->out, {}));
      }
      if (crowded) state_->changed.notifyAll();
    }
    bool wantsRead() const override { return state_->unread().size() < kInHigh; }
    bool finished() const override { return false; }
    void lost() override {
      state_->lost = true;
      state_->changed.notifyAll();
    }
    void tick(Instant) override {}
    void drain(bool) override {}

   private:
    const std::shared_ptr<State> state_;
  };

  std::string_view unread() const { return std::string_view(in).substr(at); }

  // The parser's next event that says something; needMore: nothing has come.
  H1ResponseParser::Event step() {
    for (;;) {
      const auto event = parser.next(unread(), lost);
      at += parser.consumed();
      if (event != H1ResponseParser::Event::needMore || parser.consumed() == 0) return event;
    }
  }
  // What was read leaves the buffer; nothing that the parser gave out points into it any more.
  void forget() {
    if (at == in.size()) {
      in.clear();
      at = 0;
    } else if (at >= in.size() / 2) {
      in.erase(0, at);
      at = 0;
    }
    if (!heldBack || unread().size() >= kInHigh) return;
    heldBack = false;
    if (wire) wire->kick();
  }
  Error problem() const {
    if (lost && !heard) return Error{Code::cancelled, "the server closed the connection without an answer"};
    if (lost && unread().empty()) return Error{Code::cancelled, "the server closed the connection in its answer"};
    return Error{Code::internal, "the server's answer is not HTTP: " + parser.error()};
  }

  Notifier changed;
  H1ResponseParser parser{kMaxHead};
  std::shared_ptr<Wire> wire;
  std::string in, out;
  std::size_t at = 0;  // of `in` that was read
  bool heard = false;  // anything, since begin()
  bool heldBack = false;
  bool lost = false;
};

std::shared_ptr<Upstream> Upstream::open(asio::io_context& io, Fd socket) {
  const auto state = std::make_shared<State>(io);
  const int on = 1;
  (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // unix sockets have no such thing
  state->wire = std::make_shared<Wire>(io, std::move(socket));
  state->wire->start(std::make_unique<State::Pipe>(state), [state] { state->wire = nullptr; });
  return std::shared_ptr<Upstream>(new Upstream(state));
}

Upstream::~Upstream() { close(); }

bool Upstream::isIdle() const {
  return !state_->lost && state_->parser.between() && state_->parser.keepAlive() && state_->unread().empty();
}

void Upstream::begin(std::string_view method, bool upgrade) {
  state_->parser.expect(method, upgrade);
  state_->heard = false;
}

void Upstream::send(std::string bytes) {
  if (state_->lost || !state_->wire) return;
  if (state_->out.empty()) {
    state_->out = std::move(bytes);
  } else {
    state_->out.append(bytes);
  }
  state_->wire->kick();
}

Task<bool> Upstream::drain() {
  const auto state = state_;
  while (!state->lost && state->out.size() > kOutHigh) co_await state->changed.wait(kLong);
  co_return !state->lost;
}

Task<Result<ResponseHead>> Upstream::head() {
  const auto state = state_;
  for (;;) {
    const auto event = state->step();
    if (event == H1ResponseParser::Event::head) {
      state->forget();
      co_return std::move(state->parser.head());
    }
    if (event != H1ResponseParser::Event::needMore) co_return state->problem();
    if (state->lost) co_return state->problem();
    state->forget();
    co_await state->changed.wait(kLong);
  }
}

bool Upstream::readBuffered(std::string& out) {
  auto event = state_->step();
  for (; event == H1ResponseParser::Event::body; event = state_->step()) out += state_->parser.bodyPiece();
  state_->forget();
  return event == H1ResponseParser::Event::end;
}

Task<Result<std::optional<std::string>>> Upstream::read() {
  const auto state = state_;
  std::string piece;
  for (;;) {
    if (state->parser.between()) co_return std::optional<std::string>();
    auto event = state->step();
    // Small chunks together.
    for (; event == H1ResponseParser::Event::body && piece.size() < kPiece; event = state->step())
      piece += state->parser.bodyPiece();
    if (event == H1ResponseParser::Event::body) piece += state->parser.bodyPiece();
    state->forget();
    if (!piece.empty()) co_return std::optional<std::string>(std::move(piece));
    if (event == H1ResponseParser::Event::end) co_return std::optional<std::string>();
    if (event != H1ResponseParser::Event::needMore || state->lost) co_return state->problem();
    co_await state->changed.wait(kLong);
  }
}

Headers Upstream::trailers() { return std::move(state_->parser.trailers()); }

bool Upstream::unanswered() const { return !state_->heard; }

void Upstream::close() {
  const auto wire = state_->wire;
  if (wire) wire->close();
}

std::shared_ptr<Upstream> KeptUpstreams::take() {
  while (!kept_.empty()) {
    auto upstream = std::move(kept_.back());
    kept_.pop_back();
    if (upstream->isIdle()) return upstream;
  }
  return nullptr;
}

void KeptUpstreams::put(std::shared_ptr<Upstream> upstream) {
  if (kept_.size() < kMost) kept_.push_back(std::move(upstream));
}

}  // namespace gridiron::net
