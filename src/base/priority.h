#pragma once

namespace gridiron {

// Those who wait for this thread shall not wait for a slice of what computes: it gets more weight and shorter slices
// from the kernel, as far as the process may ask for them. Not inherited by what it starts.
void preferThisThread();

}  // namespace gridiron
