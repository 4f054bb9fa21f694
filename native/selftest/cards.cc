// Dirty tracking without a heap: the card table (native/core/memory/card-table.h) finds every dirty card of a range and no other, and the MMU's
// summary of it (write-tracking.h) tells every page that was written, however many pieces they lie in.
#include "core/memory/card-table.h"

#include <sys/mman.h>

#include <cstring>
#include <random>
#include <vector>

#include "core/marking/write-tracking.h"
#include "testing.h"

using namespace glissade;

namespace {

TEST(every_dirty_card_of_a_range_is_taken_once_and_no_other) {
  constexpr u32 kSeed = 5;
  constexpr std::size_t kCards = 5 * 64 + 24;  // groups of 64, and a rest
  alignas(8) u8 bytes[kCards];
  CardTable cards;
  cards.bind(bytes, kCards);
  std::mt19937 random(kSeed);
  u32 wrong = 0;
  for (u32 round = 0; round < 20'000; round++) {
    const std::size_t first = random() % kCards, end = first + random() % (kCards - first + 1);
    std::memset(bytes, 0, kCards);
    std::vector<std::size_t> expected, taken;
    // Few at a time: a group is looked at if one of its 64 is dirty.
    std::vector<bool> dirty(kCards);
    for (u32 i = random() % 6; i > 0; i--) dirty[random() % kCards] = true;
    for (std::size_t card = 0; card < kCards; card++) {
      bytes[card] = dirty[card];
      if (dirty[card] && card >= first && card < end) expected.push_back(card);
    }
    cards.take_dirty(first, end, [&](std::size_t card) { taken.push_back(card); });
    wrong += taken != expected;
    for (std::size_t card = 0; card < kCards; card++) wrong += cards.is_dirty(card) != (dirty[card] && (card < first || card >= end));
  }
  if (wrong) std::fprintf(stderr, "  seed %u\n", kSeed);
  CHECK_EQ(wrong, 0u);
}

TEST(a_page_is_clean_when_none_of_its_cards_is_dirty) {
  constexpr std::size_t kPages = 6;
  alignas(8) u8 bytes[kPages * 4] = {};
  CardTable cards;
  cards.bind(bytes, sizeof bytes);
  for (std::size_t card = 0; card < sizeof bytes; card++) {
    bytes[card] = 1;
    for (std::size_t page = 0; page < kPages; page++) CHECK_EQ(cards.page_is_clean(page), page != card / 4);
    cards.clear_all();
    CHECK_EQ(bytes[card], 0);
  }
  cards.dirty_pages(2, 3);
  for (std::size_t card = 0; card < sizeof bytes; card++) CHECK_EQ(cards.is_dirty(card), card >= 8 && card < 20);
}

/// A range of pages whose writes are tracked.
struct Tracked {
  static constexpr u32 kPages = 700;
  WriteTracking tracking;
  u8* begin = static_cast<u8*>(mmap(nullptr, kPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  bool started = begin != MAP_FAILED && tracking.start(begin, kPages * kPageSize);
  ~Tracked() {
    tracking.stop();
    munmap(begin, kPages * kPageSize);
  }
  void write(u32 page) { __atomic_store_n(begin + page * kPageSize + page % kPageSize, u8{1}, __ATOMIC_RELAXED); }
  /// How often each page was told.
  std::vector<u32> take() {
    std::vector<u32> told(kPages);
    tracking.take([&](WriteTracking::Range range) {
      for (std::size_t at = range.begin; at < range.end; at += kPageSize) told[at / kPageSize]++;
    });
    return told;
  }
};

TEST(pages_that_were_written_are_told_once_in_however_many_pieces_they_lie) {
  Tracked range;
  if (!range.started) SKIP("this kernel does not track writes");
  CHECK(range.take() == std::vector<u32>(Tracked::kPages));
  // Every other page: many times more pieces than one call of the kernel tells. Then long ones, and the ends.
  for (u32 round = 0; round < 3; round++) {
    std::vector<u32> written(Tracked::kPages);
    for (u32 page = round; page < Tracked::kPages; page += 2) written[page] = 1;
    if (round == 2) written.assign(Tracked::kPages, 1), written[300] = 0;
    for (u32 page = 0; page < Tracked::kPages; page++) {
      if (written[page]) range.write(page);
    }
    CHECK(range.take() == written);
    CHECK(range.take() == std::vector<u32>(Tracked::kPages));
  }
}

TEST(where_writes_are_not_tracked_any_more_all_pages_count_as_written) {
  Tracked range;
  if (!range.started) SKIP("this kernel does not track writes");
  range.write(10);
  // A page in the middle that the kernel knows nothing of: it refuses to scan the range.
  void* strange = mmap(range.begin + 400 * kPageSize, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  REQUIRE(strange != MAP_FAILED);
  std::vector<u32> told = range.take();
  CHECK_EQ(told[10], 1u);
  for (u32 page = 400; page < Tracked::kPages; page++) CHECK_EQ(told[page], 1u);
  CHECK(!range.tracking.active());
  CHECK(range.take() == std::vector<u32>(Tracked::kPages, 1));
}

}  // namespace
