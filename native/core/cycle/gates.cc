// Gates: where the cycle of a stepping heap rests, between two pieces of work, until a test lets it go on.
//
// The collector's thread waits in `gate`. `step` passes permits, one a gate, and returns when the thread rests again, so that
// nothing its caller looks at then is in motion; `start_step` and `start_page` pass one and do not wait for what it lets go on, `rest` does.
// `cycle_mutex_` guards all of it. Within a page's own steps stepping.h holds threads.
#include "core/heap.h"

namespace glissade {

void Heap::gate(Rest rest) {
  std::unique_lock<std::mutex> lock(cycle_mutex_);
  if (waiters_ > 0 || closing_) return;
  at_gate_ = true;
  rest_ = rest;
  gate_arrived_.notify_all();
  gate_opened_.wait(lock, [&] { return gate_permits_ > 0 || waiters_ > 0 || closing_; });
  if (gate_permits_ > 0) gate_permits_--;
  at_gate_ = false;
}

void Heap::open_gates() {
  gate_opened_.notify_all();
  steps.abandon();
}

Rest Heap::rest() {
  std::unique_lock<std::mutex> lock(cycle_mutex_);
  gate_arrived_.wait(lock, [&] { return (at_gate_ && gate_permits_ == 0) || (!cycling_ && wanted_ == Wanted::No) || closing_; });
  return at_gate_ ? rest_ : Rest::Idle;
}

bool Heap::start_step() {
  std::lock_guard<std::mutex> lock(cycle_mutex_);
  if (!at_gate_ || gate_permits_ > 0) return false;
  gate_permits_++;
  gate_opened_.notify_all();
  return true;
}

bool Heap::start_page(u32 page) {
  if (rest() != Rest::Compact) return false;
  steps.order(page);
  return start_step();
}

bool Heap::rests_before_remark() {
  std::lock_guard<std::mutex> lock(cycle_mutex_);
  return at_gate_ && traced_.load(std::memory_order_relaxed);
}

layout::Phase Heap::step(u32 gates, bool asked) {
  std::unique_lock<std::mutex> lock(cycle_mutex_);
  const u64 cycles = cycles_;
  if (!cycling_) want_cycle(asked ? Wanted::Asked : Wanted::Room);
  for (u32 i = 0; i < gates; i++) {
    gate_arrived_.wait(lock, [&] { return (at_gate_ && gate_permits_ == 0) || cycles_ != cycles || closing_; });
    if (cycles_ != cycles || closing_) break;
    gate_permits_++;
    gate_opened_.notify_all();
  }
  // Rest at the next gate (or the end), so that what the caller sees does not race with the collector.
  gate_arrived_.wait(lock, [&] { return (at_gate_ && gate_permits_ == 0) || cycles_ != cycles || closing_; });
  return static_cast<layout::Phase>(layout::load_word(space.control()[layout::kPhaseWord]));
}

}  // namespace glissade
