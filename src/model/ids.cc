#include "model/ids.h"

namespace gridiron {

InstanceId newInstanceId() {
  for (;;) {
    auto id = newId<InstanceTag>();
    if (id.value.back() != 'V') return id;
  }
}

}  // namespace gridiron
