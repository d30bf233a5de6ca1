// Memory for nghttp2 sessions. A session holds one frame buffer of 16 KiB for its life and uses its
// first bytes only, as our messages do not pass through it. Those buffers come from slabs in slots
// of whole pages that are never written otherwise, so that an idle connection costs one page for it
// instead of five. All else is malloc's.
//
// Threads: a session is made, used and deleted on one thread; slabs belong to that thread. They are
// not given back: a slot is used again for the next session.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>

namespace fairlead::net {

nghttp2_mem* h2_memory();
size_t h2_slab_bytes();  // address space of this thread's slabs

}  // namespace fairlead::net
