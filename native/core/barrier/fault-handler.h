// Where a mutator's touch of a missing page arrives when signals deliver it (page-barrier.h, `Faults::Sigbus`).
//
// The SIGBUS handler is the process's: it is installed with the first heap, goes with the last one's memory, looks the
// address up in a table of heaps, and hands anything that is not ours to the handler it replaced. It allocates nothing,
// takes no lock, blocks all signals (sa_mask is full, so a nested signal cannot touch the heap from within), keeps errno,
// and enters the heap's in-flight counter before it reads any state (invariant 10, invariant 9). The table and the
// counters have static storage and no destructors: `process.exit` runs none, and a late fault must find them.
#pragma once

#include "core/units.h"

namespace glissade {

class Heap;

namespace fault_handler {

/// Puts the heap's flipped range into the table; installs the handler if it is the first. False: the table is full, or the
/// system refuses the handler.
bool add(Heap* heap, u8* begin, std::size_t bytes);
/// The heap is closed: its faults, should a late one come, are nobody's work. Waits for handlers inside.
void deactivate(Heap* heap);
/// Takes its range out of the table, when nothing is mapped there any more. After the last, the replaced handler is back.
void remove(const u8* begin);
/// True if SIGBUS still arrives here (process.on('SIGBUS') and others may have replaced the handler).
bool installed();
/// Installs the handler again if somebody replaced it; the replaced one is chained.
void reinstall();
/// True if the calling thread has SIGBUS blocked: a fault would then kill the process, handler or not.
bool blocked_in_this_thread();

}  // namespace fault_handler

}  // namespace glissade
