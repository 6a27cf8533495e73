#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "blob/blob.h"
#include "catalog/apps.h"
#include "catalog/blob_book.h"
#include "catalog/dicts.h"
#include "catalog/environments.h"
#include "catalog/images.h"
#include "catalog/mounts.h"
#include "catalog/queues.h"
#include "catalog/sealer.h"
#include "catalog/secrets.h"
#include "catalog/tokens.h"
#include "store/store.h"

namespace gridiron {

// A data folder has one.
struct Workspace {
  std::string id;    // "ac-…"
  std::string name;  // first part of its functions' host names
  Time createdAt{};
};

// Everything people have put on the grid. Loop thread only.
class Catalog {
 public:
  struct Options {
    std::string keyFile;                     // the grid's key, made when it is not there; "" = one in memory
    std::string workspace = "gridiron";      // name for a fresh store; an older one keeps its own
    std::string builderVersion = "2025.06";  // of images, where an environment does not say
    Apps::Options apps = {};
  };
  // Loads what the store has, or begins. `store`, `blobs` and `clock` outlive it.
  static Result<std::unique_ptr<Catalog>> open(Store& store, blob::Blobs& blobs, const Clock& clock, Options options);

  const Workspace& workspace() const { return workspace_; }
  const Sealer& sealer() const { return sealer_; }
  Tokens& tokens() { return tokens_; }
  // Of those who ask web functions that want a token (requires_proxy_auth).
  TokenBook& proxyTokens() { return proxyTokens_; }
  Environments& environments() { return environments_; }
  Secrets& secrets() { return secrets_; }
  Mounts& mounts() { return mounts_; }
  ImageBook& images() { return images_; }
  BlobBook& blobs() { return blobs_; }
  Queues& queues() { return queues_; }
  Dicts& dicts() { return dicts_; }
  Apps& apps() { return apps_; }
  const Apps& apps() const { return apps_; }

  std::string builderVersionOf(const Environment& environment) const {
    return environment.builderVersion.empty() ? options_.builderVersion : environment.builderVersion;
  }
  // Ends what has expired in queues and dicts. Looks once a minute at most, however often it is called.
  void expire();
  // notFound; failedPrecondition when something named is still in it.
  Result<void> eraseEnvironment(const std::string& name);

  // For doors that deal with people: the same as in tokens().
  Result<Token> authenticate(const std::string& id, const std::string& secret) const {
    return tokens_.check(id, secret);
  }
  std::optional<TokenFlow> tokenFlow(const std::string& id) const { return tokens_.flow(id); }
  Result<void> approveTokenFlow(const std::string& id, const std::string& username) {
    return tokens_.approveFlow(id, username);
  }
  Result<void> refuseTokenFlow(const std::string& id) { return tokens_.refuseFlow(id); }

 private:
  Catalog(Store& store, blob::Blobs& blobs, const Clock& clock, Sealer sealer, Workspace workspace, Options options);

  const Options options_;
  const Clock& clock_;
  const Sealer sealer_;
  const Workspace workspace_;
  Tokens tokens_;
  TokenBook proxyTokens_;
  Environments environments_;
  Secrets secrets_;
  Mounts mounts_;
  ImageBook images_;
  BlobBook blobs_;
  Queues queues_;
  Dicts dicts_;
  Apps apps_;
  Time expiredAt_{};
};

}  // namespace gridiron
