#include <boost/asio/post.hpp>
#include <charconv>
#include <list>

#include "net/h1_parser.h"
#include "net/http_text.h"
#include "net/serving.h"

namespace gridiron::net {

namespace {

constexpr std::size_t kOutHigh = 512 * 1024;            // writers wait above it
constexpr std::size_t kMaxPipelined = 64 * 1024;        // of requests behind the one in progress
constexpr std::size_t kMaxDiscard = 256 * 1024;         // of a body nobody wanted, to keep the connection
constexpr auto kDiscardTime = std::chrono::seconds(5);  // for the same
constexpr std::size_t kUsualAnswer = 512;               // its head, and the body if that is small
constexpr auto kLong = std::chrono::hours(24);

class H1Exchange;

class H1Server final : public Protocol {
 public:
  H1Server(std::shared_ptr<Serving> serving, Peer peer, Carrier& carrier)
      : serving_(std::move(serving)),
        peer_(std::move(peer)),
        carrier_(carrier),
        parser_(serving_->options.maxHeaderBytes) {}
  ~H1Server() override { lost(); }

  void receive(std::string_view bytes) override;
  void fill(std::string& out) override;
  bool wantsRead() const override;
  bool finished() const override { return finished_; }
  void lost() override;
  void tick(Instant now) override;
  void drain(bool force) override;

  // For the exchange in progress.
  void put(std::string bytes);
  bool crowded() const { return out_.size() > kOutHigh; }
  bool closesAfter() const { return closeAfter_ || serving_->draining; }
  void closeAfter() { closeAfter_ = true; }
  void beginRaw();  // what comes from here on is the exchange's, unparsed
  void bodyRead();  // there is room for more of it
  void answerComplete();
  void abort();

 private:
  void pump();
  bool step();  // false: wait for more bytes, or for the exchange in progress
  void begin();
  void takeBody(std::string_view piece);
  void bodyEnded();
  void parseFailed();
  void refuse(const H1Error& error);
  void retire();
  std::string_view unparsed() const { return std::string_view(in_).substr(inAt_); }

  const std::shared_ptr<Serving> serving_;
  const Peer peer_;
  Carrier& carrier_;
  H1Parser parser_;
  std::string in_;
  std::size_t inAt_ = 0;
  std::string out_;
  std::shared_ptr<H1Exchange> current_;
  bool inBody_ = false;      // of current_'s request
  bool raw_ = false;         // current_ has taken the connection over
  bool discarding_ = false;  // current_ is answered, its request not read to the end
  std::size_t discarded_ = 0;
  bool closeAfter_ = false;
  bool finished_ = false;
  bool lost_ = false;
  bool pumping_ = false;
  bool served_ = false;           // at least one request
  Instant since_ = instantNow();  // idle, or reading a head, or discarding
};

class H1Exchange final : public ServedExchange {
 public:
  H1Exchange(asio::io_context& io, H1Server* server, const H1Parser& parser, RequestHead&& head)
      : io_(io),
        head_(std::move(head)),
        changed_(io),
        server_(server),
        wantsTrailers_(parser.wantsTrailers()),
        continuePending_(parser.expectsContinue() && parser.hasBody()) {}

  const RequestHead& head() const override { return head_; }
  asio::io_context* loop() override { return &io_; }

  Task<Result<std::optional<std::string>>> read() override {
    for (;;) {
      if (!inbox_.empty()) {
        std::string piece = std::move(inbox_.front());
        inbox_.pop_front();
        inboxBytes_ -= piece.size();
        if (server_ != nullptr) server_->bodyRead();
        co_return std::optional<std::string>(std::move(piece));
      }
      if (bodyError_) co_return Error{Code::invalidArgument, bodyError_->text};
      if (inEnd_) co_return std::optional<std::string>();
      if (server_ == nullptr) co_return brokenOff();
      if (std::exchange(continuePending_, false) && !outHead_) server_->put("HTTP/1.1 100 Continue\r\n\r\n");
      if (!waitsSince_) waitsSince_ = instantNow();
      co_await changed_.wait(kLong);
    }
  }

  bool readBuffered(std::string& out) override {
    if (bodyError_) return false;
    for (; !inbox_.empty(); inbox_.pop_front()) out += inbox_.front();
    if (std::exchange(inboxBytes_, 0) > 0 && server_ != nullptr) server_->bodyRead();
    return inEnd_ && inbox_.empty();
  }

  Task<Result<void>> upgrade(Headers headers) override {
    if (outHead_ || !inEnd_) co_return Error{Code::internal, "it is too late to take the connection over"};
    if (server_ == nullptr) co_return brokenOff();
    CO_RETURN_IF_ERROR(checkAnswerHead(200, headers));
    std::string head = "HTTP/1.1 101 Switching Protocols\r\n";
    for (const auto& [name, value] : headers.fields()) head.append(name).append(": ").append(value).append("\r\n");
    outHead_ = true;
    inEnd_ = false;
    server_->put(head + "\r\n");
    server_->beginRaw();
    co_return Result<void>();
  }

  Task<Result<void>> respond(int status, Headers headers, bool endStream) override {
    auto head = startAnswer(status, headers, endStream);
    if (!head.ok()) co_return head.error();
    server_->put(std::move(*head));
    if (endStream) complete();
    co_return Result<void>();
  }

  Task<Result<void>> write(std::string chunk) override {
    if (!outHead_) co_return Error{Code::internal, "write before respond"};
    if (outEnd_) co_return Error{Code::internal, "write after the end of the answer"};
    if (server_ == nullptr) co_return brokenOff();
    if (chunk.empty() || bodiless_) co_return Result<void>();
    if (lengthLeft_ && chunk.size() > *lengthLeft_) {
      abort();
      co_return Error{Code::internal, "the answer's body is longer than its Content-Length"};
    }
    if (lengthLeft_) *lengthLeft_ -= chunk.size();
    server_->put(chunked_ ? fmt::format("{:x}\r\n", chunk.size()) + chunk + "\r\n" : std::move(chunk));
    while (server_ != nullptr && server_->crowded()) co_await changed_.wait(kLong);
    if (server_ == nullptr) co_return brokenOff();
    co_return Result<void>();
  }

  Task<Result<void>> finish(Headers trailers) override {
    if (!outHead_) co_return Error{Code::internal, "finish before respond"};
    if (outEnd_) co_return Error{Code::internal, "the answer has been finished already"};
    if (server_ == nullptr) co_return brokenOff();
    CO_RETURN_IF_ERROR(checkAnswerHead(200, trailers));
    if (lengthLeft_.value_or(0) > 0 && !bodiless_) {
      abort();
      co_return Error{Code::internal, "the answer's body is shorter than its Content-Length"};
    }
    if (chunked_ && !bodiless_) {
      std::string end = "0\r\n";
      if (wantsTrailers_) {
        for (const auto& [name, value] : trailers.fields()) end += fmt::format("{}: {}\r\n", name, value);
      }
      server_->put(end + "\r\n");
    }
    complete();
    co_return Result<void>();
  }

  Task<Result<void>> answer(int status, Headers headers, std::string body) override {
    auto head = startAnswer(status, headers, false, body.size());
    if (!head.ok()) co_return head.error();
    if (!bodiless_) {
      if (lengthLeft_ && *lengthLeft_ != body.size()) {
        abort();
        co_return Error{Code::internal, "the answer's Content-Length is not its body's length"};
      }
      head->append(body);
    }
    server_->put(std::move(*head));
    complete();
    co_return Result<void>();
  }

  void abort() override {
    if (server_ == nullptr) return;
    server_->abort();
  }

  void onGone(std::function<void()> callback) override {
    if (gone_) {
      if (callback) asio::post(io_.get_executor(), std::move(callback));
    } else if (!outEnd_) {
      onGone_ = std::move(callback);
    }
  }
  bool gone() const override { return gone_; }
  bool headSent() const override { return outHead_; }
  bool answered() const override { return outEnd_; }

  // For the server.
  std::size_t inboxBytes() const { return inboxBytes_; }
  // Its handler has waited longer than `limit` for a byte of the body, and has not begun to answer.
  bool starves(Instant now, Nanos limit) const {
    return waitsSince_ && !outHead_ && !inEnd_ && !bodyError_ && now - *waitsSince_ > limit;
  }
  void wake() { changed_.notifyAll(); }
  void add(std::string_view piece) {
    inboxBytes_ += piece.size();
    inbox_.emplace_back(piece);
    waitsSince_.reset();
    changed_.notifyAll();
  }
  void endBody() {
    inEnd_ = true;
    continuePending_ = false;
    changed_.notifyAll();
  }
  void failBody(const H1Error& error) {
    bodyError_ = error;
    changed_.notifyAll();
  }
  // The server has no more to do with this exchange.
  void leave() {
    server_ = nullptr;
    gone_ = !outEnd_;
    auto callback = std::exchange(onGone_, nullptr);
    if (gone_ && callback) asio::post(io_.get_executor(), std::move(callback));
    changed_.notifyAll();
  }

 private:
  static Error brokenOff() { return Error{Code::cancelled, "the peer closed the connection"}; }

  void complete() {
    outEnd_ = true;
    onGone_ = nullptr;
    server_->answerComplete();
  }

  // The head's text; decides how the body will be framed. `size`: of the whole body, where it is known.
  Result<std::string> startAnswer(int status, const Headers& headers, bool endStream,
                                  std::optional<std::size_t> size = {}) {
    if (outHead_) return Error{Code::internal, "the answer's head has been sent already"};
    if (server_ == nullptr) return brokenOff();
    RETURN_IF_ERROR(checkAnswerHead(status, headers));
    outHead_ = true;
    if (continuePending_) server_->closeAfter();  // whether the body comes is the client's choice: no way to tell
    const bool noBodyStatus = status == 204 || status == 304;
    bodiless_ = noBodyStatus || head_.method == "HEAD";
    std::string out;
    out.reserve(kUsualAnswer);
    out.append("HTTP/1.1 ").append(std::to_string(status)).append(" ").append(reasonPhrase(status)).append("\r\n");
    bool dated = false;
    for (const auto& [name, value] : headers.fields()) {
      const std::string lower = lowerCase(name);
      if (isHopByHop(lower)) continue;
      if (lower == "content-length") {
        if (status == 204 || lengthLeft_) continue;
        std::uint64_t length = 0;
        const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), length);
        if (ec != std::errc() || end != value.data() + value.size()) continue;
        lengthLeft_ = length;
      }
      dated |= lower == "date";
      out.append(name).append(": ").append(value).append("\r\n");
    }
    if (!dated) out.append("date: ").append(dateNow()).append("\r\n");
    if (size && !lengthLeft_ && !noBodyStatus) {
      lengthLeft_ = *size;
      out.append("content-length: ").append(std::to_string(*size)).append("\r\n");
    }
    frame(out, endStream);
    out += "\r\n";
    return out;
  }

  void frame(std::string& out, bool endStream) {
    if (!bodiless_ && !lengthLeft_) {
      if (endStream) {
        out += "content-length: 0\r\n";
      } else if (head_.version == HttpVersion::http11) {
        chunked_ = true;
        out += "transfer-encoding: chunked\r\n";
      } else {
        server_->closeAfter();
      }
    }
    if (endStream && !bodiless_ && lengthLeft_.value_or(0) > 0) server_->closeAfter();
    if (server_->closesAfter()) {
      out += "connection: close\r\n";
    } else if (head_.version == HttpVersion::http10) {
      out += "connection: keep-alive\r\n";
    }
  }

  asio::io_context& io_;
  const RequestHead head_;
  Notifier changed_;
  H1Server* server_;
  const bool wantsTrailers_;
  bool continuePending_;
  std::list<std::string> inbox_;
  std::size_t inboxBytes_ = 0;
  bool inEnd_ = false;
  std::optional<Instant> waitsSince_;  // its handler, for the body
  std::optional<H1Error> bodyError_;
  bool outHead_ = false;
  bool outEnd_ = false;
  bool bodiless_ = false;
  bool chunked_ = false;
  std::optional<std::uint64_t> lengthLeft_;
  bool gone_ = false;
  std::function<void()> onGone_;
};

void H1Server::receive(std::string_view bytes) {
  if (finished_) return;
  if (!current_ && unparsed().empty()) since_ = instantNow();  // a head begins
  in_.append(bytes);
  pump();
}

void H1Server::fill(std::string& out) {
  if (out_.empty()) return;
  if (out.empty()) {
    out.swap(out_);
  } else {
    out.append(out_);
  }
  out_.clear();
  if (current_) current_->wake();
}

bool H1Server::wantsRead() const {
  if (finished_) return false;
  if (!current_ || discarding_) return true;
  if (inBody_) return current_->inboxBytes() < serving_->options.maxBufferedBody;
  return unparsed().size() < kMaxPipelined;
}

void H1Server::lost() {
  if (std::exchange(lost_, true)) return;
  finished_ = true;
  if (const auto exchange = std::exchange(current_, nullptr)) exchange->leave();
}

void H1Server::tick(Instant now) {
  if (finished_) return;
  const auto past = [&](Nanos limit) { return now - since_ > limit; };
  if (current_) {
    if (discarding_ && past(kDiscardTime)) return abort();
    if (!current_->starves(now, serving_->options.bodyTimeout)) return;
    refuse({408, "The request's body did not arrive in time."});
    return abort();
  }
  if (!unparsed().empty()) {
    if (past(serving_->options.headTimeout)) refuse({408, "The request's head did not arrive in time."});
  } else if (past(served_ ? serving_->options.idleTimeout : serving_->options.headTimeout)) {
    finished_ = true;
    carrier_.kick();
  }
}

void H1Server::drain(bool force) {
  if (!current_ && (force || unparsed().empty())) finished_ = true;
}

void H1Server::put(std::string bytes) {
  if (out_.empty()) {
    out_ = std::move(bytes);
  } else {
    out_.append(bytes);
  }
  carrier_.kick();
}

void H1Server::beginRaw() {
  raw_ = inBody_ = closeAfter_ = true;
  pump();
  carrier_.kick();
}

void H1Server::bodyRead() {
  if (!inBody_) return;
  pump();
  carrier_.kick();
}

void H1Server::pump() {
  if (std::exchange(pumping_, true)) return;
  while (!finished_ && step()) {
  }
  pumping_ = false;
  in_.erase(0, std::exchange(inAt_, 0));
}

bool H1Server::step() {
  if (current_ && !inBody_) return false;
  if (inBody_ && !discarding_ && current_->inboxBytes() >= serving_->options.maxBufferedBody) return false;
  if (raw_ && unparsed().empty()) return false;
  if (raw_) {
    current_->add(unparsed());
    inAt_ = in_.size();
    return false;
  }
  const auto event = parser_.next(unparsed());
  const std::string_view piece = parser_.bodyPiece();
  inAt_ += parser_.consumed();
  switch (event) {
    case H1Parser::Event::needMore:
      return parser_.consumed() > 0;
    case H1Parser::Event::head:
      begin();
      return true;
    case H1Parser::Event::body:
      takeBody(piece);
      return true;
    case H1Parser::Event::end:
      bodyEnded();
      return true;
    case H1Parser::Event::failed:
      parseFailed();
      return false;
  }
  return false;
}

void H1Server::begin() {
  served_ = true;
  setOrigin(parser_.head(), peer_, serving_->options);
  inBody_ = true;
  discarding_ = false;
  discarded_ = 0;
  closeAfter_ = !parser_.keepAlive();
  current_ = std::make_shared<H1Exchange>(serving_->io, this, parser_, std::move(parser_.head()));
  dispatch(serving_, current_);
}

void H1Server::takeBody(std::string_view piece) {
  if (!discarding_) return current_->add(piece);
  discarded_ += piece.size();
  if (discarded_ > kMaxDiscard) abort();
}

void H1Server::bodyEnded() {
  inBody_ = false;
  current_->endBody();
  if (discarding_) retire();
}

void H1Server::parseFailed() {
  if (!current_) return refuse(parser_.error());
  closeAfter_ = true;
  current_->failBody(parser_.error());
  inBody_ = false;
  if (discarding_) retire();
}

void H1Server::refuse(const H1Error& error) {
  const std::string body = error.text + "\n";
  put(
      fmt::format("HTTP/1.1 {} {}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\ndate: {}\r\n"
                  "connection: close\r\n\r\n{}",
                  error.status, reasonPhrase(error.status), body.size(), dateNow(), body));
  finished_ = true;
}

void H1Server::answerComplete() {
  if (inBody_ && !closeAfter_) {
    discarding_ = true;
    since_ = instantNow();
    pump();
  } else {
    retire();
  }
  carrier_.kick();
}

// The exchange in progress is over; the next request may begin.
void H1Server::retire() {
  const auto exchange = std::exchange(current_, nullptr);
  discarding_ = false;
  since_ = instantNow();
  if (closesAfter()) finished_ = true;
  if (exchange) exchange->leave();
  if (!finished_ && !unparsed().empty()) pump();
}

void H1Server::abort() {
  finished_ = true;
  if (const auto exchange = std::exchange(current_, nullptr)) exchange->leave();
  carrier_.kick();
}

}  // namespace

std::unique_ptr<Protocol> makeH1Server(std::shared_ptr<Serving> serving, Peer peer, Carrier& carrier) {
  peer.trusted = serving->options.trusted.has(peer.host);
  return std::make_unique<H1Server>(std::move(serving), std::move(peer), carrier);
}

}  // namespace gridiron::net
