#include "edge/rpc/objects.h"
#include "modal_proto/api.pb.h"

namespace gridiron::edge {

namespace {

namespace api = ::modal::client;

Result<Mount> getOrCreate(const ObjectParts& parts, const api::MountGetOrCreateRequest& request) {
  const bool lookup = request.object_creation_type() == api::OBJECT_CREATION_TYPE_UNSPECIFIED;
  if (lookup && request.namespace_() == api::DEPLOYMENT_NAMESPACE_GLOBAL)
    return parts.catalog.mounts().global(request.deployment_name());
  if (!request.deployment_name().empty())
    return makeError(Code::unimplemented, "Mount '{}' not found: named mounts are not in this version of Gridiron",
                     request.deployment_name());
  std::vector<MountFile> files;
  for (const api::MountFile& file : request.files()) {
    const auto content = Sha256::fromHex(file.sha256_hex());
    if (!content)
      return makeError(Code::invalidArgument, "'{}' of {} is no SHA-256", file.sha256_hex(), file.filename());
    files.push_back({file.filename(), *content, file.mode(), 0});
  }
  return parts.catalog.mounts().put(std::move(files));
}

Result<api::MountPutFileResponse> putFile(const ObjectParts& parts, const api::MountPutFileRequest& request) {
  const auto content = Sha256::fromHex(request.sha256_hex());
  if (!content) return makeError(Code::invalidArgument, "'{}' is no SHA-256", request.sha256_hex());
  blob::Blobs& bytes = parts.catalog.blobs().bytes();
  api::MountPutFileResponse response;
  if (request.data_oneof_case() == api::MountPutFileRequest::kData) {
    if (sha256(request.data()) != *content)
      return makeError(Code::invalidArgument, "the bytes sent do not have the SHA-256 {}", request.sha256_hex());
    Result<Sha256> put = bytes.put(request.data());
    if (!put.ok()) return put.error();
  } else if (request.data_oneof_case() == api::MountPutFileRequest::kDataBlobId) {
    ASSIGN_OR_RETURN(Sha256 uploaded, parts.catalog.blobs().contentOf(BlobId{request.data_blob_id()}));
    if (uploaded != *content)
      return makeError(Code::invalidArgument, "blob '{}' does not have the SHA-256 {}", request.data_blob_id(),
                       request.sha256_hex());
  }
  response.set_exists(bytes.has(*content));
  return response;
}

}  // namespace

void registerMounts(RpcServer& server, ObjectParts parts) {
  server.unary<api::MountGetOrCreateRequest, api::MountGetOrCreateResponse>(
      "MountGetOrCreate",
      {.once = false, .works = Works::partly, .note = "no named mounts but the client's own package"},
      [parts](Context&, api::MountGetOrCreateRequest request) -> Result<api::MountGetOrCreateResponse> {
        ASSIGN_OR_RETURN(Mount mount, getOrCreate(parts, request));
        api::MountGetOrCreateResponse response;
        response.set_mount_id(mount.id.str());
        response.mutable_handle_metadata()->set_content_checksum_sha256_hex(checksumOf(mount).hex());
        return response;
      });
  server.unary<api::MountPutFileRequest, api::MountPutFileResponse>(
      "MountPutFile", {}, [parts](Context&, api::MountPutFileRequest request) { return putFile(parts, request); });
  server.unary<api::MountBatchedCheckExistenceRequest, api::MountBatchedCheckExistenceResponse>(
      "MountBatchedCheckExistence", {}, [parts](Context&, api::MountBatchedCheckExistenceRequest request) {
        api::MountBatchedCheckExistenceResponse response;
        for (const std::string& hex : request.sha256_hex_hashes()) {
          const auto content = Sha256::fromHex(hex);
          if (!content || !parts.catalog.blobs().bytes().has(*content)) response.add_missing_sha256_hex_hashes(hex);
        }
        return Result<api::MountBatchedCheckExistenceResponse>(std::move(response));
      });
}

}  // namespace gridiron::edge
