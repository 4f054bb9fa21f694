// The self-test's registry and its main program; see testing.h.
//
// `--part K/N` runs every Nth test from the Kth on: N processes have run them all, none of them with the memory of all
// (ThreadSanitizer does not give back what it keeps of memory that was unmapped).
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "core/kernel/clock.h"
#include "selftest/atomicity.h"
#include "selftest/barrier-bench.h"
#include "selftest/random_programs.h"
#include "selftest/testing.h"

namespace glissade::testing {

std::atomic<int> failed_checks{0};
const char* skip_reason = nullptr;

namespace {
Test* first_test = nullptr;
Test** last_test = &first_test;
Requirement* first_requirement = nullptr;
}  // namespace

Test::Test(const char* test_name, const char* test_file, void (*test_body)())
    : name(test_name), file(test_file), body(test_body), next(nullptr) {
  *last_test = this;
  last_test = &next;
}

Requirement::Requirement(const char* test_file, const char* (*reason)())
    : file(test_file), why_not(reason), next(first_requirement) {
  first_requirement = this;
}

void report_failure(const char* file, int line, const char* expression, const char* detail) {
  // A loop that fails a million times needs to say so once.
  const int before = failed_checks.fetch_add(1, std::memory_order_relaxed);
  if (before >= 20) return;
  std::fprintf(stderr, "  %s:%d: %s%s%s\n", file, line, expression, *detail ? ": " : "", detail);
  if (before == 19) std::fprintf(stderr, "  (further failures of this test are only counted)\n");
}

namespace {

struct Arguments {
  bool verbose = false, list = false;
  unsigned part = 1, parts = 1;
  std::vector<const char*> filters;
};

/// False, having said so: what cannot be understood.
bool parse(int argc, char** argv, Arguments& to) {
  for (int i = 1; i < argc; i++) {
    const char* argument = argv[i];
    int length = 0;
    if (std::strcmp(argument, "-v") == 0) to.verbose = true;
    else if (std::strcmp(argument, "-l") == 0) to.list = true;
    else if (std::strcmp(argument, "--part") == 0 && i + 1 < argc &&
             std::sscanf(argv[i + 1], "%u/%u%n", &to.part, &to.parts, &length) == 2 && argv[i + 1][length] == '\0' &&
             to.part >= 1 && to.part <= to.parts) {
      i++;
    } else if (argument[0] != '-') to.filters.push_back(argument);
    else {
      std::fprintf(stderr,
                   "selftest: %s%s is not understood\n"
                   "usage: selftest [-v] [-l] [--part K/N] [FILTER...] | --bench barrier | --atomicity SECONDS | --random SECONDS [SEED]\n",
                   argument, std::strcmp(argument, "--part") == 0 ? " without K/N, 1 <= K <= N," : "");
      return false;
    }
  }
  return true;
}

bool is_wanted(const Test& test, const std::vector<const char*>& filters) {
  if (filters.empty()) return true;
  for (const char* filter : filters) {
    if (std::strstr(test.name, filter) != nullptr) return true;
  }
  return false;
}

const char* why_skipped(const Test& test) {
  for (const Requirement* needed = first_requirement; needed != nullptr; needed = needed->next) {
    if (std::strcmp(needed->file, test.file) != 0) continue;
    if (const char* reason = needed->why_not()) return reason;
  }
  return nullptr;
}

double milliseconds_now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int run_all(const Arguments& arguments) {
  int passed = 0, failed = 0, skipped = 0;
  unsigned wanted = 0;
  for (Test* test = first_test; test != nullptr; test = test->next) {
    if (!is_wanted(*test, arguments.filters) || wanted++ % arguments.parts != arguments.part - 1) continue;
    if (arguments.list) {
      std::printf("%s\n", test->name);
      passed++;
      continue;
    }
    failed_checks.store(0);
    skip_reason = why_skipped(*test);
    if (arguments.verbose) {
      std::printf("%s ...\n", test->name);
      std::fflush(stdout);
    }
    const double started = milliseconds_now();
    if (skip_reason == nullptr) test->body();
    const double took = milliseconds_now() - started;
    if (failed_checks.load() > 0) {
      failed++;
      std::printf("FAILED  %s (%d checks)\n", test->name, failed_checks.load());
    } else if (skip_reason != nullptr) {
      skipped++;
      std::printf("skipped %s: %s\n", test->name, skip_reason);
    } else {
      passed++;
      if (arguments.verbose) std::printf("ok      %s (%.0f ms)\n", test->name, took);
    }
    std::fflush(stdout);
  }
  if (arguments.list) return 0;
  if (skipped > 0) std::printf("%d skipped\n", skipped);
  std::printf("%d passed, %d failed\n", passed, failed);
  if (wanted == 0) {
    std::fprintf(stderr, "selftest: no test matches\n");
    return 2;
  }
  return failed > 0 ? 1 : 0;
}

}  // namespace
}  // namespace glissade::testing

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--bench") == 0 && std::strcmp(argv[2], "barrier") == 0) {
    return glissade::selftest::bench_barrier();
  }
  // Anything else after these words is no duration, and is complained of below.
  const double seconds = argc > 2 ? std::atof(argv[2]) : 0;
  if (argc == 3 && seconds > 0 && std::strcmp(argv[1], "--atomicity") == 0) {
    return glissade::selftest::run_atomicity(seconds);
  }
  if ((argc == 3 || argc == 4) && seconds > 0 && std::strcmp(argv[1], "--random") == 0) {
    const unsigned long long seed = argc == 4 ? std::strtoull(argv[3], nullptr, 10) : glissade::now_ns() >> 10;
    return glissade::selftest::run_random_programs(seconds, seed);
  }
  glissade::testing::Arguments arguments;
  return glissade::testing::parse(argc, argv, arguments) ? glissade::testing::run_all(arguments) : 2;
}
