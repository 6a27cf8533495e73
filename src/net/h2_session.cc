#include "net/h2_session.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstring>

namespace gridiron::net {

namespace {

constexpr std::size_t kConnectionWindow = 16 * 1024 * 1024;
// Above this much unread, a connection's own window closes too: one peer cannot make us keep more.
constexpr std::size_t kMaxUnread = 64 * 1024 * 1024;
constexpr std::size_t kOutHigh = 512 * 1024;  // writers wait above it
constexpr std::size_t kOutLow = 128 * 1024;   // and go on below it
constexpr std::size_t kHopeless = 4;          // times the largest head: the connection ends
constexpr std::size_t kMergeChunks = 64 * 1024;
constexpr auto kLong = std::chrono::hours(24);

nghttp2_nv toNv(const std::pair<std::string, std::string>& field) {
  const auto bytes = [](const std::string& s) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(s.data()));  // nghttp2 copies, its type lacks the const
  };
  return nghttp2_nv{bytes(field.first), bytes(field.second), field.first.size(), field.second.size(),
                    NGHTTP2_NV_FLAG_NONE};
}

std::vector<nghttp2_nv> toNvs(const Headers& headers) {
  std::vector<nghttp2_nv> out;
  out.reserve(headers.fields().size());
  for (const auto& field : headers.fields()) out.push_back(toNv(field));
  return out;
}

H2Stream* streamOf(nghttp2_session* session, std::int32_t id) {
  return static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(session, id));
}

}  // namespace

H2Stream::H2Stream(asio::io_context& loop, std::shared_ptr<H2Budget> shared)
    : io(loop), budget(std::move(shared)), changed(loop) {}

H2Stream::~H2Stream() {
  std::size_t unread = 0;
  for (const auto& chunk : inbox) unread += chunk.size();
  if (unread > 0 && budget->session != nullptr) budget->session->consumed(*this, unread);
}

Error H2Stream::brokenOff() const {
  if (lostConnection) return Error{Code::cancelled, "the connection was lost"};
  return makeError(Code::cancelled, "the stream was reset by the peer ({})",
                   nghttp2_http2_strerror(errorCode.value_or(NGHTTP2_CANCEL)));
}

Task<Result<std::optional<std::string>>> H2Stream::read(std::shared_ptr<H2Stream> stream) {
  for (;;) {
    if (!stream->inbox.empty()) {
      std::string chunk = std::move(stream->inbox.front());
      stream->inbox.pop_front();
      if (stream->budget->session != nullptr) stream->budget->session->consumed(*stream, chunk.size());
      co_return std::optional<std::string>(std::move(chunk));
    }
    if (stream->inEnd) co_return std::optional<std::string>();
    if (stream->session == nullptr) co_return stream->brokenOff();
    if (!stream->waitsSince) stream->waitsSince = instantNow();
    co_await stream->changed.wait(kLong);
  }
}

Task<Result<void>> H2Stream::write(std::shared_ptr<H2Stream> stream, std::string chunk) {
  if (stream->outEnd) co_return Error{Code::internal, "write after the end of the stream"};
  stream->push(std::move(chunk));
  if (stream->outBytes > kOutHigh) {
    ++stream->writersWaiting;
    while (stream->session != nullptr && stream->outBytes > kOutLow) co_await stream->changed.wait(kLong);
    --stream->writersWaiting;
  }
  if (stream->session == nullptr) co_return stream->brokenOff();
  co_return Result<void>();
}

void H2Stream::push(std::string chunk) {
  if (session == nullptr || chunk.empty() || headOnly) return;
  outBytes += chunk.size();
  outbox.push_back(std::move(chunk));
  if (outDeferred) {
    outDeferred = false;
    nghttp2_session_resume_data(session->raw(), id);
  }
  session->carrier().kick();
}

void H2Stream::end(Headers fields) {
  if (session == nullptr || outEnd) return;
  outEnd = true;
  outTrailers = std::move(fields);
  if (outDeferred) {
    outDeferred = false;
    nghttp2_session_resume_data(session->raw(), id);
  }
  session->carrier().kick();
}

void H2Stream::reset(std::uint32_t code) {
  if (session == nullptr) return;
  nghttp2_submit_rst_stream(session->raw(), NGHTTP2_FLAG_NONE, id, code);
  session->carrier().kick();
}

// The C callbacks, which find the session in `user` and the stream in its user data.
struct H2Session::Callbacks {
  static H2Session& self(void* user) { return *static_cast<H2Session*>(user); }

  static int beginHeaders(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    H2Session& me = self(user);
    if (me.side_ != Side::server || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    if (!me.headSince_) me.headSince_ = instantNow();
    const auto stream = me.makeStream();
    stream->id = frame->hd.stream_id;
    stream->session = &me;
    me.streams_.emplace(stream->id, stream);
    nghttp2_session_set_stream_user_data(session, stream->id, stream.get());
    return 0;
  }

  static int header(nghttp2_session* session, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t nameLength, const std::uint8_t* value, std::size_t valueLength, std::uint8_t,
                    void* user) {
    H2Stream* stream = streamOf(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    H2Session& me = self(user);
    me.takeField(*stream, std::string_view(reinterpret_cast<const char*>(name), nameLength),
                 std::string_view(reinterpret_cast<const char*>(value), valueLength));
    // A few bytes may name a large field of the table again and again: reading on would cost more than they did.
    return stream->headBytes > kHopeless * me.limits_.maxHeaderBytes ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
  }

  static int frameReceived(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    H2Session& me = self(user);
    if (frame->hd.type == NGHTTP2_GOAWAY) me.goawayReceived_ = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    H2Stream* stream = streamOf(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
      me.headComplete(*stream, end);
    } else if (end) {
      stream->inEnd = true;
      stream->changed.notifyAll();
    }
    // The client has its answer: what it had left to say is of no use.
    if (end && me.side_ == Side::client && !stream->outDone) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_CANCEL);
    }
    return 0;
  }

  static int data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                  std::size_t length, void* user) {
    H2Session& me = self(user);
    H2Stream* stream = streamOf(session, id);
    if (stream == nullptr) {
      nghttp2_session_consume(session, id, length);
      return 0;
    }
    const std::string_view chunk(reinterpret_cast<const char*>(bytes), length);
    if (!stream->inbox.empty() && stream->inbox.back().size() + length <= kMergeChunks) {
      stream->inbox.back().append(chunk);
    } else {
      stream->inbox.emplace_back(chunk);
    }
    stream->waitsSince.reset();
    me.budget_->buffered += length;
    if (me.budget_->buffered <= kMaxUnread) {
      nghttp2_session_consume_connection(session, length);
    } else {
      me.budget_->owed += length;
    }
    stream->changed.notifyAll();
    return 0;
  }

  static int frameSent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    H2Stream* stream = streamOf(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    stream->outDone = true;
    stream->onOver = nullptr;
    // The answer is complete while the request is not: stop the peer from sending the rest (RFC 9113 §8.1).
    if (self(user).side_ == Side::server && !stream->inEnd) {
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int streamClosed(nghttp2_session* session, std::int32_t id, std::uint32_t errorCode, void* user) {
    H2Session& me = self(user);
    const auto found = me.streams_.find(id);
    if (found == me.streams_.end()) return 0;
    const std::shared_ptr<H2Stream> stream = found->second;
    me.streams_.erase(found);
    nghttp2_session_set_stream_user_data(session, id, nullptr);
    me.over(*stream, errorCode, false);
    me.lastActivity_ = instantNow();
    me.onStreamOver();
    return 0;
  }

  static ssize_t readSource(nghttp2_session*, std::int32_t, std::uint8_t* to, std::size_t length, std::uint32_t* flags,
                            nghttp2_data_source* source, void* user) {
    return self(user).takeOut(*static_cast<H2Stream*>(source->ptr), to, length, flags);
  }
};

H2Session::H2Session(asio::io_context& io, Carrier& carrier, Side side, Limits limits)
    : io_(io), carrier_(carrier), side_(side), limits_(limits), budget_(std::make_shared<H2Budget>()) {
  budget_->session = this;
  nghttp2_session_callbacks* callbacks = nullptr;
  GRID_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Callbacks::beginHeaders);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::frameReceived);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::data);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, Callbacks::frameSent);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::streamClosed);
  nghttp2_option* option = nullptr;
  GRID_CHECK(nghttp2_option_new(&option) == 0);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  // Clients cancel many calls at a time when they end; only a flood of resets is an attack.
  nghttp2_option_set_stream_reset_rate_limit(option, 10'000, 1'000);
  if (side == Side::server) {
    GRID_CHECK(nghttp2_session_server_new2(&session_, callbacks, this, option) == 0);
  } else {
    GRID_CHECK(nghttp2_session_client_new2(&session_, callbacks, this, option) == 0);
  }
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  std::vector<nghttp2_settings_entry> settings{
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(limits.maxHeaderBytes)}};
  if (side == Side::server) {
    settings.push_back({NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.maxStreams});
    settings.push_back({NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1});
  } else {
    settings.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
  }
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
}

H2Session::~H2Session() {
  lost();
  nghttp2_session_del(session_);
}

void H2Session::receive(std::string_view bytes) {
  if (failed_) return;
  lastActivity_ = instantNow();
  const ssize_t used =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (used < 0) failed_ = true;
}

void H2Session::fill(std::string& out) {
  while (out.size() < kWriteBatch) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t n = nghttp2_session_mem_send(session_, &bytes);
    if (n < 0) failed_ = true;
    if (n <= 0) return;
    out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(n));
  }
}

bool H2Session::finished() const {
  return failed_ || (nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0);
}

void H2Session::lost() {
  if (lost_) return;
  lost_ = true;
  budget_->session = nullptr;
  const auto streams = std::move(streams_);
  streams_.clear();
  for (const auto& [id, stream] : streams) {
    nghttp2_session_set_stream_user_data(session_, id, nullptr);
    over(*stream, NGHTTP2_CANCEL, true);
  }
}

void H2Session::over(H2Stream& stream, std::uint32_t errorCode, bool lostConnection) {
  stream.session = nullptr;
  stream.errorCode = errorCode;
  stream.lostConnection = lostConnection;
  stream.outbox.clear();
  stream.outBytes = 0;
  stream.gone = !stream.outDone;
  auto callback = std::move(stream.onOver);
  stream.onOver = nullptr;
  if (stream.gone && callback) asio::post(io_.get_executor(), std::move(callback));
  stream.changed.notifyAll();
}

std::shared_ptr<H2Stream> H2Session::makeStream() { return std::make_shared<H2Stream>(io_, budget_); }

void H2Session::consumed(H2Stream& stream, std::size_t bytes) {
  budget_->buffered -= std::min(budget_->buffered, bytes);
  if (stream.session != nullptr) nghttp2_session_consume_stream(session_, stream.id, bytes);
  if (budget_->owed > 0 && budget_->buffered < kMaxUnread / 2) {
    nghttp2_session_consume_connection(session_, std::exchange(budget_->owed, 0));
  }
  if (nghttp2_session_want_write(session_) != 0) carrier_.kick();
}

void H2Session::takeField(H2Stream& stream, std::string_view name, std::string_view value) {
  stream.headBytes += name.size() + value.size() + 32;
  if (stream.headBytes > limits_.maxHeaderBytes) stream.headTooLarge = true;
  if (stream.headTooLarge) return;
  if (stream.headDone) return stream.trailers.add(std::string(name), std::string(value));
  if (name.front() == ':') {
    if (name == ":method") stream.method = value;
    if (name == ":scheme") stream.scheme = value;
    if (name == ":authority") stream.authority = value;
    if (name == ":path") stream.path = value;
    if (name == ":protocol") stream.protocol = value;
    if (name == ":status") stream.status = value;
    return;
  }
  if (name == "cookie") {  // may come in pieces, RFC 9113 §8.2.3
    if (!stream.cookies.empty()) stream.cookies += "; ";
    stream.cookies += value;
    return;
  }
  stream.headers.add(std::string(name), std::string(value));
}

void H2Session::headComplete(H2Stream& stream, bool end) {
  headSince_.reset();
  const bool interim = side_ == Side::client && !stream.headDone && stream.status.starts_with('1');
  if (interim) {
    stream.headers = Headers();
    stream.status.clear();
    return;
  }
  if (end) stream.inEnd = true;
  if (!stream.headDone) {
    stream.headDone = true;
    if (!stream.cookies.empty()) stream.headers.add("cookie", std::move(stream.cookies));
    if (const auto found = streams_.find(stream.id); found != streams_.end()) onHead(found->second);
  }
  stream.changed.notifyAll();
}

ssize_t H2Session::takeOut(H2Stream& stream, std::uint8_t* to, std::size_t length, std::uint32_t* flags) {
  std::size_t done = 0;
  while (done < length && !stream.outbox.empty()) {
    const std::string& front = stream.outbox.front();
    const std::size_t n = std::min(length - done, front.size() - stream.outOffset);
    std::memcpy(to + done, front.data() + stream.outOffset, n);
    done += n;
    stream.outOffset += n;
    if (stream.outOffset == front.size()) {
      stream.outbox.pop_front();
      stream.outOffset = 0;
    }
  }
  stream.outBytes -= done;
  if (stream.writersWaiting > 0 && stream.outBytes <= kOutLow) stream.changed.notifyAll();
  if (stream.outbox.empty() && stream.outEnd) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!stream.outTrailers.empty()) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const auto nvs = toNvs(stream.outTrailers);
      nghttp2_submit_trailer(session_, stream.id, nvs.data(), nvs.size());
    }
    return static_cast<ssize_t>(done);
  }
  if (done > 0) return static_cast<ssize_t>(done);
  stream.outDeferred = true;
  return NGHTTP2_ERR_DEFERRED;
}

Result<void> H2Session::submitResponse(H2Stream& stream, const Headers& fields, bool end) {
  const auto nvs = toNvs(fields);
  nghttp2_data_provider provider{};
  provider.source.ptr = &stream;
  provider.read_callback = Callbacks::readSource;
  const int rc = nghttp2_submit_response(session_, stream.id, nvs.data(), nvs.size(), end ? nullptr : &provider);
  if (rc != 0) return makeError(Code::internal, "send an HTTP/2 response: {}", nghttp2_strerror(rc));
  stream.outHead = true;
  if (end) stream.outEnd = true;
  carrier_.kick();
  return {};
}

Result<void> H2Session::submitRequest(const std::shared_ptr<H2Stream>& stream, const Headers& fields, bool end) {
  const auto nvs = toNvs(fields);
  nghttp2_data_provider provider{};
  provider.source.ptr = stream.get();
  provider.read_callback = Callbacks::readSource;
  const std::int32_t id =
      nghttp2_submit_request(session_, nullptr, nvs.data(), nvs.size(), end ? nullptr : &provider, stream.get());
  if (id < 0) return makeError(Code::unavailable, "send an HTTP/2 request: {}", nghttp2_strerror(id));
  stream->id = id;
  stream->session = this;
  stream->outHead = true;
  if (end) stream->outEnd = true;
  streams_.emplace(id, stream);
  carrier_.kick();
  return {};
}

void H2Session::resetStarving(Instant now, Nanos limit) {
  for (const auto& [id, stream] : streams_) {
    const bool starves = stream->mayStarve && stream->waitsSince && !stream->outHead && !stream->inEnd;
    if (starves && now - *stream->waitsSince > limit) stream->reset(NGHTTP2_CANCEL);
  }
}

void H2Session::goaway() {
  nghttp2_session_terminate_session(session_, NGHTTP2_NO_ERROR);
  carrier_.kick();
}

}  // namespace gridiron::net
