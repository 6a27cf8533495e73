#include "catalog/blob_book.h"

#include <charconv>

#include "base/digest.h"
#include "base/id.h"
#include "catalog/records.h"

namespace gridiron {

BlobBook::BlobBook(Store& store, blob::Blobs& blobs, const Sealer& sealer, const Clock& clock, std::string workspace)
    : store_(store), blobs_(blobs), sealer_(sealer), clock_(clock), workspace_(std::move(workspace)) {}

Result<BlobId> BlobBook::name(const Sha256& content) {
  // Keyed, so that knowing a content does not give a name to read it by.
  const BlobId id{contentId(BlobTag::prefix, sealer_.sign("blob id", content.hex()))};
  if (contentOf(id).ok()) return id;
  Batch batch;
  batch.put(Object{"blob", id.str(), workspace_, "", "", true, clock_.now(), content.hex()});
  RETURN_IF_ERROR(store_.apply(batch));
  names_[id] = content;
  return id;
}

Result<Sha256> BlobBook::contentOf(const BlobId& id) const {
  if (const auto found = names_.find(id); found != names_.end()) return found->second;
  ASSIGN_OR_RETURN(auto object, store_.get("blob", id.str()));
  const auto content = object ? Sha256::fromHex(object->body) : std::nullopt;
  if (!content) return makeError(Code::notFound, "Blob '{}' not found", id.str());
  if (names_.size() > 100'000) names_.clear();
  names_[id] = *content;
  return *content;
}

Result<std::string> BlobBook::read(const BlobId& id) const {
  ASSIGN_OR_RETURN(Sha256 content, contentOf(id));
  if (!blobs_.has(content)) return makeError(Code::notFound, "Blob '{}' has not been uploaded", id.str());
  return blobs_.read(content);
}

Result<BlobId> BlobBook::put(std::string_view bytes) {
  ASSIGN_OR_RETURN(Sha256 content, blobs_.put(bytes));
  return name(content);
}

bool BlobBook::has(const BlobId& id) const {
  const auto content = contentOf(id);
  return content.ok() && blobs_.has(*content);
}

Result<std::string> BlobBook::path(const BlobId& id) const {
  ASSIGN_OR_RETURN(Sha256 content, contentOf(id));
  if (!blobs_.has(content)) return makeError(Code::notFound, "Blob '{}' has not been uploaded", id.str());
  return blobs_.path(content);
}

namespace {
std::string urlText(const std::string& verb, const std::string& path, const std::string& until) {
  return verb + "\n" + path + "\n" + until;
}
}  // namespace

std::string BlobBook::signatureFor(const std::string& verb, const std::string& path, Nanos lifetime) const {
  const std::string until = std::to_string(toMillis(clock_.now() + lifetime) / 1000);
  return "?until=" + until + "&sig=" + base64UrlEncode(sealer_.sign("url", urlText(verb, path, until)));
}

bool BlobBook::verify(const std::string& verb, const std::string& path, const std::string& until,
                      const std::string& signature) const {
  std::int64_t seconds = 0;
  const auto read = std::from_chars(until.data(), until.data() + until.size(), seconds);
  if (read.ec != std::errc() || seconds < toMillis(clock_.now()) / 1000) return false;
  const auto given = base64Decode(signature);
  return given && equalConstantTime(*given, sealer_.sign("url", urlText(verb, path, until)));
}

}  // namespace gridiron
