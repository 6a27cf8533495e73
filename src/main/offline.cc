#include "main/offline.h"

#include "blob/blob.h"
#include "catalog/catalog.h"
#include "edge/dash/admin.h"
#include "edge/dash/text.h"
#include "main/data_folder.h"
#include "meter/meter.h"
#include "store/store.h"

namespace gridiron {

Result<nlohmann::json> askOffline(const Settings& settings, const AdminRequest& request) {
  ASSIGN_OR_RETURN(auto folder, DataFolder::lock(settings.data));
  ASSIGN_OR_RETURN(auto store, openSqliteStore(databasePath(folder.path())));
  ASSIGN_OR_RETURN(auto blobs, blob::Blobs::open(blobsPath(folder.path())));
  SystemClock clock;
  Catalog::Options options;
  options.keyFile = keyPath(folder.path());
  options.workspace = settings.workspace;
  ASSIGN_OR_RETURN(auto catalog, Catalog::open(*store, blobs, clock, options));
  Meter meter(*store, clock);

  edge::AdminApi api({.store = *store,
                      .catalog = *catalog,
                      .meter = meter,
                      .clock = clock,
                      .fleet = nullptr,
                      .calls = nullptr,
                      .schedules = nullptr,
                      .url = publicUrlOf(settings),
                      .domain = settings.domain,
                      .version = GRIDIRON_VERSION});
  auto target = edge::parseTarget(request.target);
  auto answer = api.answer({request.method, target.path, target.query, request.body});
  if (answer.status < 200 || answer.status > 299) return adminError(answer.status, answer.body.dump());
  return answer.body;
}

}  // namespace gridiron
