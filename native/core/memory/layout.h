// What the mutator's TypeScript and the core agree on: the control words, and the words of an object.
//
// ARCHITECTURE.md is the text of this contract, src/heap/layout.ts its other half; `binding.layout` exports these
// constants so that a test compares the two. Control words are plain 32-bit words shared between JavaScript and the
// core: ARCHITECTURE.md says who writes each.
#pragma once

#include "core/units.h"

namespace glissade::layout {

inline constexpr u32 kMagic = 0x676C6973;

// Heap-wide control words.
inline constexpr u32 kMagicWord = 0;
inline constexpr u32 kHeapStateWord = 1;      // 0 open, 1 closed
inline constexpr u32 kPhaseWord = 2;          // written by the collector
inline constexpr u32 kEpochWord = 3;          // number of flips
inline constexpr u32 kCyclesWord = 4;         // cycles completed
inline constexpr u32 kShapeCountWord = 5;     // next free shape id; written by the shape definer
inline constexpr u32 kSlotMapLengthWord = 6;  // written by the shape definer
inline constexpr u32 kAreaCountWord = 7;

// Mutator blocks.
inline constexpr u32 kMutatorBase = 64;
inline constexpr u32 kMutatorWords = 64;
inline constexpr u32 kMaxMutators = 64;
inline constexpr u32 kPoll = 0;               // nonzero: take the slow path
inline constexpr u32 kTlabTop = 1;            // Ref of the next free word; the mutator bumps it
inline constexpr u32 kTlabLimit = 2;          // 0 while parked or when a stop is requested
inline constexpr u32 kRunning = 3;            // 1 inside run; 2, written by JavaScript: inside parked in it
inline constexpr u32 kStackLimit = 4;         // slots; -1 when a stop is requested
inline constexpr u32 kStackLimitRestore = 5;
inline constexpr u32 kStackLimitArea = 6;     // the root area it belongs to, -1 none
inline constexpr u32 kPollRestore = 7;        // what kPoll is while nobody asks for a stop: 1 where every poll is to be taken (stress)
inline constexpr u32 kReservedEnd = 8;        // up to here allocations in the TLAB are no safepoints; 0: nothing is reserved
inline constexpr u32 kInspecting = 9;         // 1 while the thread inspects the heap, the others stopped: no safepoint may come

// Root areas.
inline constexpr u32 kAreaBase = kMutatorBase + kMutatorWords * kMaxMutators;
inline constexpr u32 kAreaWords = 8;
inline constexpr u32 kMaxAreas = 256;
inline constexpr u32 kAreaKind = 0;
inline constexpr u32 kAreaStart = 1;          // 32-bit-word index into the control buffer
inline constexpr u32 kAreaCapacity = 2;       // slots
inline constexpr u32 kAreaTop = 3;            // slots
inline constexpr u32 kAreaOwner = 4;          // mutator, -1: the heap's
inline constexpr u32 kAreaDue = 5;            // guarded tables: how many objects have been handed over; written by the collector
inline constexpr u32 kAreaDueArea = 6;        // … the table, of equal capacity, that they are handed over in
// The word behind these is JavaScript's: twice how often a stack or table was freed there, odd while one is.

enum class AreaKind : i32 { Free = 0, RefStack = 1, ValueStack = 2, RefTable = 3, ValueTable = 4, WeakRefTable = 5, GuardedTable = 6 };

// Shapes and the slot map.
inline constexpr u32 kShapeBase = kAreaBase + kAreaWords * kMaxAreas;
inline constexpr u32 kShapeWords = 4;
inline constexpr u32 kMaxShapes = 65536;
inline constexpr u32 kShapeKind = 0;
inline constexpr u32 kShapeSize = 1;
inline constexpr u32 kShapeSlotStart = 2;
inline constexpr u32 kShapeSlotCount = 3;
inline constexpr u32 kShapeWeak = 3;          // of an array: Weak
inline constexpr u32 kSlotMapBase = kShapeBase + kShapeWords * kMaxShapes;
inline constexpr u32 kMaxSlotMap = 262144;
inline constexpr u32 kControlWords = kSlotMapBase + kMaxSlotMap;
static_assert(kAreaBase == 4160 && kShapeBase == 6208 && kSlotMapBase == 268352 && kControlWords == 530496);

enum class ShapeKind : i32 {
  Fixed = 1, ArrayRef = 2, ArrayValue = 3, ArrayF64 = 4, ArrayI32 = 5, ArrayU32 = 6, ArrayU16 = 7, ArrayU8 = 8
};

/// Which elements of a reference array are weak; Keys: the even ones, each the key of the odd one after it.
inline constexpr i32 kWeakElements = 1, kWeakKeys = 2;
enum class Weak : i32 { None = 0, Elements = kWeakElements, Keys = kWeakKeys };

/// Free memory: a walker takes it as "empty to the end of this TLAB".
inline constexpr u32 kFreeShape = 0;
/// Dead space with a length: word 1 is granules << 2.
inline constexpr u32 kFillerShape = 1;
inline constexpr u32 kFirstShape = 2;

/// High words of value slots: undefined, a reference.
inline constexpr u32 kTagUndefined = 0x7FFD0000;
inline constexpr u32 kTagRef = 0x7FFE0000;

/// cards[slot word index >> kCardShift]: one card is 1 KiB.
inline constexpr u32 kCardShift = 8;
inline constexpr u32 kCardBytes = 4u << kCardShift;
inline constexpr u32 kCardGranules = kCardBytes / kGranuleSize;

inline constexpr u32 kFlagBits = 2;

/// Control words are read and written by JavaScript as plain memory; the core goes through these, so that each access
/// is one whole word and nothing is assumed about its order.
inline i32 load_word(const i32& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); }
inline void store_word(i32& word, i32 value) { __atomic_store_n(&word, value, __ATOMIC_RELAXED); }

enum class Phase : i32 { Idle = 0, Mark = 1, Remark = 2, Reclaim = 3, Prepare = 4, Flip = 5, Compact = 6 };

}  // namespace glissade::layout

namespace glissade {

/// The word of heap memory at `at`. Atomic for the survey's sake, which reads pages that mutators write to.
inline u32 word_at(const u8* at) { return __atomic_load_n(reinterpret_cast<const u32*>(at), __ATOMIC_RELAXED); }

}  // namespace glissade
