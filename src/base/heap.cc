#include "base/heap.h"

#include <malloc.h>

namespace gridiron {

void keepFreedMemory() {
  mallopt(M_TRIM_THRESHOLD, 8 << 20);
  mallopt(M_MMAP_THRESHOLD, 4 << 20);  // what is larger is given back when it is freed
}

}  // namespace gridiron
