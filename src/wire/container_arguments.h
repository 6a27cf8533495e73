#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "catalog/catalog.h"
#include "fleet/fleet.h"
#include "modal_proto/api.pb.h"
#include "model/app.h"
#include "model/function.h"

namespace gridiron::wire {

// Writes what clients are told of a function (FunctionHandleMetadata): the RPCs that look functions up have it.
using HandleWriter = std::function<void(const Function&, ::modal::client::FunctionHandleMetadata&)>;

// The layout of an app as its containers (and clients that deploy again) read it: ids by tag, and an object with its
// metadata for each of them. A class is described by its service function, the one with the tag "<class>.*".
::modal::client::AppLayout writeLayout(const App& app, const Functions& functions, const HandleWriter& handle);

// The serialized ContainerArguments of a container of `function`. Its definition goes in as the client gave it, with
// the id of every object it depends on in the layout (a container that misses one dies at import). dataLoss when the
// stored definition cannot be read.
struct ContainerBytes {
  std::string arguments;
  std::string snapshot;  // StartOrder's
};
Result<ContainerBytes> containerArguments(const Instance& instance, const Function& function, const App& app,
                                          const Functions& functions, const HandleWriter& handle);

// What containers are started with, from the catalog: arguments, the variables of the grid and of the function's
// secrets (later ones win), its mounts. An Error names what is missing. `catalog` must outlive it.
class CatalogOrders final : public StartOrders {
 public:
  // `fastLane`: web functions get it, but those of apps with the tag `fast-lane` = "off".
  CatalogOrders(Catalog& catalog, HandleWriter handle, bool fastLane = false)
      : catalog_(catalog), handle_(std::move(handle)), fastLane_(fastLane) {}
  Result<StartOrder> compose(const Instance& instance, const Function& function) override;

 private:
  Catalog& catalog_;
  const HandleWriter handle_;
  const bool fastLane_;
};

}  // namespace gridiron::wire
