// The kernel's own userfaultfd tests (tools/testing/selftests/mm/uffd-unit-tests.c), re-expressed against the
// wrapper, as far as the collector depends on what they assert: the handshake, registration, ZEROPAGE, MOVE and
// its errno table, huge pages, SIGBUS delivery, fork. What the collector never uses (hugetlb, shmem, minor
// faults) is left out. A kernel on which one of these fails is a kernel the collector must not trust.
#include "selftest/kernel.h"

using namespace glissade;
using namespace glissade::selftest;

namespace {

constexpr unsigned long kIocApi = 0xC018AA3F;

struct Api {
  std::uint64_t api, features, ioctls;
};

int raw_open() {
  Userfaultfd uffd;
  if (uffd.open(0) != 0) return -1;
  return dup(uffd.fd());
}

}  // namespace

TEST(kernel_api_handshake_is_done_once) {
  NEEDS_USERFAULTFD;
  const int fd = raw_open();  // the wrapper has done the first handshake
  REQUIRE(fd >= 0);
  Api again{0xAA, 0, 0};
  CHECK(ioctl(fd, kIocApi, &again) != 0);
  close(fd);
}

TEST(kernel_api_refuses_unknown_feature) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  CHECK_EQ(uffd.open(std::uint64_t{1} << 63), EINVAL);
  CHECK(!uffd.is_open());
  CHECK_EQ(uffd.open(0), 0);
  CHECK((uffd.features() & uffd::kFeatureSigbus) != 0);
}

TEST(kernel_register_names_the_ioctls) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(0), 0);
  Pages pages(4);
  std::uint64_t ioctls = 0;
  REQUIRE(uffd.register_missing(pages.at, pages.bytes, &ioctls).ok());
  CHECK((ioctls >> uffd::kIoctlWake & 1) != 0);
  CHECK((ioctls >> uffd::kIoctlCopy & 1) != 0);
  CHECK((ioctls >> uffd::kIoctlZeropage & 1) != 0);
  CHECK((ioctls >> uffd::kIoctlMove & 1) != 0);
  CHECK_EQ(ioctls >> uffd::kIoctlWriteProtect & 1, 0u);
  CHECK(uffd.unregister(pages.at, pages.bytes).ok());
  CHECK_EQ(uffd.register_range(pages.at, pages.bytes, 0).error, EINVAL);
  CHECK_EQ(uffd.register_range(pages.at, pages.bytes, uffd::kModeMinor).error, EINVAL);
  CHECK_EQ(uffd.register_missing(pages.at + 1, kPage).error, EINVAL);
}

TEST(kernel_zeropage_twice_is_eexist) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages pages(2);
  REQUIRE(uffd.register_missing(pages.at, pages.bytes).ok());
  CHECK(uffd.zeropage(pages.page(0), kPage).ok());
  CHECK_EQ(uffd.zeropage(pages.page(0), kPage).error, EEXIST);
  CHECK(pages.holds(0, 0));
  // A zero page takes writes like any other.
  pages.page(0)[7] = 9;
  CHECK_EQ(touch(pages.page(0) + 7), 9);
}

namespace {
struct MoveContext {
  const Userfaultfd* uffd;
  u8* to;
  u8* from;
  std::size_t unit;
  std::size_t bytes;
  std::atomic<int> errors{0};
};
void resolve_by_move(u8* page, void* context) {
  auto& move = *static_cast<MoveContext*>(context);
  const std::size_t offset = static_cast<std::size_t>(page - move.to) & ~(move.unit - 1);
  if (page < move.to || offset >= move.bytes) {
    move.errors.fetch_add(1);
    return;
  }
  // Where the kernel had no huge page a unit is small ones, and one that it has in its hands just now (to compact its memory, to
  // merge pages) ends the call early.
  for (std::size_t done = 0; done < move.unit;) {
    const UffdResult result = move.uffd->move(move.to + offset + done, move.from + offset + done, move.unit - done);
    done += static_cast<std::size_t>(result.done);
    if (result.ok() || result.error == EAGAIN) continue;
    if (result.error != EEXIST) move.errors.fetch_add(1);
    return;
  }
}
}  // namespace

TEST(kernel_move_one_fault_a_page_and_the_source_reads_zero) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  constexpr int kCount = 64;
  Pages to(kCount), from(kCount);
  from.fill();
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  MoveContext context{&uffd, to.at, from.at, kPage, to.bytes};
  SigbusRouter router(resolve_by_move, &context);
  for (int i = 0; i < kCount; i++) CHECK(to.holds(static_cast<std::size_t>(i), static_cast<u8>(1 + i)));
  CHECK_EQ(SigbusRouter::faults(), kCount);
  CHECK_EQ(SigbusRouter::last_code(), BUS_ADRERR);
  CHECK_EQ(context.errors.load(), 0);
  for (int i = 0; i < kCount; i++) CHECK(from.holds(static_cast<std::size_t>(i), 0));
  CHECK_EQ(SigbusRouter::faults(), kCount);
}

TEST(kernel_move_pmd_one_fault_a_huge_page) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  constexpr std::size_t kUnits = 2, kHuge = HugeRange::kHuge;
  HugeRange to(kUnits, MADV_HUGEPAGE), from(kUnits, MADV_HUGEPAGE);
  for (std::size_t i = 0; i < kUnits; i++) std::memset(from.at + i * kHuge, static_cast<int>(i + 1), kHuge);
  REQUIRE(uffd.register_missing(to.at, kUnits * kHuge).ok());
  MoveContext context{&uffd, to.at, from.at, kHuge, kUnits * kHuge};
  SigbusRouter router(resolve_by_move, &context);
  for (std::size_t at = 0; at < kUnits * kHuge; at += 512) CHECK_EQ(touch(to.at + at), at / kHuge + 1);
  CHECK_EQ(SigbusRouter::faults(), static_cast<int>(kUnits));
  CHECK_EQ(context.errors.load(), 0);
}

TEST(kernel_move_pmd_split_by_small_moves) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  constexpr std::size_t kHuge = HugeRange::kHuge;
  HugeRange to(1, MADV_NOHUGEPAGE), from(1, MADV_HUGEPAGE);
  std::memset(from.at, 7, kHuge);
  REQUIRE(uffd.register_missing(to.at, kHuge).ok());
  MoveContext context{&uffd, to.at, from.at, 16 * kPage, kHuge};
  SigbusRouter router(resolve_by_move, &context);
  for (std::size_t at = 0; at < kHuge; at += 512) CHECK_EQ(touch(to.at + at), 7);
  CHECK_EQ(SigbusRouter::faults(), static_cast<int>(kHuge / (16 * kPage)));
  CHECK_EQ(context.errors.load(), 0);
}

TEST(kernel_move_eexist_when_the_destination_is_mapped) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(2), from(2);
  from.fill(5);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  REQUIRE(uffd.zeropage(to.page(0), kPage).ok());
  const UffdResult result = uffd.move(to.page(0), from.page(0), kPage);
  CHECK_EQ(result.error, EEXIST);
  CHECK_EQ(result.done, 0);
  CHECK(to.holds(0, 0));
  CHECK(from.holds(0, 5));
}

TEST(kernel_move_stops_at_an_obstacle_and_reports_progress) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(8), from(8);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  REQUIRE(uffd.zeropage(to.page(5), kPage).ok());
  UffdResult result = uffd.move(to.at, from.at, to.bytes);
  CHECK_EQ(result.error, EAGAIN);
  CHECK_EQ(result.done, static_cast<std::int64_t>(5 * kPage));
  result = uffd.move(to.page(5), from.page(5), 3 * kPage);  // re-issued from there it shows the reason
  CHECK_EQ(result.error, EEXIST);
  result = uffd.move(to.page(6), from.page(6), 2 * kPage);  // one page later it goes on
  CHECK(result.ok());
  CHECK(to.holds(4, 5));
  CHECK(to.holds(7, 8));
  CHECK_EQ(uffd.errors(Userfaultfd::Op::Move, 0), 1u);
  CHECK_EQ(uffd.errors(Userfaultfd::Op::Move, 1), 1u);
  CHECK_EQ(uffd.calls(Userfaultfd::Op::Move), 3u);
}

TEST(kernel_move_hole_is_enoent_and_an_allowed_hole_stays_missing) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(2), from(2);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  CHECK_EQ(uffd.move(to.at, from.at, kPage).error, ENOENT);
  const UffdResult result = uffd.move_with_holes(to.at, from.at, kPage);
  CHECK(result.ok());
  CHECK_EQ(result.done, static_cast<std::int64_t>(kPage));
  CHECK(!resident(to.at));
  CHECK(uffd.zeropage(to.at, kPage).ok());
}

TEST(kernel_move_arguments_are_checked) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(4), from(4), stranger(1);
  from.fill(1);
  stranger.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  CHECK_EQ(uffd.move(to.at + 8, from.at, kPage).error, EINVAL);
  CHECK_EQ(uffd.move(to.at, from.at + 8, kPage).error, EINVAL);
  CHECK_EQ(uffd.move(to.at, from.at, kPage / 2).error, EINVAL);
  CHECK_EQ(uffd.move(to.at, from.at, 0).error, EINVAL);
  CHECK_EQ(uffd.move(stranger.at, from.at, kPage).error, EINVAL);  // not registered
  CHECK_EQ(uffd.move(to.at, from.at, 64 * kPage).error, EINVAL);   // beyond the VMA
  REQUIRE_EQ(mprotect(from.page(3), kPage, PROT_READ), 0);
  CHECK_EQ(uffd.move(to.at, from.page(3), kPage).error, EINVAL);
  for (int i = 0; i < 4; i++) CHECK(!resident(to.page(static_cast<std::size_t>(i))));
}

TEST(kernel_move_refuses_shared_memory) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(1), from(1, PROT_READ | PROT_WRITE, MAP_SHARED);
  std::memset(from.at, 3, kPage);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  CHECK_EQ(uffd.move(to.at, from.at, kPage).error, EINVAL);
}

TEST(kernel_unregistered_destination_move_einval_copy_enoent) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(2), from(2);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  REQUIRE(uffd.unregister(to.at, to.bytes).ok());
  CHECK_EQ(uffd.move(to.at, from.at, kPage).error, EINVAL);
  CHECK_EQ(uffd.copy(to.at, from.at, kPage).error, ENOENT);
  CHECK_EQ(uffd.zeropage(to.at, kPage).error, ENOENT);
}

TEST(kernel_copy_fills_and_leaves_the_source) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(4), from(4);
  from.fill(11);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  CHECK(uffd.copy(to.at, from.at, 4 * kPage).ok());
  for (std::size_t i = 0; i < 4; i++) {
    CHECK(to.holds(i, static_cast<u8>(11 + i)));
    CHECK(from.holds(i, static_cast<u8>(11 + i)));
  }
  CHECK_EQ(uffd.copy(to.at, from.at, kPage).error, EEXIST);
}

TEST(kernel_move_of_a_zero_page) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(1), from(1);
  CHECK_EQ(touch(from.at), 0);  // maps the shared zero page
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  const UffdResult result = uffd.move(to.at, from.at, kPage);
  // Linux 6.8 says EBUSY; from 6.9 on the zero page moves as a zero page.
  CHECK(result.ok() || result.error == EBUSY);
  if (result.ok()) CHECK(to.holds(0, 0));
}

TEST(kernel_sigbus_once_a_page_and_nothing_on_the_descriptor) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  constexpr int kCount = 16;
  Pages pages(kCount);
  REQUIRE(uffd.register_missing(pages.at, pages.bytes).ok());
  SigbusRouter router(
      [](u8* page, void* context) { static_cast<const Userfaultfd*>(context)->zeropage(page, kPage); }, &uffd);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < kCount; i++) CHECK_EQ(touch(pages.page(static_cast<std::size_t>(i)) + 123), 0);
  }
  CHECK_EQ(SigbusRouter::faults(), kCount);
  UffdFault fault;
  CHECK_EQ(uffd.read_fault(&fault), EAGAIN);
  // Dropped pages are missing again.
  REQUIRE_EQ(madvise(pages.at, kPage, MADV_DONTNEED), 0);
  CHECK_EQ(touch(pages.at), 0);
  CHECK_EQ(SigbusRouter::faults(), kCount + 1);
}

TEST(kernel_system_calls_on_a_missing_page_get_efault) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages pages(1);
  REQUIRE(uffd.register_missing(pages.at, pages.bytes).ok());
  int ends[2];
  REQUIRE_EQ(pipe(ends), 0);
  CHECK_EQ(write(ends[1], pages.at, 1), -1);
  CHECK_EQ(errno, EFAULT);
  close(ends[0]);
  close(ends[1]);
}

TEST(kernel_fork_shares_pages_and_move_is_ebusy_until_written) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(2), from(2);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  CHECK_EQ(in_child([] { return 0; }), 0);
  // The child is gone, the sharing stays.
  CHECK_EQ(uffd.move(to.page(0), from.page(0), kPage).error, EBUSY);
  CHECK(uffd.copy(to.page(0), from.page(0), kPage).ok());
  from.page(1)[0] = 2;  // breaks the sharing
  CHECK(uffd.move(to.page(1), from.page(1), kPage).ok());
}

TEST(kernel_dontfork_keeps_pages_movable_across_fork) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages to(1), from(1);
  REQUIRE_EQ(madvise(from.at, from.bytes, MADV_DONTFORK), 0);
  REQUIRE_EQ(madvise(to.at, to.bytes, MADV_DONTFORK), 0);
  from.fill(1);
  REQUIRE(uffd.register_missing(to.at, to.bytes).ok());
  CHECK_EQ(in_child([] { return 0; }), 0);
  CHECK(uffd.move(to.at, from.at, kPage).ok());
}

TEST(kernel_child_inherits_no_registration) {
  NEEDS_USERFAULTFD;
  Userfaultfd uffd;
  REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
  Pages pages(1);
  REQUIRE(uffd.register_missing(pages.at, pages.bytes).ok());
  CHECK_EQ(in_child([&] { return touch(pages.at); }), 0);
}

TEST(kernel_registration_ends_with_the_descriptor) {
  NEEDS_USERFAULTFD;
  Pages pages(1);
  {
    Userfaultfd uffd;
    REQUIRE_EQ(uffd.open(uffd::kFeatureSigbus), 0);
    REQUIRE(uffd.register_missing(pages.at, pages.bytes).ok());
  }
  CHECK_EQ(touch(pages.at), 0);  // an ordinary first touch
}
