// A test registry of one header: enough to drive the core without Node and under the sanitizers.
//
//   TEST(name) { CHECK(x == 1); CHECK_EQ(a, b); }
//
// A failed CHECK is printed with its place and its two values, counted, and the test goes on; REQUIRE leaves
// the test at once (use it where going on would crash). SKIP("why") says that this machine cannot run the
// test; skipped tests are listed, so that a green run on a poor machine does not pass for more than it is.
// CHECKs may be used from any thread of a test; REQUIRE and SKIP only from the test's own function.
//
// A file whose tests all need something says so once: FILE_NEEDS(why_not), where why_not() returns a reason or null.
//
// `selftest [-v] [-l] [FILTER…]` runs the tests whose name contains one of the filters, prints
// `N passed, N failed` and exits 1 when something failed, 2 when no test matches.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <type_traits>

namespace glissade::testing {

struct Test {
  const char* name;
  const char* file;
  void (*body)();
  Test* next;
  Test(const char* test_name, const char* test_file, void (*test_body)());
};

// What the tests of one file need.
struct Requirement {
  const char* file;
  const char* (*why_not)();
  Requirement* next;
  Requirement(const char* test_file, const char* (*reason)());
};

// Of the test that is running.
extern std::atomic<int> failed_checks;
extern const char* skip_reason;

void report_failure(const char* file, int line, const char* expression, const char* detail);

template <typename T>
void print_value(char* out, unsigned long size, const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    std::snprintf(out, size, "%s", value ? "true" : "false");
  } else if constexpr (std::is_enum_v<T>) {
    std::snprintf(out, size, "%lld", static_cast<long long>(value));
  } else if constexpr (std::is_floating_point_v<T>) {
    std::snprintf(out, size, "%g", static_cast<double>(value));
  } else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
    std::snprintf(out, size, "%lld", static_cast<long long>(value));
  } else if constexpr (std::is_integral_v<T>) {
    std::snprintf(out, size, "%llu (0x%llx)", static_cast<unsigned long long>(value),
                  static_cast<unsigned long long>(value));
  } else if constexpr (std::is_convertible_v<T, const char*>) {
    std::snprintf(out, size, "\"%s\"", static_cast<const char*>(value));
  } else if constexpr (std::is_pointer_v<T>) {
    std::snprintf(out, size, "%p", static_cast<const void*>(value));
  } else {
    std::snprintf(out, size, "(value)");
  }
}

template <typename A, typename B>
bool check_eq(const A& a, const B& b, const char* file, int line, const char* expression) {
  bool equal;
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B>) {
    // Compared as numbers: -1 is not 0xFFFFFFFF.
    equal = (a < A{}) == (b < B{}) && static_cast<uint64_t>(a) == static_cast<uint64_t>(b);
  } else {
    equal = a == b;
  }
  if (equal) return true;
  char left[96], right[96], detail[256];
  print_value(left, sizeof left, a);
  print_value(right, sizeof right, b);
  std::snprintf(detail, sizeof detail, "%s against %s", left, right);
  report_failure(file, line, expression, detail);
  return false;
}

}  // namespace glissade::testing

#define GLISSADE_TEST_NAME2(name) glissade_test_##name
#define GLISSADE_TEST_NAME(name) GLISSADE_TEST_NAME2(name)

#define TEST(name)                                                                            \
  static void GLISSADE_TEST_NAME(name)();                                                     \
  static ::glissade::testing::Test glissade_test_entry_##name{#name, __FILE__,                \
                                                              &GLISSADE_TEST_NAME(name)};     \
  static void GLISSADE_TEST_NAME(name)()

#define FILE_NEEDS(why_not) static ::glissade::testing::Requirement glissade_file_needs{__FILE__, why_not}

#define CHECK(condition)                                                                      \
  do {                                                                                        \
    if (!(condition)) ::glissade::testing::report_failure(__FILE__, __LINE__, #condition, ""); \
  } while (0)

#define CHECK_EQ(a, b) \
  ((void)::glissade::testing::check_eq((a), (b), __FILE__, __LINE__, #a " == " #b))

#define REQUIRE(condition)                                                          \
  do {                                                                              \
    if (!(condition)) {                                                             \
      ::glissade::testing::report_failure(__FILE__, __LINE__, #condition, "required"); \
      return;                                                                       \
    }                                                                               \
  } while (0)

#define REQUIRE_EQ(a, b)                                                                        \
  do {                                                                                          \
    if (!::glissade::testing::check_eq((a), (b), __FILE__, __LINE__, #a " == " #b)) return;     \
  } while (0)

#define SKIP(reason)                              \
  do {                                            \
    ::glissade::testing::skip_reason = (reason);  \
    return;                                       \
  } while (0)
