#include "edge/http/blobs.h"

#include <boost/asio/ip/address.hpp>
#include <map>
#include <regex>

#include "base/digest.h"
#include "base/id.h"
#include "edge/http/answers.h"
#include "edge/http/router.h"
#include "modal_proto/api.pb.h"

// GCC 12 takes the frames of coroutines that it inlines for freed by another allocator.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;

constexpr Nanos kUrlLifetime = std::chrono::hours(24);
constexpr std::int64_t kPart = 256LL << 20;
constexpr std::int64_t kMostInOnePart = 1LL << 30;  // above it clients insist on parts
constexpr std::uint64_t kChunk = 1u << 20;
constexpr std::size_t kMostUploads = 10'000;

// A path below /blobs/: "<id>", "<id>/<upload>" or "<id>/<upload>/<part>".
struct Target {
  std::string path;  // without the query
  BlobId blob;
  std::string upload;
  int part = 0;  // from 1
  std::string until, signature;
};

std::optional<Target> readTarget(const std::string& target) {
  static const std::regex form(
      R"((/blobs/(bl-[A-Za-z0-9]{22})(?:/([A-Za-z0-9]{16})(?:/([0-9]{1,5}))?)?)\?until=([0-9]{1,12})&sig=([A-Za-z0-9_-]{20,60}))");
  std::smatch found;
  if (target.size() > 300 || !std::regex_match(target, found, form)) return std::nullopt;
  return Target{found[1], {found[2]}, found[3], found[4].matched ? std::stoi(found[4]) : 0, found[5], found[6]};
}

// The one host check that Python clients make of single upload addresses.
bool pythonTrusts(const std::string& authority) {
  const std::string host = hostOf(authority);
  if (host == "localhost") return true;
  boost::system::error_code failed;
  const auto address = boost::asio::ip::make_address(host, failed);
  if (failed || !address.is_v4()) return false;
  const auto bytes = address.to_v4().to_bytes();
  return bytes[0] == 127 || bytes[0] == 10 || (bytes[0] == 192 && bytes[1] == 168) ||
         (bytes[0] == 172 && bytes[1] >= 16 && bytes[1] < 32);
}

struct Part {
  Sha256 content;
  std::string md5;
  std::uint64_t size = 0;
};

std::string quoted(const std::string& tag) { return '"' + tag + '"'; }

}  // namespace

struct BlobDoor::Impl {
  Impl(BlobBook& book, GridConfig given) : blobs(book), config(std::move(given)) {}
  BlobBook& blobs;
  const GridConfig config;
  std::map<std::string, std::map<int, Part>> uploads;

  std::string base(const Caller& caller) const {
    if (caller.kind == Caller::Kind::container) return "http://" + config.containerAuthority;
    if (caller.host.empty()) return config.publicUrl;
    return (caller.scheme.empty() ? "http" : caller.scheme) + "://" + caller.host;
  }
  std::string url(const Caller& caller, const std::string& verb, const std::string& path) const {
    return base(caller) + path + blobs.signatureFor(verb, path, kUrlLifetime);
  }

  Result<api::BlobCreateResponse> create(const Caller& caller, const api::BlobCreateRequest& request) {
    const auto raw = base64Decode(request.content_sha256_base64());
    const auto content = raw ? Sha256::fromHex(hexEncode(*raw)) : std::nullopt;
    if (!content) return Error{Code::invalidArgument, "content_sha256_base64 is no SHA-256 in base64"};
    if (request.content_length() < 0) return Error{Code::invalidArgument, "content_length is negative"};
    ASSIGN_OR_RETURN(BlobId id, blobs.name(*content));
    api::BlobCreateResponse response;
    response.set_blob_id(id.str());
    response.add_blob_ids(id.str());
    const bool python =
        caller.clientType != api::CLIENT_TYPE_LIBMODAL_JS && caller.clientType != api::CLIENT_TYPE_LIBMODAL_GO;
    const bool inParts = request.content_length() > kMostInOnePart || (python && !pythonTrusts(hostFor(caller)));
    if (!inParts) {
      const std::string to = url(caller, "PUT", "/blobs/" + id.str());
      response.set_upload_url(to);
      response.mutable_upload_urls()->add_items(to);
      return response;
    }
    api::MultiPartUpload& upload = *response.mutable_multiparts()->add_items();
    const std::string path = "/blobs/" + id.str() + "/" + randomAlnum(16);
    const auto parts = std::max<std::int64_t>(1, (request.content_length() + kPart - 1) / kPart);
    upload.set_part_length(parts == 1 ? std::max<std::int64_t>(1, request.content_length()) : kPart);
    for (std::int64_t part = 1; part <= parts; ++part)
      upload.add_upload_urls(url(caller, "PUT", path + "/" + std::to_string(part)));
    upload.set_completion_url(url(caller, "POST", path));
    *response.mutable_multipart() = upload;
    return response;
  }

  std::string hostFor(const Caller& caller) const {
    const std::string all = base(caller);
    return all.substr(all.find("://") + 3);
  }
};

namespace {

Task<void> answer(std::shared_ptr<net::Exchange> exchange, Answer given) {
  [[maybe_unused]] Result<void> sent =
      co_await exchange->answer(given.status, std::move(given.headers), std::move(given.body));
}

Answer tagged(const std::string& tag, std::string body) {
  Answer given{200, {}, std::move(body)};
  given.headers.add("etag", quoted(tag));
  return given;
}

// The request's body into a new file.
Task<Result<Part>> receive(std::shared_ptr<net::Exchange> exchange, blob::Blobs& bytes,
                           std::optional<Sha256> expected) {
  Result<blob::Writer> opened = bytes.writer();
  if (!opened.ok()) co_return opened.error();
  blob::Writer writer = std::move(*opened);
  while (true) {
    Result<std::optional<std::string>> piece = co_await exchange->read();
    if (!piece.ok()) co_return piece.error();
    if (!piece->has_value()) break;
    Result<void> written = writer.write(**piece);
    if (!written.ok()) co_return written.error();
  }
  Part part;
  part.size = writer.size();
  Result<Sha256> content = writer.finish(expected);
  if (!content.ok()) co_return content.error();
  part.content = *content;
  part.md5 = writer.md5();
  co_return part;
}

// Puts the parts together as `expected`. Gives way to others between pieces.
Task<Result<void>> assemble(std::map<int, Part> parts, blob::Blobs& bytes, Sha256 expected) {
  if (parts.size() == 1 && parts.begin()->second.content == expected) co_return Result<void>();
  Result<blob::Writer> opened = bytes.writer();
  if (!opened.ok()) co_return opened.error();
  blob::Writer writer = std::move(*opened);
  auto executor = co_await asio::this_coro::executor;
  for (const auto& [number, part] : parts) {
    for (std::uint64_t at = 0; at < part.size; at += kChunk) {
      Result<std::string> piece = bytes.readRange(part.content, at, kChunk);
      if (!piece.ok()) co_return piece.error();
      Result<void> written = writer.write(*piece);
      if (!written.ok()) co_return written.error();
      co_await asio::post(executor, useTask);
    }
  }
  Result<Sha256> done = writer.finish(expected);
  if (!done.ok()) co_return done.error();
  for (const auto& [number, part] : parts) {
    if (part.content != expected) [[maybe_unused]]
      Result<void> removed = bytes.remove(part.content);
  }
  co_return Result<void>();
}

Task<void> put(std::shared_ptr<net::Exchange> exchange, BlobDoor::Impl& impl, Target target);

}  // namespace

BlobDoor::BlobDoor(BlobBook& blobs, GridConfig config) : impl_(std::make_shared<Impl>(blobs, std::move(config))) {}
BlobDoor::~BlobDoor() = default;

std::string BlobDoor::downloadUrl(const Caller& caller, const BlobId& blob) const {
  return impl_->url(caller, "GET", "/blobs/" + blob.str());
}

void BlobDoor::registerRpcs(RpcServer& server) {
  server.unary<api::BlobCreateRequest, api::BlobCreateResponse>(
      "BlobCreate", {.once = true}, [impl = impl_](Context& context, api::BlobCreateRequest request) {
        return impl->create(context.caller, request);
      });
  server.unary<api::BlobGetRequest, api::BlobGetResponse>(
      "BlobGet", {}, [impl = impl_](Context& context, api::BlobGetRequest request) -> Result<api::BlobGetResponse> {
        const BlobId id{request.blob_id()};
        if (!impl->blobs.has(id)) return makeError(Code::notFound, "Blob '{}' not found", id.str());
        api::BlobGetResponse response;
        response.set_download_url(impl->url(context.caller, "GET", "/blobs/" + id.str()));
        return response;
      });
}

namespace {

Task<void> put(std::shared_ptr<net::Exchange> exchange, BlobDoor::Impl& impl, Target target) {
  const Result<Sha256> content = impl.blobs.contentOf(target.blob);
  if (!content.ok()) {
    Answer given = errorAnswer(content.error());
    co_await answer(exchange, std::move(given));
    co_return;
  }
  const bool whole = target.upload.empty();
  if (!whole && impl.uploads.size() >= kMostUploads && !impl.uploads.contains(target.upload)) {
    Answer given = textAnswer(503, "too many uploads are under way");
    co_await answer(exchange, std::move(given));
    co_return;
  }
  Result<Part> part =
      co_await receive(exchange, impl.blobs.bytes(), whole ? std::optional<Sha256>(*content) : std::nullopt);
  if (!part.ok()) {
    const bool other = part.error().code == Code::dataLoss;
    Answer refusal = other ? textAnswer(400, "the bytes are not those that were announced: their SHA-256 differs")
                           : errorAnswer(part.error());
    co_await answer(exchange, std::move(refusal));
    co_return;
  }
  if (!whole) impl.uploads[target.upload][target.part] = *part;
  Answer given = tagged(hexEncode(part->md5), "");
  co_await answer(exchange, std::move(given));
}

Task<void> complete(std::shared_ptr<net::Exchange> exchange, BlobDoor::Impl& impl, Target target) {
  const Result<Sha256> content = impl.blobs.contentOf(target.blob);
  const auto found = impl.uploads.find(target.upload);
  if (!content.ok() || found == impl.uploads.end()) {
    Answer given = textAnswer(404, "no parts of this upload are here");
    co_await answer(exchange, std::move(given));
    co_return;
  }
  const std::map<int, Part> parts = found->second;
  Result<void> done = co_await assemble(parts, impl.blobs.bytes(), *content);
  if (!done.ok()) {
    Answer refusal = done.error().code == Code::dataLoss
                         ? textAnswer(400, "the parts together are not the bytes that were announced")
                         : errorAnswer(done.error());
    co_await answer(exchange, std::move(refusal));
    co_return;
  }
  impl.uploads.erase(target.upload);
  std::string all;
  for (const auto& [number, part] : parts) all += part.md5;
  const auto sum = md5(all);
  const std::string tag =
      hexEncode({reinterpret_cast<const char*>(sum.data()), sum.size()}) + "-" + std::to_string(parts.size());
  std::string body = R"(<?xml version="1.0" encoding="UTF-8"?><CompleteMultipartUploadResult><ETag>")" + tag +
                     "\"</ETag></CompleteMultipartUploadResult>";
  Answer given = tagged(tag, std::move(body));
  co_await answer(exchange, std::move(given));
}

Task<void> get(std::shared_ptr<net::Exchange> exchange, BlobDoor::Impl& impl, Target target) {
  const Result<Sha256> content = impl.blobs.contentOf(target.blob);
  const auto size = content.ok() ? impl.blobs.bytes().size(*content) : std::nullopt;
  if (!size) {
    Answer given = textAnswer(404, "no such blob");
    co_await answer(exchange, std::move(given));
    co_return;
  }
  net::Headers headers;
  headers.add("content-type", "application/octet-stream");
  headers.add("content-length", std::to_string(*size));
  Result<void> sent = co_await exchange->respond(200, std::move(headers), *size == 0);
  for (std::uint64_t at = 0; sent.ok() && at < *size; at += kChunk) {
    Result<std::string> piece = impl.blobs.bytes().readRange(*content, at, kChunk);
    if (!piece.ok() || piece->empty()) {
      exchange->abort();
      co_return;
    }
    sent = co_await exchange->write(std::move(*piece));
  }
  if (sent.ok() && *size > 0) sent = co_await exchange->finish();
}

}  // namespace

Task<void> BlobDoor::serve(std::shared_ptr<net::Exchange> exchange) {
  const std::shared_ptr<Impl> impl = impl_;
  const std::string method = exchange->head().method;
  const auto target = readTarget(exchange->head().target);
  if (!target || !impl->blobs.verify(method, target->path, target->until, target->signature)) {
    Answer given = textAnswer(403, "this address is not (any more) good for that");
    co_await answer(exchange, std::move(given));
    co_return;
  }
  if (method == "PUT" && target->upload.empty() == (target->part == 0)) {
    co_await put(exchange, *impl, *target);
  } else if (method == "POST" && !target->upload.empty() && target->part == 0) {
    co_await complete(exchange, *impl, *target);
  } else if (method == "GET" && target->upload.empty()) {
    co_await get(exchange, *impl, *target);
  } else {
    Answer given = textAnswer(405, "blobs are put and got");
    co_await answer(exchange, std::move(given));
  }
}

}  // namespace gridiron::edge
