#pragma once

namespace gridiron {

// For a program that carries streams, once at its start: buffers of some hundred KiB come and go with every piece, and
// by default the C library gives each back to the kernel and asks for it again, page by page. It keeps up to 8 MiB.
void keepFreedMemory();

}  // namespace gridiron
