#pragma once

#include <string>

#include "base/result.h"
#include "catalog/apps.h"
#include "catalog/records.h"
#include "store/store.h"

namespace gridiron::records {

Object objectOf(const App& app);
Object objectOf(const Function& function, Time now);
// Of the history: a definition as it was.
Object definitionOf(const Function& function, Time now);
Object objectOf(const App& app, const AppVersion& version);
Object objectOf(const FunctionId& id, const Function& function, const Binding& binding, Time now);
Result<AppVersion> readVersion(const Object& object);
Result<Binding> readBinding(const Object& object);

}  // namespace gridiron::records
