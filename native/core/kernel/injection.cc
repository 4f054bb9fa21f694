// Fault injection: the rules as text and as a table, and who is struck; injection.h has the grammar and who may call what.
#include "core/kernel/injection.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "core/kernel/kernel-names.h"

namespace glissade::injection {

std::atomic<bool> enabled{false};

namespace {

enum class When : uint8_t { Probability, Once, Every };

struct Rule {
  bool is_delay;
  uint8_t target;  // Op or Delay
  int error;
  When when;
  uint64_t threshold;  // Probability: fires when hash <= threshold
  uint64_t every;
  uint64_t delay_ns;
  char text[48];
};

constexpr Named delay_names[] = {{"mark", 0}, {"remark", 1},  {"reclaim", 2}, {"prepare", 3},
                                 {"flip", 4}, {"compact", 5}, {"close", 6},   {"fault", 7}};

static_assert(sizeof kOpNames / sizeof *kOpNames == kOpCount && kOpNames[kOpCount - 1].value == kOpCount - 1);
static_assert(sizeof delay_names / sizeof *delay_names == kDelayCount);

// The installed table. `configure` runs while nobody checks (see the header), so plain memory is enough;
// `enabled` is stored last and publishes it.
Rule rules_table[kMaxRules];
int rule_count = 0;
uint64_t seed_value = 0;
std::atomic<uint64_t> op_calls[kOpCount];
std::atomic<uint64_t> delay_calls[kDelayCount];
std::atomic<uint64_t> fired[kMaxRules];

// splitmix64's finaliser: every bit of the input reaches every bit of the result.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

bool fires(int index, uint64_t call) {
  const Rule& rule = rules_table[index];
  switch (rule.when) {
    case When::Probability:
      return mix(mix(seed_value + static_cast<uint64_t>(index)) ^ call) <= rule.threshold;
    case When::Once:
      return call == 0;
    case When::Every:
      return call % rule.every == rule.every - 1;
  }
  return false;
}

struct Text {
  const char* begin;
  const char* end;
  int length() const { return static_cast<int>(end - begin); }
  bool is(const char* literal) const {
    const unsigned long size = std::strlen(literal);
    return static_cast<unsigned long>(length()) == size && std::memcmp(begin, literal, size) == 0;
  }
};

Text trimmed(Text text) {
  while (text.begin < text.end && (*text.begin == ' ' || *text.begin == '\n')) text.begin++;
  while (text.begin < text.end && (text.end[-1] == ' ' || text.end[-1] == '\n')) text.end--;
  return text;
}

// Cuts `text` at the first of the given characters; `rest` is empty when there is none.
Text cut(Text text, const char* separators, Text* rest) {
  for (const char* at = text.begin; at < text.end; at++) {
    if (std::strchr(separators, *at) != nullptr) {
      *rest = {at + 1, text.end};
      return {text.begin, at};
    }
  }
  *rest = {text.end, text.end};
  return text;
}

template <int N>
int find(const Named (&names)[N], Text text) {
  for (const Named& named : names) {
    if (text.is(named.name)) return named.value;
  }
  return -1;
}

template <int N>
void list(const Named (&names)[N], char* out, unsigned long size) {
  unsigned long used = 0;
  for (const Named& named : names) {
    const int written = std::snprintf(out + used, size - used, "%s%s", used == 0 ? "" : ", ", named.name);
    if (written < 0 || used + static_cast<unsigned long>(written) >= size) return;
    used += static_cast<unsigned long>(written);
  }
}

bool number(Text text, double* out, Text* suffix) {
  char digits[32];
  int n = 0;
  const char* at = text.begin;
  while (at < text.end && n < 31 && ((*at >= '0' && *at <= '9') || *at == '.')) digits[n++] = *at++;
  if (n == 0) return false;
  digits[n] = 0;
  char* stop = nullptr;
  *out = std::strtod(digits, &stop);
  if (*stop != 0) return false;
  *suffix = {at, text.end};
  return true;
}

bool parse_rule(Text text, Rule* rule, char* message, unsigned long size) {
  char allowed[128];
  Text rest, value, suffix;
  const Text target = trimmed(cut(text, ":", &rest));
  const Text middle = trimmed(cut(rest, "=", &value));
  value = trimmed(value);
  *rule = Rule{};
  std::snprintf(rule->text, sizeof rule->text, "%.*s", text.length(), text.begin);
  if (value.length() == 0) {
    std::snprintf(message, size, "injection rule '%s': expected OP:ERRNO=WHEN or delay:PHASE=TIME", rule->text);
    return false;
  }
  double amount = 0;
  if (target.is("delay")) {
    const int phase = find(delay_names, middle);
    if (phase < 0) {
      list(delay_names, allowed, sizeof allowed);
      std::snprintf(message, size, "injection rule '%s': unknown phase; one of %s", rule->text, allowed);
      return false;
    }
    if (!number(value, &amount, &suffix) || !(suffix.is("us") || suffix.is("ms"))) {
      std::snprintf(message, size, "injection rule '%s': a delay is a number and us or ms, as 200us", rule->text);
      return false;
    }
    const double ns = amount * (suffix.is("us") ? 1e3 : 1e6);
    if (ns > 10e9) {
      std::snprintf(message, size, "injection rule '%s': a delay is at most 10000ms", rule->text);
      return false;
    }
    rule->is_delay = true;
    rule->target = static_cast<uint8_t>(phase);
    rule->delay_ns = static_cast<uint64_t>(ns);
    return true;
  }
  const int op = find(kOpNames, target);
  if (op < 0) {
    list(kOpNames, allowed, sizeof allowed);
    std::snprintf(message, size, "injection rule '%s': unknown operation; one of %s, or delay", rule->text, allowed);
    return false;
  }
  rule->target = static_cast<uint8_t>(op);
  rule->error = find(kErrnoNames, middle);
  if (rule->error < 0) {
    list(kErrnoNames, allowed, sizeof allowed);
    std::snprintf(message, size, "injection rule '%s': unknown errno; one of %s", rule->text, allowed);
    return false;
  }
  if (value.is("once")) {
    rule->when = When::Once;
    return true;
  }
  Text every;
  if (cut(value, ":", &every).is("every")) {
    if (!number(trimmed(every), &amount, &suffix) || suffix.length() != 0 || amount < 1 ||
        amount != static_cast<double>(static_cast<uint64_t>(amount))) {
      std::snprintf(message, size, "injection rule '%s': every:N takes a whole number from 1", rule->text);
      return false;
    }
    rule->when = When::Every;
    rule->every = static_cast<uint64_t>(amount);
    return true;
  }
  if (!number(value, &amount, &suffix) || suffix.length() != 0 || !(amount > 0 && amount <= 1)) {
    std::snprintf(message, size, "injection rule '%s': when is a probability above 0 up to 1, once, or every:N",
                  rule->text);
    return false;
  }
  rule->when = When::Probability;
  rule->threshold = amount >= 1 ? ~uint64_t{0} : static_cast<uint64_t>(amount * 18446744073709551616.0);
  return true;
}

}  // namespace

bool configure(const char* rules, uint64_t seed, char* message, unsigned long message_size) {
  Rule parsed[kMaxRules];
  int n = 0;
  Text all{rules, rules + std::strlen(rules)};
  while (all.begin < all.end) {
    Text rest;
    const Text text = trimmed(cut(all, ",;", &rest));
    all = rest;
    if (text.length() == 0) continue;
    if (n == kMaxRules) {
      std::snprintf(message, message_size, "injection: at most %d rules", kMaxRules);
      return false;
    }
    if (!parse_rule(text, &parsed[n], message, message_size)) return false;
    n++;
  }
  clear();
  for (int i = 0; i < n; i++) rules_table[i] = parsed[i];
  rule_count = n;
  seed_value = mix(seed);
  if (n > 0) enabled.store(true, std::memory_order_release);
  return true;
}

void clear() {
  enabled.store(false, std::memory_order_release);
  rule_count = 0;
  for (auto& calls : op_calls) calls.store(0, std::memory_order_relaxed);
  for (auto& calls : delay_calls) calls.store(0, std::memory_order_relaxed);
  for (auto& count : fired) count.store(0, std::memory_order_relaxed);
}

int slow_check(Op op) {
  // Acquire: pairs with configure's release. A fence would do, but ThreadSanitizer knows nothing of fences.
  if (!enabled.load(std::memory_order_acquire)) return 0;
  const uint64_t call = op_calls[static_cast<int>(op)].fetch_add(1, std::memory_order_relaxed);
  for (int i = 0; i < rule_count; i++) {
    const Rule& rule = rules_table[i];
    if (rule.is_delay || rule.target != static_cast<uint8_t>(op) || !fires(i, call)) continue;
    fired[i].fetch_add(1, std::memory_order_relaxed);
    return rule.error;
  }
  return 0;
}

void slow_delay(Delay phase) {
  if (!enabled.load(std::memory_order_acquire)) return;  // as above
  delay_calls[static_cast<int>(phase)].fetch_add(1, std::memory_order_relaxed);
  for (int i = 0; i < rule_count; i++) {
    const Rule& rule = rules_table[i];
    if (!rule.is_delay || rule.target != static_cast<uint8_t>(phase)) continue;
    fired[i].fetch_add(1, std::memory_order_relaxed);
    const int saved = errno;
    timespec from, now;
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (rule.delay_ns >= 50'000) {
      timespec rest{static_cast<time_t>(rule.delay_ns / 1'000'000'000),
                    static_cast<long>(rule.delay_ns % 1'000'000'000)};
      while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
      }
    } else {
      uint64_t spent = 0;
      while (spent < rule.delay_ns) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        spent = static_cast<uint64_t>((now.tv_sec - from.tv_sec) * 1'000'000'000 + (now.tv_nsec - from.tv_nsec));
      }
    }
    errno = saved;
  }
}

int counts(RuleCount* out, int capacity) {
  const int n = rule_count < capacity ? rule_count : capacity;
  for (int i = 0; i < n; i++) {
    std::memcpy(out[i].text, rules_table[i].text, sizeof out[i].text);
    out[i].fired = fired[i].load(std::memory_order_relaxed);
  }
  return n;
}

uint64_t total() {
  uint64_t sum = 0;
  for (int i = 0; i < rule_count; i++) sum += fired[i].load(std::memory_order_relaxed);
  return sum;
}

}  // namespace glissade::injection
