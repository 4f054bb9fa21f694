// The safepoint protocol; safepoint.h has its states and rules.
#include "core/threads/safepoint.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/kernel/clock.h"

namespace glissade {

void Safepoint::bind(i32* control, Statistics* statistics) {
  statistics_ = statistics;
  for (u32 i = 0; i < layout::kMaxMutators; i++) {
    mutators_[i].index = i;
    mutators_[i].block = control + layout::kMutatorBase + i * layout::kMutatorWords;
  }
}

Mutator* Safepoint::attach() {
  std::lock_guard<std::mutex> lock(stop_mutex_);
  for (Mutator& m : mutators_) {
    if (m.attached.load(std::memory_order_relaxed)) continue;
    m.state.store(kParked, std::memory_order_relaxed);
    m.tlab_start = m.tlab_limit = m.allowance = 0;
    for (u32 i = 0; i < layout::kMutatorWords; i++) layout::store_word(m.block[i], 0);
    layout::store_word(m.block[layout::kStackLimitArea], -1);
    if (closed()) ask_for_good(m);
    m.attached.store(true, std::memory_order_release);
    return &m;
  }
  return nullptr;
}

void Safepoint::detach(Mutator& mutator) {
  std::lock_guard<std::mutex> lock(stop_mutex_);
  mutator.attached.store(false, std::memory_order_release);
}

void Safepoint::wait_while(Mutator& mutator, u32 state) {
  while (mutator.state.load(std::memory_order_acquire) == state) futex_wait(mutator.state, state);
}

void Safepoint::enter(Mutator& mutator) {
  for (;;) {
    u32 expected = kParked;
    // seq_cst RMW: pairs with request()'s fetch_or; one of the two sees the other.
    if (mutator.state.compare_exchange_strong(expected, kRunning)) {
      layout::store_word(mutator.block[layout::kRunning], 1);
      // Only now: while we were parked a pause may have retired the TLAB.
      publish_tlab(mutator);
      return;
    }
    const u64 begin = now_ns();
    wait_while(mutator, kParked | kRequested);
    statistics_->stop_ns.record(now_ns() - begin);
  }
}

void Safepoint::leave(Mutator& mutator) {
  layout::store_word(mutator.block[layout::kTlabLimit], 0);
  layout::store_word(mutator.block[layout::kReservedEnd], 0);
  layout::store_word(mutator.block[layout::kRunning], 0);
  // release: the requester that finds us parked sees our stores; acquire: if requested, we may run the operation.
  const u32 old = mutator.state.fetch_and(~kRunning, std::memory_order_acq_rel);
  if (!(old & kRequested)) return;
  const u64 begin = now_ns();
  // Who runs the operation feels it; who only reports its arrival is parked and goes on.
  if (arrive(&mutator)) statistics_->stop_ns.record(now_ns() - begin);
}

void Safepoint::poll(Mutator& mutator) {
  layout::store_word(mutator.block[layout::kReservedEnd], 0);
  u32 expected = kRunning | kRequested;
  if (!mutator.state.compare_exchange_strong(expected, kStopped | kRequested)) return;
  const u64 begin = now_ns();
  arrive(&mutator);
  wait_while(mutator, kStopped | kRequested);
  statistics_->stop_ns.record(now_ns() - begin);
}

void Safepoint::publish_tlab(Mutator& mutator) {
  layout::store_word(mutator.block[layout::kTlabLimit], static_cast<i32>(mutator.tlab_limit));
  // A full fence, then the check: a request between the two stores would otherwise be undone unseen.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (mutator.state.load(std::memory_order_relaxed) & kRequested || closed()) layout::store_word(mutator.block[layout::kTlabLimit], 0);
}

void Safepoint::request(Mutator* except) {
  requested_at_ = now_ns();
  done_.store(0, std::memory_order_relaxed);
  // The hold: nobody reaches zero before every mutator has been asked.
  pending_.store(1, std::memory_order_relaxed);
  for (Mutator& m : mutators_) {
    if (&m == except || !m.attached.load(std::memory_order_acquire)) continue;
    pending_.fetch_add(1, std::memory_order_acq_rel);
    const u32 old = m.state.fetch_or(kRequested);  // seq_cst: pairs with enter's CAS
    if (old == kParked) {
      pending_.fetch_sub(1, std::memory_order_acq_rel);
    } else {
      // A running mutator sees one of these at its next safepoint, and re-checks its state. Poll before the stack limit:
      // who sets the limit up meanwhile looks at poll after it (src/heap/roots.ts).
      layout::store_word(m.block[layout::kPoll], 1);
      std::atomic_thread_fence(std::memory_order_release);
      layout::store_word(m.block[layout::kTlabLimit], 0);
      layout::store_word(m.block[layout::kStackLimit], -1);
    }
  }
}

bool Safepoint::arrive(const Mutator* self) {
  if (pending_.fetch_sub(1, std::memory_order_acq_rel) != 1) return false;
  run_operation(self);
  return true;
}

void Safepoint::run_operation(const Mutator* self) {
  statistics_->timeToSafepoint_ns.record(now_ns() - requested_at_);
  if (operation_) {
    operation_(context_);
    resume(self);
  }
  done_.store(1, std::memory_order_release);
  futex_wake(done_);
}

void Safepoint::resume(const Mutator* self) {
  for (Mutator& m : mutators_) {
    const u32 state = m.state.load(std::memory_order_acquire);
    if (!(state & kRequested)) continue;
    if (state & kStopped) {
      layout::store_word(m.block[layout::kTlabLimit], closed() ? 0 : static_cast<i32>(m.tlab_limit));
      layout::store_word(m.block[layout::kStackLimit], layout::load_word(m.block[layout::kStackLimitRestore]));
      layout::store_word(m.block[layout::kPoll], layout::load_word(m.block[layout::kPollRestore]));
      // release: publishes the restored words and all that the operation wrote.
      m.state.store(kRunning, std::memory_order_release);
    } else {
      layout::store_word(m.block[layout::kStackLimit], layout::load_word(m.block[layout::kStackLimitRestore]));
      layout::store_word(m.block[layout::kPoll], layout::load_word(m.block[layout::kPollRestore]));
      m.state.store(kParked, std::memory_order_release);
    }
    if (&m != self) futex_wake(m.state);
  }
}

void Safepoint::run_stopped(Operation operation, void* context) {
  std::lock_guard<std::mutex> lock(stop_mutex_);
  operation_ = operation;
  context_ = context;
  request(nullptr);
  arrive(nullptr);  // drops the hold; runs the operation here if everybody was parked
  wait_until_stopped();
}

void Safepoint::stop_others(Mutator* self) {
  // Parked while waiting for the right to stop: another stop may be on its way to us.
  if (self) leave(*self);
  stop_mutex_.lock();
  operation_ = nullptr;
  request(self);
  arrive(nullptr);
  wait_until_stopped();
  if (self) enter(*self);
}

void Safepoint::resume_others() {
  resume(nullptr);
  stop_mutex_.unlock();
}

void Safepoint::wait_until_stopped() {
  // In pieces, of which each counts once: that the whole process stood still is nobody's fault.
  const u64 piece = patience_ns_ / 5;
  bool told = false;
  for (u64 waited = 0, before = now_ns(); done_.load(std::memory_order_acquire) == 0;) {
    futex_wait_for(done_, 0, piece);
    const u64 now = now_ns();
    waited += std::min(now - std::exchange(before, now), piece);
    if (waited >= patience_ns_ && !told) told = name_straggler();
  }
}

bool Safepoint::name_straggler() const {
  for (const Mutator& m : mutators_) {
    if (m.state.load(std::memory_order_relaxed) != (kRunning | kRequested)) continue;
    char text[256];
    const int length = std::snprintf(text, sizeof text,
                                     "glissade: %s has waited %g s for mutator %u, which is inside heap.run and reaches no safepoint: "
                                     "poll in long loops (m.mustPoll), and wait in m.parked\n",
                                     operation_ ? "a collection" : "an inspection", static_cast<double>(patience_ns_) / 1e9, m.index);
    // Nobody can be told that it could not be told.
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, static_cast<std::size_t>(length));
    return true;
  }
  return false;
}

void Safepoint::close() {
  // Not while a stop is in force: who ends one puts back what the words were.
  std::lock_guard<std::mutex> lock(stop_mutex_);
  closed_.store(true, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the one in publish_tlab
  for (Mutator& m : mutators_) ask_for_good(m);
}

void Safepoint::ask_for_good(Mutator& mutator) {
  layout::store_word(mutator.block[layout::kPollRestore], 1);
  layout::store_word(mutator.block[layout::kStackLimitRestore], -1);
  // In the order of `request`.
  layout::store_word(mutator.block[layout::kPoll], 1);
  std::atomic_thread_fence(std::memory_order_release);
  layout::store_word(mutator.block[layout::kTlabLimit], 0);
  layout::store_word(mutator.block[layout::kStackLimit], -1);
}

}  // namespace glissade
