#pragma once

#include <memory>
#include <string>

#include "catalog/blob_book.h"
#include "catalog/grid_config.h"
#include "edge/rpc/server.h"
#include "net/http.h"

namespace gridiron::edge {

// Blobs over HTTP, by URLs that BlobCreate and BlobGet sign: PUT and GET /blobs/<id>, and the parts of large ones, put
// together by a POST. Answers as S3 does, as far as clients look (ETag = MD5 of the bytes). Loop thread only; outlives
// the exchanges it serves and the server it is registered with.
class BlobDoor {
 public:
  BlobDoor(BlobBook& blobs, GridConfig config);
  ~BlobDoor();

  Task<void> serve(std::shared_ptr<net::Exchange> exchange);
  void registerRpcs(RpcServer& server);  // BlobCreate, BlobGet

  // The URL of the bytes for this caller: on the host by which it reached us.
  std::string downloadUrl(const Caller& caller, const BlobId& blob) const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace gridiron::edge
