// The page-protect mode (HeapOptions::protect): freed memory faults at once, and every collection moves every object that
// can move, so a reference that was kept too long does not find its object, or another one: it ends the process with a report.
//
// How a freed page is told from one that is late: the page barrier stays armed from the first flip on. A touch of a missing
// page arrives at Compaction::serve as ever; if nothing belongs there (no object, no root), the toucher had a stale
// reference. Nothing is recycled: an evacuated from-space page is inaccessible from the moment of its release, buffers come from
// the overflow, and the moving space has room for several windows, so that an address is free for several collections.
//
// From-space is not the program's to touch. A SIGSEGV there is the collector's own mistake, and reported as such.
// Cost: a MOVE or ZEROPAGE for each page that is allocated, no recycling, and eight times the address space.
#pragma once

#include "core/units.h"

namespace glissade {

class Heap;

namespace protection {

/// The heap's from-space is watched: reports a touch of it, hands every other SIGSEGV on. False: too many heaps, or refused.
bool watch(Heap* heap);
void unwatch(Heap* heap);

/// The program has touched `offset` of the flipped range, where nothing is. `freed_in` is the collection that freed it, 0 none.
/// Async-signal-safe.
[[noreturn]] void report_stale(const Heap& heap, std::size_t offset, u32 freed_in);

}  // namespace protection

}  // namespace glissade
