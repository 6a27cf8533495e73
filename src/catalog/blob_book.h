#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "blob/blob.h"
#include "catalog/sealer.h"
#include "model/ids.h"
#include "store/store.h"

namespace gridiron {

// The clients' blob ids: names for bytes in blob::Blobs. An id is made from the content's hash, so it tells nothing of
// others' and the same bytes have the same id. Loop thread only.
class BlobBook {
 public:
  BlobBook(Store& store, blob::Blobs& blobs, const Sealer& sealer, const Clock& clock, std::string workspace);

  // A name for bytes that will be (or are) here.
  Result<BlobId> name(const Sha256& content);
  Result<Sha256> contentOf(const BlobId& id) const;
  // notFound when the bytes were never uploaded.
  Result<std::string> read(const BlobId& id) const;
  Result<BlobId> put(std::string_view bytes);
  bool has(const BlobId& id) const;
  // A file with the bytes.
  Result<std::string> path(const BlobId& id) const;

  blob::Blobs& bytes() { return blobs_; }

  // "?until=…&sig=…" of a URL that is good for one verb on one path until then.
  std::string signatureFor(const std::string& verb, const std::string& path, Nanos lifetime) const;
  bool verify(const std::string& verb, const std::string& path, const std::string& until,
              const std::string& signature) const;

 private:
  Store& store_;
  blob::Blobs& blobs_;
  const Sealer& sealer_;
  const Clock& clock_;
  const std::string workspace_;
  mutable std::unordered_map<BlobId, Sha256> names_;
};

}  // namespace gridiron
