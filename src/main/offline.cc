#include "main/offline.h"

#include "catalog/environments.h"
#include "catalog/sealer.h"
#include "catalog/secrets.h"
#include "catalog/tokens.h"
#include "edge/dash/admin.h"
#include "edge/dash/text.h"
#include "main/data_folder.h"
#include "meter/meter.h"
#include "store/store.h"

namespace gridiron {

Result<nlohmann::json> askOffline(const Settings& settings, const AdminRequest& request) {
  ASSIGN_OR_RETURN(auto folder, DataFolder::lock(settings.data));
  ASSIGN_OR_RETURN(auto store, openSqliteStore(databasePath(folder.path())));
  ASSIGN_OR_RETURN(auto sealer, Sealer::open(keyPath(folder.path())));
  SystemClock clock;
  Tokens tokens(*store, clock, settings.workspace);
  Environments environments(*store, clock, settings.workspace);
  Secrets secrets(*store, sealer, clock, settings.workspace);
  Meter meter(*store, clock);
  RETURN_IF_ERROR(tokens.load());
  RETURN_IF_ERROR(environments.load());
  RETURN_IF_ERROR(secrets.load());

  edge::AdminApi api({.store = *store,
                      .tokens = tokens,
                      .secrets = secrets,
                      .environments = environments,
                      .meter = meter,
                      .clock = clock,
                      .fleet = nullptr,
                      .calls = nullptr,
                      .workspace = settings.workspace,
                      .url = publicUrlOf(settings),
                      .domain = settings.domain,
                      .version = GRIDIRON_VERSION});
  auto target = edge::parseTarget(request.target);
  auto answer = api.answer({request.method, target.path, target.query, request.body});
  if (answer.status < 200 || answer.status > 299) return adminError(answer.status, answer.body.dump());
  return answer.body;
}

}  // namespace gridiron
