// Weak slots: which of them lose their object at the end of marking, and ephemerons on the way there.
//
// Weak are the slots of weak root tables, and of arrays whose shape says so: all elements, or the even ones, each the key
// of the odd one after it. Such a pair is an ephemeron (Hayes 1997): the value is followed once the key is marked, and both
// are cleared if it never is. A key that is no reference keeps its value as any slot would.
//
// Markers do not follow weak slots; they note where some are. Whenever a trace is complete the collector looks at what has been
// noted. A slot whose object is marked is settled, as marks only grow; one whose object is not waits in a list, with what it
// held. A reference stored afterwards dirties a card, which notes the slot again; in the list it means nothing then. So the remark pause
// looks at slots stored into since, and clears those that wait but for objects that it has marked itself: it grows with the slots
// that die, not with those there are, and touches no marks for them. What is no reference dirties no card: where it is
// stored over a key, its pair is found in the list, and the value stays alive.
// What a marked array's slots hold after the pause is marked (the young cycle after it, young-cycles.h, goes on from there).
//
// A slot of a guarded root table is weak, too, but what only it refers to is not lost (guardians: Dybvig, Bruggeman, Eby 1993).
// It is *due*: taken out of the slot in the pause, when every weak slot through which a mutator could still come to it is cleared,
// marked with all that it leads to after the pause, and then handed over (`RootSet::hand_over`).
//
// Called by the thread that drives the cycle, or runs the pause; `Marker::note_weak` by every marker, into a list of its own.
#pragma once

#include <vector>

#include "core/memory/layout.h"
#include "core/units.h"

namespace glissade {

class Heap;
class Marker;

/// What a run of weak slots is made of.
struct WeakKind {
  bool is_value;  // 64-bit values, not refs
  bool is_pairs;  // key, value, key, value…
  bool is_guarded = false;
  u32 slot_bytes() const { return is_value ? 8 : 4; }
  /// From one weak slot to the next.
  u32 step() const { return slot_bytes() << (is_pairs ? 1 : 0); }
};

/// Where weak slots are: whole ones, or whole pairs but for a key that is the last element.
struct WeakRange {
  u8 *begin, *end;
  WeakKind kind;
};

/// One of them; of a pair its key. And the unmarked object that was found in it.
class WeakSlot {
 public:
  WeakSlot(u8* at, WeakKind kind, bool has_value, Ref ref)
      : ref(ref), bits_(reinterpret_cast<std::uintptr_t>(at) | (kind.is_value ? 1 : 0) | (has_value ? 2 : 0) | (kind.is_guarded ? kGuarded : 0)) {}
  u8* at() const { return reinterpret_cast<u8*>(bits_ & ~(kGuarded | 3)); }
  bool is_value() const { return bits_ & 1; }
  /// A value that is alive as long as this slot's object.
  bool has_value() const { return bits_ & 2; }
  bool is_guarded() const { return bits_ & kGuarded; }
  u8* value_at() const { return at() + (is_value() ? 8 : 4); }
  Ref ref;

 private:
  static constexpr std::uintptr_t kGuarded = std::uintptr_t{1} << 63;  // no address has it
  std::uintptr_t bits_;  // slots are aligned by 4
};

/// An object that only a guarded root table refers to.
struct DueObject {
  Ref ref;
  u32 root_page;  // of the slot that guarded it
};

class WeakSlots {
 public:
  explicit WeakSlots(Heap& heap) : heap_(heap) {}

  /// Nothing is noted, nothing waits.
  void forget();
  void note(WeakRange range) { noted_.push_back(range); }
  /// The same of all in a marker's list, which is then empty.
  void note_all(std::vector<WeakRange>& ranges);
  /// Slots noted since the last `settle`.
  u64 noted() const;

  /// Looks at the slots that wait and at those noted, and visits the unmarked values of marked keys. No trace is under way.
  /// How many it visited: if none, what waits now is dead unless somebody marks it.
  u64 settle(Marker& marker);
  /// Only after a `settle` that visited nothing, if every object marked since `begin_record` was reported to `marked`. Clears what
  /// waits; guarded objects become due. How many slots lost their object (a pair is one).
  u64 clear_waiting();
  void begin_record();
  /// What the last `clear_waiting` has found due.
  std::vector<DueObject>& due() { return due_; }

  /// From here to `unwatch` a marker may tell of each object that it marks, and a key's value is visited at once. In this way a
  /// chain of ephemerons takes time in proportion to its length, where rounds of `settle` take its square; and the pause, for which
  /// the keys that wait are watched before it begins, need not look at all of them for the few objects that it marks.
  /// There is room for `expected` slots more: to note them takes no time in proportion to those that wait.
  void watch(std::size_t expected = 0);
  /// A marker that tells (`Marker::tell`) has marked this object.
  void marked(u32 word, Marker& marker);
  /// What has been noted since `watch`: settled, or watched. How many values it visited.
  u64 settle_noted(Marker& marker);
  /// In the pause, while watching: visits the values of pairs that wait and whose keys have become no references since. Such a store
  /// dirties no card. How many values.
  u64 settle_keyless(Marker& marker) const;
  void unwatch();

 private:
  bool keep_waiting(const WeakSlot& slot, Marker& marker, u64& visited) const;
  void visit_value(const WeakSlot& slot, Marker& marker, u64& visited) const;
  Ref held(const WeakSlot& slot) const { return referent(slot.at(), slot.is_value()); }
  bool may_be_recorded(Ref ref) const;
  Ref referent(const u8* at, bool is_value) const;
  void prefetch(Ref ref) const;
  template <typename Look>
  void filter_waiting(Look&& keeps);
  void watch_in(std::size_t pairs);
  void watch_waiting(std::size_t index);

  Heap& heap_;
  std::vector<WeakRange> noted_;
  std::vector<WeakSlot> waiting_;
  std::vector<DueObject> due_;
  // While watching: of the keys of each bucket the last pair that waits, and of each pair the one before (index + 1, 0: none).
  static constexpr std::size_t kLeastBuckets = 1024;
  std::vector<u32> last_of_bucket_, previous_;
  std::size_t watched_ = 0;
  bool watching_ = false;
  // What was marked since `begin_record`, by hash: a bit may stand for several.
  static constexpr u32 kRecordBits = 1 << 15;
  std::vector<u64> recorded_ = std::vector<u64>(kRecordBits / 64);
  bool any_recorded_ = false;
};

}  // namespace glissade
