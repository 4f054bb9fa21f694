// Turns and orders; stepping.h says what a schedule is.
#include "core/compaction/stepping.h"

#include <sys/mman.h>

#include "core/heap.h"
#include "core/kernel/clock.h"
#include "core/kernel/futex.h"

namespace glissade {
namespace {

/// Others are a few microseconds from their next point, most of the time.
constexpr u32 kSpins = 200;

}  // namespace

void Stepping::enlist(u32 actor, pthread_t thread, u32 points) {
  actors_[actor] = {};
  actors_[actor].thread = thread;
  actors_[actor].points = points;
  actors_[actor].enlisted = true;
}

void Stepping::enlist_keeper(u32 actor) {
  actors_[actor] = {};
  actors_[actor].enlisted = actors_[actor].keeper = actors_[actor].arrived = true;
}

void Stepping::arm(u32 page, const u8* order, u32 turns) {
  page_ = page;
  ordered_turns_ = turns < kMostTurns ? turns : kMostTurns;
  for (u32 i = 0; i < ordered_turns_; i++) order_[i] = order[i];
  next_turn_ = turns_ = 0;
  u32 missing = 0;
  for (const Actor& actor : actors_) missing += actor.enlisted && !actor.arrived;
  missing_.store(missing, std::memory_order_relaxed);
  turn_.store(kNobody, std::memory_order_relaxed);
  abandoned_.store(false, std::memory_order_relaxed);
  finished_.store(0, std::memory_order_relaxed);
  armed_.store(true, std::memory_order_seq_cst);
}

void Stepping::disarm() {
  armed_.store(false, std::memory_order_seq_cst);
  for (Actor& actor : actors_) actor.enlisted = false;
}

u32 Stepping::find(pthread_t thread) const {
  for (u32 i = 0; i < kActors; i++) {
    if (actors_[i].enlisted && !actors_[i].keeper && pthread_equal(actors_[i].thread, thread)) return i;
  }
  return kNobody;
}

bool Stepping::enabled(const Actor& actor) const {
  if (!actor.enlisted || actor.done) return false;
  return !(actor.arrived && actor.at == HoldPoint::Waiting && heap_.compaction.in_flight.load(std::memory_order_seq_cst) != 0);
}

void Stepping::finish_turn() {
  if (turns_ == 0) return;
  trace_[turns_ - 1].after = heap_.page_words[page_].load();
  unsigned char resident = 0;
  trace_[turns_ - 1].there = mincore(heap_.space.to_page({page_}), kPageSize, &resident) == 0 && (resident & 1);
}

void Stepping::pass_on() {
  // One thread at a time comes here: the one that had the turn, or the last to arrive. Abandoned: all at once.
  if (abandoned_.load(std::memory_order_seq_cst)) return;
  finish_turn();
  u32 mask = 0;
  for (u32 i = 0; i < kActors; i++) mask |= u32{enabled(actors_[i])} << i;
  if (mask == 0) {
    turn_.store(kNobody, std::memory_order_relaxed);
    finished_.store(1, std::memory_order_release);
    futex_wake(finished_);
    futex_wake(turn_);
    return;
  }
  u32 next = kNobody;
  while (next == kNobody && next_turn_ < ordered_turns_) {
    const u32 wanted = order_[next_turn_++];
    if (wanted < kActors && (mask >> wanted & 1)) next = wanted;
  }
  if (next == kNobody) next = static_cast<u32>(__builtin_ctz(mask));
  if (turns_ < kMostTurns) {
    const PageWord word = heap_.page_words[page_].load();
    trace_[turns_++] = {next, actors_[next].at, mask, word, word, false};
  }
  turn_.store(next, std::memory_order_release);
  futex_wake(turn_);
}

void Stepping::arrive() {
  if (missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) pass_on();
}

void Stepping::hold(HoldPoint point, u32 first_page, u32 pages) {
  if (!armed_.load(std::memory_order_seq_cst) || page_ - first_page >= pages) return;
  const u32 index = find(pthread_self());
  if (index == kNobody) return;
  Actor& actor = actors_[index];
  if (!(actor.points & bit(point)) || actor.done) return;
  actor.at = point;
  if (actor.has_turn) {
    actor.has_turn = false;
    pass_on();
  } else if (!actor.arrived) {
    actor.arrived = true;
    arrive();
  }
  for (u32 spins = 0;; spins++) {
    const u32 seen = turn_.load(std::memory_order_acquire);
    if (seen == index || abandoned_.load(std::memory_order_acquire)) break;
    if (spins < kSpins) cpu_pause();
    else futex_wait(turn_, seen);
  }
  actor.has_turn = true;
}

void Stepping::leave() {
  if (!armed_.load(std::memory_order_seq_cst)) return;
  const u32 index = find(pthread_self());
  if (index == kNobody || actors_[index].done) return;
  Actor& actor = actors_[index];
  actor.done = true;
  if (actor.has_turn) {
    actor.has_turn = false;
    pass_on();
  } else if (!actor.arrived) {
    actor.arrived = true;
    arrive();
  }
}

void Stepping::release(u32 keeper) {
  actors_[keeper].done = true;
  if (turn_.load(std::memory_order_acquire) == keeper) pass_on();
}

bool Stepping::wait_for_turn_of(u32 actor) {
  for (;;) {
    const u32 seen = turn_.load(std::memory_order_acquire);
    if (seen == actor) return true;
    if (finished_.load(std::memory_order_acquire)) return false;
    futex_wait(turn_, seen);
  }
}

void Stepping::wait_until_done() {
  while (finished_.load(std::memory_order_acquire) == 0) futex_wait(finished_, 0);
}

void Stepping::abandon() {
  if (!armed_.load(std::memory_order_seq_cst)) return;
  // The flag before the word that they wait on: whoever sees the word change sees the flag.
  abandoned_.store(true, std::memory_order_seq_cst);
  turn_.store(kAbandoned, std::memory_order_seq_cst);
  finished_.store(1, std::memory_order_seq_cst);
  futex_wake(turn_);
  futex_wake(finished_);
}

}  // namespace glissade
