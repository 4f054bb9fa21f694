// Fault injection: deterministic errors and delays where the kernel or the scheduler could have produced them.
//
// Every errno in docs/relocation.md (an EBUSY after a fork, an EEXIST from another thread's placing, an EAGAIN
// in the middle of a batch) has a reaction in the collector, and most of them never happen on a quiet machine.
// A rule makes one happen, before the system call is made, so that the operation has truly not been done.
//
//   RULES   = RULE { ( ',' | ';' ) RULE }
//   RULE    = OP ':' ERRNO '=' WHEN            move:EBUSY=0.01    move:EAGAIN=every:7    mremap:ENOMEM=once
//           | 'delay:' PHASE '=' TIME          delay:compact=200us
//   OP      = move copy zeropage register unregister mremap open
//   WHEN    = a probability in (0, 1] | 'once' | 'every:' N
//   PHASE   = mark remark reclaim prepare flip compact close fault
//   TIME    = N 'us' | N 'ms'
//
// The k-th call of an operation gives the same answer in every run with the same seed, whichever thread makes
// it: the decision is a hash of (seed, rule, k), where k is an atomic counter. Threads may still race for k.
//
// Who may call what: `configure` and `clear` from one thread at a time while no heap of the process is in a
// collection (they replace the table in place); everything else from any thread and from signal handlers: no
// allocation, no lock, errno kept. Switched off, a check is one relaxed load and one predicted branch.
#pragma once

#include <atomic>
#include <cstdint>

namespace glissade::injection {

enum class Op : uint8_t { Move, Copy, Zeropage, Register, Unregister, Mremap, Open };
inline constexpr int kOpCount = 7;

enum class Delay : uint8_t { Mark, Remark, Reclaim, Prepare, Flip, Compact, Close, Fault };
inline constexpr int kDelayCount = 8;

inline constexpr int kMaxRules = 32;

extern std::atomic<bool> enabled;

// Replaces all rules. True: installed (an empty string switches injection off). False: nothing was changed and
// `message` (at least 160 bytes) says which rule is wrong and what is allowed.
bool configure(const char* rules, uint64_t seed, char* message, unsigned long message_size);
void clear();

int slow_check(Op op);
void slow_delay(Delay phase);

// 0, or the errno that this call shall fail with.
inline int check(Op op) {
  if (__builtin_expect(enabled.load(std::memory_order_relaxed), 0)) return slow_check(op);
  return 0;
}

// Sleeps (spins below 50 µs) where a rule asks for it.
inline void delay(Delay phase) {
  if (__builtin_expect(enabled.load(std::memory_order_relaxed), 0)) slow_delay(phase);
}

// What has been injected, rule by rule in the order of the string; `text` is the rule as it was written.
struct RuleCount {
  char text[48];
  uint64_t fired;
};
int counts(RuleCount* out, int capacity);
uint64_t total();

}  // namespace glissade::injection
