// Every answer that the kernel may give to a call of relocation, put into its mouth, one at a time, while a heap is
// collected: it is counted under its errno, the documented reaction happens, nothing is lost, and the heap goes on.
// docs/relocation.md is the table; what a machine can be made to answer really is in causes_*.cc.
#include "native-mutator.h"
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::selftest;
using namespace glissade::testing;

FILE_NEEDS(why_no_userfaultfd);

namespace {

using Op = Userfaultfd::Op;

#ifdef GLISSADE_SANITIZE
constexpr u32 kNodes = 2'500;
#else
constexpr u32 kNodes = 10'000;
#endif

/// Churn and collections under one rule: lists that die and one that lives, whole afterwards.
struct Outcome {
  u64 injected, counted, mremap_errors, copied, busy, existing, retried, zeroed, cancelled, flips;
  int strict_error;
  bool intact;
};
Outcome churn(Op op, const char* error, const char* when, HeapOptions options, u32 rounds = 3) {
  Outcome outcome{};
  TestHeap test(options);
  if (!test.heap) return outcome;
  const Statistics& s = test.heap->statistics;
  {
    NativeMutator m(test, 64);
    m.push(0);
    m.push(0);
    build_list(m, 1, kNodes, 0);
    m.push(m.alloc_values(20'000));  // never written: pages that are placed as they are, or as zeros
    char rules[400];
    std::snprintf(rules, sizeof rules, "%s:%s=%s", Userfaultfd::op_name(op), error, when);
    // After the heap is made: what write tracking asks of its own descriptor is not counted with the heap's.
    Injected injected(rules);
    outcome.intact = injected.ok();
    for (u32 round = 0; round < rounds; round++) {
      build_list(m, 0, kNodes, 2);
      m.collect();
      outcome.intact &= list_intact(m, 0, kNodes) && list_intact(m, 1, kNodes);
    }
    injection::RuleCount count[1];
    outcome.injected = injection::counts(count, 1) == 1 ? count[0].fired : 0;
  }
  u32 page;
  outcome.counted = counted_answers(*test.heap, op, error);
  outcome.mremap_errors = counted_answers(*test.heap, Op::Mremap, "ENOMEM");
  outcome.copied = s.pagesCopied.load();
  outcome.busy = s.pagesBusy.load();
  outcome.existing = s.pagesExisting.load();
  outcome.retried = s.pagesRetried.load();
  outcome.zeroed = s.pagesZeroFilled.load();
  outcome.cancelled = s.flipsCancelled.load();
  outcome.flips = s.flips.load();
  outcome.strict_error = test.heap->take_relocation_error(page);
  return outcome;
}

HeapOptions with(Relocation relocation) {
  HeapOptions options = small_heap();
  options.relocation = relocation;
  return options;
}

/// The answer was given, counted as what it is, and lost nothing. The kernel may have given it too; and before EEXIST and
/// EAGAIN a page or half a run is truly placed, where the kernel may have something else to say.
bool stood(const Outcome& o, const char* call, const char* error) {
  const bool exact = std::strcmp(error, "EEXIST") != 0 && std::strcmp(error, "EAGAIN") != 0;
  const bool good = o.intact && o.injected > 0 && o.counted > 0 && (!exact || o.counted >= o.injected);
  if (!good) {
    std::fprintf(stderr, "  %s:%s intact %d, injected %llu, counted %llu\n", call, error, o.intact,
                 static_cast<unsigned long long>(o.injected), static_cast<unsigned long long>(o.counted));
  }
  return good;
}

int number(const char* error) {
  const struct { const char* name; int value; } names[] = {
      {"EBUSY", EBUSY}, {"EINVAL", EINVAL}, {"ENOENT", ENOENT}, {"ENOMEM", ENOMEM}, {"EFAULT", EFAULT},
      {"EPERM", EPERM}, {"ENOSPC", ENOSPC}, {"ESRCH", ESRCH},   {"EINTR", EINTR}};
  for (const auto& entry : names) {
    if (std::strcmp(entry.name, error) == 0) return entry.value;
  }
  return 0;
}

/// Every errno takes the same road through the code, so that a sanitizer sees enough with the first few.
#ifdef GLISSADE_SANITIZE
constexpr std::size_t kMostErrors = 2;
#else
constexpr std::size_t kMostErrors = 99;
#endif
std::vector<const char*> some_of(std::initializer_list<const char*> names) {
  return {names.begin(), names.begin() + (names.size() < kMostErrors ? names.size() : kMostErrors)};
}

constexpr std::initializer_list<const char*> kUnmovable = {"EBUSY", "EINVAL", "ENOENT", "ENOMEM", "EFAULT", "EPERM", "ENOSPC", "ESRCH", "EINTR"};

}  // namespace

TEST(answer_move_again_goes_on_where_it_stopped) {
  const Outcome o = churn(Op::Move, "EAGAIN", "0.2", with(Relocation::Move));
  CHECK(stood(o, "move", "EAGAIN"));
  CHECK_EQ(o.copied, 0u);
  CHECK_EQ(o.strict_error, 0);
}
TEST(answer_move_exist_is_a_page_that_is_there) {
  const Outcome o = churn(Op::Move, "EEXIST", "0.2", with(Relocation::Move));
  CHECK(stood(o, "move", "EEXIST"));
  CHECK(o.existing > 0);
  CHECK_EQ(o.copied, 0u);
  CHECK_EQ(o.strict_error, 0);
}
TEST(answer_move_refused_is_copied) {
  for (const char* error : some_of(kUnmovable)) {
    const Outcome o = churn(Op::Move, error, "0.2", with(Relocation::Auto));
    CHECK(stood(o, "move", error));
    CHECK(o.copied > 0);
    CHECK_EQ(o.strict_error, 0);
    CHECK_EQ(o.busy > 0, number(error) == EBUSY);
  }
}
TEST(answer_move_refused_is_an_error_when_moving_is_strict) {
  for (const char* error : some_of(kUnmovable)) {
    const Outcome o = churn(Op::Move, error, "every:3", with(Relocation::Move));
    CHECK(stood(o, "move", error));
    CHECK_EQ(o.strict_error, number(error));
  }
}
TEST(answer_move_always_refused_is_a_heap_that_copies) {
  for (const char* error : some_of({"EBUSY", "EINVAL"})) {
    const Outcome o = churn(Op::Move, error, "1", with(Relocation::Auto));
    CHECK(stood(o, "move", error));
    CHECK(o.copied > 0);
  }
}

TEST(answer_copy_is_asked_again) {
  // Every page that is copied without errors is copied with them, too. One call in two is refused: also when asked again.
  const Outcome undisturbed = churn(Op::Copy, "EINVAL", "every:1000000", with(Relocation::Copy));
  CHECK_EQ(undisturbed.injected, 0u);
  CHECK_EQ(undisturbed.retried, 0u);
  CHECK(undisturbed.copied > 0);
  for (const char* error : some_of({"EAGAIN", "ENOMEM", "ENOENT", "EINVAL", "EFAULT", "ENOSPC", "EPERM", "ESRCH", "EINTR", "EBUSY"})) {
    const Outcome o = churn(Op::Copy, error, "0.5", with(Relocation::Copy));
    CHECK(stood(o, "copy", error));
    CHECK_EQ(o.copied, undisturbed.copied);
    // After half a run (EAGAIN) it goes on with the other, which is no retry.
    CHECK(o.retried > 0 || std::strcmp(error, "EAGAIN") == 0);
  }
}
TEST(answer_copy_exist_is_a_page_that_is_there) {
  const Outcome o = churn(Op::Copy, "EEXIST", "0.2", with(Relocation::Copy));
  CHECK(stood(o, "copy", "EEXIST"));
  CHECK(o.existing > 0);
}
TEST(answer_copy_after_a_refused_move_is_asked_again) {
  for (const char* error : some_of({"EAGAIN", "ENOMEM", "EFAULT", "ENOENT"})) {
    char rest[64];
    std::snprintf(rest, sizeof rest, "0.5,copy:%s=0.5", error);
    const Outcome o = churn(Op::Move, "EBUSY", rest, with(Relocation::Auto));
    CHECK(stood(o, "move, copy", error));
    CHECK(o.busy > 0 && o.copied > 0 && o.retried > 0);
  }
}

TEST(answer_zeropage_is_asked_again_or_is_there) {
  for (const char* error : some_of({"EAGAIN", "ENOMEM", "ENOENT", "EINVAL", "EFAULT", "ENOSPC", "EPERM", "ESRCH", "EEXIST"})) {
    // TLABs and large objects granted while the heap is copied into are made of zero pages.
    HeapOptions options = with(Relocation::Copy);
    options.max_bytes = 8 * kMiB;
    options.min_bytes = kMiB;
    Outcome o{};
    {
      TestHeap test(options);
      REQUIRE(test.heap);
      NativeMutator m(test, 64);
      m.push(0);
      m.push(0);
      build_list(m, 1, 10'000, 0);
      char rules[160];
      std::snprintf(rules, sizeof rules, "zeropage:%s=0.3,delay:compact=200us,delay:close=1ms", error);
      Injected injected(rules);
      REQUIRE(injected.ok());
      Collecting collecting(test);
      injection::RuleCount count[1] = {};
      o.intact = true;
      for (u32 round = 0; round < 4'000 && (round < 3 || count[0].fired < 5); round++) {
        build_list(m, 0, 3'000, 1);
        o.intact &= list_intact(m, 0, 3'000) && list_intact(m, 1, 10'000);
        injection::counts(count, 1);
      }
      collecting.stop(m);
      injection::counts(count, 1);
      o.injected = count[0].fired;
      o.counted = counted_answers(*test.heap, Op::Zeropage, error);
    }
    CHECK(stood(o, "zeropage", error));
  }
}

TEST(answer_register_refused_cancels_the_flip) {
  for (const char* error : some_of({"EINVAL", "EBUSY", "ENOMEM", "EPERM", "EFAULT"})) {
    const Outcome o = churn(Op::Register, error, "every:2", with(Relocation::Auto), 4);
    CHECK(stood(o, "register", error));
    CHECK_EQ(o.cancelled, o.injected);
    CHECK(o.flips > 0);
  }
}
TEST(answer_mremap_refused_cancels_the_flip) {
  for (const char* error : some_of({"ENOMEM", "EINVAL", "EFAULT", "EAGAIN"})) {
    const Outcome o = churn(Op::Mremap, error, "every:2", with(Relocation::Auto), 4);
    CHECK(stood(o, "mremap", error));
    CHECK_EQ(o.cancelled, o.injected);
    CHECK(o.flips > 0);
  }
}

TEST(answer_mremap_refused_on_the_way_back_is_a_copy) {
  // Each flip is cancelled for want of a registration, and each return of the memory is refused.
  const Outcome o = churn(Op::Register, "ENOMEM", "1,mremap:ENOMEM=every:2", with(Relocation::Auto), 2);
  CHECK(stood(o, "register, mremap", "ENOMEM"));
  CHECK_EQ(o.cancelled, o.injected);
  CHECK_EQ(o.flips, 0u);
  CHECK_EQ(o.mremap_errors, o.cancelled);
}

TEST(answer_unregister_once_is_asked_again) {
  for (const char* error : some_of({"EINVAL", "ENOMEM", "EFAULT", "EAGAIN"})) {
    const Outcome o = churn(Op::Unregister, error, "every:2", with(Relocation::Auto));
    CHECK(stood(o, "unregister", error));
    CHECK(o.flips >= 3);
  }
}
TEST(answer_unregister_always_ends_with_the_descriptor) {
  for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
    HeapOptions options = small_heap();
    options.faults = faults;
    const Outcome o = churn(Op::Unregister, "EINVAL", "1", options);
    CHECK(stood(o, "unregister", "EINVAL"));
    CHECK(o.flips >= 3);
    CHECK_EQ(o.cancelled, 0u);
    // And nothing is left armed: another descriptor can have the range.
    TestHeap test(options);
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    m.push(0);
    build_list(m, 0, kNodes, 2);
    {
      Injected injected("unregister:EINVAL=1");
      m.collect();
    }
    Userfaultfd other(Userfaultfd::Injection::Off);
    REQUIRE_EQ(other.open(0), 0);
    u8* range = test.heap->space.flipped();
    CHECK_EQ(other.register_missing(range, test.heap->geometry().flipped_bytes).error, 0);
    CHECK_EQ(other.unregister(range, test.heap->geometry().flipped_bytes).error, 0);
    m.collect();
    CHECK(list_intact(m, 0, kNodes));
  }
}
TEST(answer_open_refused_leaves_a_heap_that_does_not_move_until_it_may) {
  for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
    for (const char* error : some_of({"EPERM", "EMFILE", "ENOMEM", "ENOSYS"})) {
      HeapOptions options = small_heap();
      options.faults = faults;
      TestHeap test(options);
      REQUIRE(test.heap);
      const Statistics& s = test.heap->statistics;
      NativeMutator m(test, 64);
      m.push(0);
      build_list(m, 0, 10'000, 2);
      {
        char rules[96];
        std::snprintf(rules, sizeof rules, "open:%s=1,unregister:ENOMEM=1", error);
        Injected injected(rules);
        REQUIRE(injected.ok());
        m.collect();  // its descriptor is given up at the close, and not to be had again
        CHECK_EQ(s.flips.load(), 1u);
        build_list(m, 0, 10'000, 2);
        m.collect();
        CHECK_EQ(s.flips.load(), 1u);
        CHECK_EQ(s.flipsCancelled.load(), 1u);
        CHECK(list_intact(m, 0, 10'000));
        CHECK_EQ(counted_answers(*test.heap, Op::Open, error), 2u);
      }
      build_list(m, 0, 10'000, 2);
      m.collect();
      CHECK_EQ(s.flips.load(), 2u);
      CHECK(list_intact(m, 0, 10'000));
    }
  }
}
TEST(answer_open_refused_at_the_start_is_an_error_of_the_creation) {
  Injected injected("open:EPERM=1");
  REQUIRE(injected.ok());
  std::string error;
  int error_number = 0;
  CHECK(Heap::create(small_heap(), error, error_number) == nullptr);
  CHECK_EQ(error_number, EPERM);
  CHECK(error == "opening a userfaultfd");
}

TEST(answer_that_cannot_be_ends_the_process_with_its_name) {
  int out[2];
  REQUIRE_EQ(pipe(out), 0);
  const int status = in_child([&] {
    dup2(out[1], STDERR_FILENO);
    signal(SIGABRT, [](int) { _exit(86); });
    TestHeap test(with(Relocation::Copy));
    NativeMutator m(test, 64);
    m.push(0);
    build_list(m, 0, 10'000, 2);
    Injected injected("copy:EPERM=1");
    m.collect();
    return 0;
  });
  ::close(out[1]);
  char said[200] = {};
  const ssize_t length = read(out[0], said, sizeof said - 1);
  ::close(out[0]);
  CHECK_EQ(status, 86);
  CHECK(length > 0 && std::strstr(said, "cannot be placed: UFFDIO_COPY answers errno 1") != nullptr);
}

TEST(answers_of_all_kinds_at_once_lose_nothing) {
  for (Faults faults : {Faults::Sigbus, Faults::Thread}) {
    HeapOptions options = small_heap();
    options.faults = faults;
    const Outcome o = churn(Op::Move,
                            "EBUSY", "0.05,move:EEXIST=0.05,move:EAGAIN=0.05,move:EINVAL=0.02,move:ENOENT=0.02,"
                            "copy:EEXIST=0.05,copy:EAGAIN=0.1,copy:ENOMEM=0.05,copy:ENOENT=0.02,zeropage:ENOMEM=0.2,"
                            "zeropage:ENOENT=0.1,register:ENOMEM=every:3,unregister:ENOMEM=0.5,mremap:ENOMEM=every:4",
                            options, 8);
    CHECK(stood(o, "all", "all"));
  }
}

TEST(pages_that_were_never_touched_are_no_error_for_a_strict_heap) {
  HeapOptions options = with(Relocation::Move);
  options.verify = 0;  // it would look inside
  TestHeap test(options);
  REQUIRE(test.heap);
  constexpr u32 kArrays = 300, kLength = 4 * 4096 - 8;  // four fill a TLAB: a dense run, and nobody has looked inside
  NativeMutator m(test, 64);
  m.push(m.alloc_refs(kArrays));
  for (u32 i = 0; i < 10'000; i++) m.alloc_node();
  for (u32 i = 0; i < kArrays; i++) m.store_ref(m.root(0) + 2 + i, m.alloc_bytes(kLength));
  m.collect();
  CHECK(test.heap->statistics.pagesKept.load() > 0);
  u32 wrong = 0, page = 0;
  for (u32 i = 0; i < kArrays; i++) {
    for (u32 word = 0; word < kLength / 4; word++) wrong += m.load(m.load(m.root(0) + 2 + i) + 2 + word) != 0;
  }
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(test.heap->take_relocation_error(page), 0);
}

TEST(a_heap_whose_flips_are_all_refused_allocates_in_what_is_dead) {
  char message[200];
  REQUIRE(injection::configure("mremap:ENOMEM=1", 1, message, sizeof message));
  {
    TestHeap test(small_heap());
    REQUIRE(test.heap);
    NativeMutator m(test, 64);
    constexpr u32 kSlots = 4'000;
    const u32 table = m.push(m.alloc_refs(kSlots));
    Random random(3);
    u32 refused = 0;
    for (u32 i = 0; i < 100'000 && !refused; i++) {  // 200 MB through 32 MiB, 8 of which live
      const u32 object = m.alloc_bytes(random.below(16) ? 1'000 : 20'000);
      refused += object == 0;
      m.store_ref(m.root(table) + 2 + random.below(kSlots), object);
      if (i % 16 == 0) m.store_ref(m.root(table) + 2 + random.below(kSlots), 0);
    }
    CHECK_EQ(refused, 0u);
    CHECK_EQ(test.heap->statistics.flips.load(), 0u);
    CHECK(test.heap->statistics.flipsCancelled.load() > 0);
  }
  injection::clear();
}
