// The references of a page, all at once: whether any of them changes, and what they change to.
//
// Twice the same thing. `portable` takes one slot after the other, as forwarding.h defines it. `vectors` takes 16 words at
// a time, with AVX-512, where the processor has it; a self-test compares the two. Both wait for memory most of the time, for
// the block of each reference: `portable` prefetches it some slots ahead; `vectors` needs so few instructions for each reference
// that the processor has several times as many of them in flight by itself.
//
// Async-signal-safe: allocates nothing, and reads the page and the block table only. (The kernel saves vector registers with
// all others when it delivers a signal.)
#pragma once

#include "core/compaction/forwarding.h"
#include "core/compaction/page-slots.h"

namespace glissade {

/// Whether a reference on the page leads to something that moves. Mutators may be writing to the page: of a slot that they write
/// to the answer may be either.
bool leads_to_moving(const Forwarding& forwarding, const u8* page, const PageSlots& slots);

/// Invariant 2: once for each copy.
void translate(const Forwarding& forwarding, u8* page, const PageSlots& slots);

namespace portable {
bool leads_to_moving(const Forwarding& forwarding, const u8* page, const PageSlots& slots);
void translate(const Forwarding& forwarding, u8* page, const PageSlots& slots);
}  // namespace portable

namespace vectors {
bool usable();
bool leads_to_moving(const Forwarding& forwarding, const u8* page, const PageSlots& slots);
void translate(const Forwarding& forwarding, u8* page, const PageSlots& slots);
}  // namespace vectors

}  // namespace glissade
