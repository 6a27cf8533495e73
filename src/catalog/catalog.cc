#include "catalog/catalog.h"

#include "base/id.h"
#include "catalog/records.h"

namespace gridiron {

namespace {

// The store's workspace, or a new one of that name.
Result<Workspace> openWorkspace(Store& store, const Clock& clock, const std::string& name) {
  ASSIGN_OR_RETURN(auto objects, store.list(records::all("workspace")));
  if (!objects.empty()) return Workspace{objects.front().id, objects.front().name, objects.front().createdAt};
  Workspace made{randomId("ac"), name, clock.now()};
  Batch batch;
  batch.put(Object{"workspace", made.id, name, "", name, true, made.createdAt, ""});
  RETURN_IF_ERROR(store.apply(batch));
  return made;
}

}  // namespace

Catalog::Catalog(Store& store, blob::Blobs& blobs, const Clock& clock, Sealer sealer, Workspace workspace,
                 Options options)
    : options_(std::move(options)),
      clock_(clock),
      sealer_(std::move(sealer)),
      workspace_(std::move(workspace)),
      tokens_(store, clock, workspace_.name),
      proxyTokens_(store, clock, workspace_.name, {"proxy_token", "wk", "ws"}),
      environments_(store, clock, workspace_.name),
      secrets_(store, sealer_, clock, workspace_.name),
      mounts_(store, blobs, clock, workspace_.name),
      images_(store, clock, workspace_.name),
      blobs_(store, blobs, sealer_, clock, workspace_.name),
      queues_(store, clock, workspace_.name),
      dicts_(store, clock, workspace_.name),
      apps_(store, environments_, clock, workspace_.name, options_.apps) {}

Result<std::unique_ptr<Catalog>> Catalog::open(Store& store, blob::Blobs& blobs, const Clock& clock, Options options) {
  Result<Sealer> sealer = options.keyFile.empty() ? Result<Sealer>(Sealer::ephemeral()) : Sealer::open(options.keyFile);
  if (!sealer.ok()) return sealer.error();
  ASSIGN_OR_RETURN(Workspace workspace, openWorkspace(store, clock, options.workspace));
  std::unique_ptr<Catalog> catalog(new Catalog(store, blobs, clock, *sealer, workspace, std::move(options)));
  RETURN_IF_ERROR(catalog->tokens_.load());
  RETURN_IF_ERROR(catalog->proxyTokens_.load());
  RETURN_IF_ERROR(catalog->environments_.load());
  RETURN_IF_ERROR(catalog->secrets_.load());
  RETURN_IF_ERROR(catalog->images_.load());
  RETURN_IF_ERROR(catalog->queues_.load());
  RETURN_IF_ERROR(catalog->dicts_.load());
  RETURN_IF_ERROR(catalog->apps_.load());
  return catalog;
}

void Catalog::expire() {
  if (clock_.now() - expiredAt_ < std::chrono::minutes(1)) return;
  expiredAt_ = clock_.now();
  queues_.expire();
  dicts_.expire();
}

Result<void> Catalog::eraseEnvironment(const std::string& name) {
  ASSIGN_OR_RETURN(Environment environment, environments_.resolve(name));
  for (const App& app : apps_.list(environment.name)) {
    if (isLive(app.state))
      return makeError(Code::failedPrecondition, "environment '{}' has the app '{}': stop it first", environment.name,
                       app.name.empty() ? app.description : app.name);
  }
  const auto secrets = secrets_.list(environment.name);
  if (!secrets.empty())
    return makeError(Code::failedPrecondition, "environment '{}' has the secret '{}': delete it first",
                     environment.name, secrets.front().name);
  const auto queues = queues_.book().list(environment.name);
  if (!queues.empty())
    return makeError(Code::failedPrecondition, "environment '{}' has the queue '{}': delete it first", environment.name,
                     queues.front().name);
  const auto dicts = dicts_.book().list(environment.name);
  if (!dicts.empty())
    return makeError(Code::failedPrecondition, "environment '{}' has the dict '{}': delete it first", environment.name,
                     dicts.front().name);
  return environments_.erase(environment.name);
}

}  // namespace gridiron
