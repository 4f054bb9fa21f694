// Page runs and the table of large objects; see large-objects.h.
#include "core/memory/large-objects.h"

#include <iterator>

namespace glissade {

void PageRuns::reset(u32 first, u32 end) {
  runs_.clear();
  if (first < end) runs_[first] = end - first;
}

u32 PageRuns::take_lowest(u32 pages) {
  for (auto it = runs_.begin(); it != runs_.end(); ++it) {
    if (it->second < pages) continue;
    const u32 first = it->first;
    const u32 rest = it->second - pages;
    runs_.erase(it);
    if (rest) runs_[first + pages] = rest;
    return first;
  }
  return kNone;
}

u32 PageRuns::take_highest(u32 pages) {
  for (auto it = runs_.rbegin(); it != runs_.rend(); ++it) {
    if (it->second < pages) continue;
    const u32 first = it->first;
    const u32 rest = it->second - pages;
    if (rest) it->second = rest;
    else runs_.erase(std::next(it).base());
    return first + rest;
  }
  return kNone;
}

void PageRuns::give(u32 first, u32 pages) {
  auto next = runs_.lower_bound(first);
  if (next != runs_.end() && next->first == first + pages) {
    pages += next->second;
    next = runs_.erase(next);
  }
  if (next != runs_.begin()) {
    auto previous = std::prev(next);
    if (previous->first + previous->second == first) {
      previous->second += pages;
      return;
    }
  }
  runs_[first] = pages;
}

u32 PageRuns::run_at(u32 first) const {
  auto it = runs_.find(first);
  return it == runs_.end() ? 0 : it->second;
}

void LargeObjects::place(u32 page, u32 shape, u32 granules, bool marked) {
  const u32 pages = pages_for_granules(granules);
  Head& head = heads_[page];
  head.granules = granules;
  head.mark.store(marked ? 1 : 0, std::memory_order_relaxed);
  for (u32 p = page; p < page + pages; p++) head_of_[p] = page + 1;
  // release: a marker that reaches the object through a reference has synchronised through that reference's store;
  // the shape comes last for walkers by address.
  __atomic_store_n(&head.shape, shape, __ATOMIC_RELEASE);
}

void LargeObjects::remove(u32 page) {
  Head& head = heads_[page];
  const u32 pages = pages_for_granules(head.granules);
  head.shape = 0;
  for (u32 p = page; p < page + pages; p++) head_of_[p] = 0;
}

}  // namespace glissade
