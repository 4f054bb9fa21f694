// The bugs that mutation-check.mjs plants: one broken rule each, written the way one would get it wrong.
//
// name, what it stands for, the file, the text (once in the file) and what replaces it (or `patches`, several of these);
// `stress`: options under which it should show, none where stress cannot notice; `tests`: parts of npm test that concern
// it (a file of test/, or a filter of the native self-test).

const concurrent = ['--collector', 'concurrent']
const plain = [...concurrent, '--inject', '']
const of = (...workloads) => [...concurrent, '--workload', workloads.join(',')]

const barriers = 'src/heap/barriers.ts'
const marking = 'native/core/marking.cc'
const builder = 'native/core/page-builder.cc'
const compaction = 'native/core/compaction.cc'
const collector = 'native/core/collector.cc'
const placement = 'native/core/placement.cc'
const prepare = 'native/core/prepare.cc'
const blocks = 'native/core/block-table.h'

export const MUTANTS = [
  // ── the mutator's side
  {
    name: 'skip-card-of-ref',
    what: 'setRef stores no card (invariant 8)',
    file: barriers,
    find: '      const slot = object + at\n      i32[slot] = ref\n      cards[slot >>> ${CARD_SHIFT}] = 1',
    replace: '      const slot = object + at\n      i32[slot] = ref',
    stress: of('lists', 'graphs', 'trees'),
    tests: ['test/differential.test.ts'],
  },
  {
    name: 'skip-card-of-value-ref',
    what: 'setValueRef stores no card (invariant 8)',
    file: barriers,
    find: 'i32[word + 1] = ${Tag.Ref}\n      cards[word >>> ${CARD_SHIFT}] = 1',
    replace: 'i32[word + 1] = ${Tag.Ref}',
    stress: of('lists', 'graphs'),
    tests: ['test/differential.test.ts'],
  },
  {
    name: 'skip-card-of-copied-value',
    what: 'copyValue stores no card (invariant 8)',
    file: barriers,
    find: 'f64[target] = f64[source]\n      cards[target >>> ${CARD_SHIFT - 1}] = 1',
    replace: 'f64[target] = f64[source]',
    stress: of('values', 'tables'),
    tests: ['test/conformance'],
  },
  {
    name: 'no-nan-canonicalisation',
    what: 'a NaN is stored with the bits it has, which may be those of a reference',
    file: barriers,
    find: 'f64[(object >>> 1) + at] = value === value ? value : NaN',
    replace: 'f64[(object >>> 1) + at] = value',
    stress: of('lists', 'tables'),
    tests: ['test/barriers.test.ts'],
  },
  {
    name: 'integer-payload-first',
    what: 'a tagged integer is stored payload first: for a moment it wears the old tag',
    file: barriers,
    find: 'i32[word + 1] = ${Tag.Int}\n      i32[word] = value',
    replace: 'i32[word] = value\n      i32[word + 1] = ${Tag.Int}',
    stress: of('values'),
    tests: ['test/barriers.test.ts'],
  },
  {
    name: 'reference-tag-first',
    what: 'a reference is stored tag first: for a moment the old payload is a reference',
    file: barriers,
    find: 'i32[word] = ref\n      i32[word + 1] = ${Tag.Ref}\n',
    replace: 'i32[word + 1] = ${Tag.Ref}\n      i32[word] = ref\n',
    stress: of('values'),
    tests: ['test/barriers.test.ts'],
  },
  {
    name: 'table-root-without-card',
    what: 'a store into a table root area marks no root card',
    file: 'src/heap/roots.ts',
    find: '    rootCards[word >>> CARD_SHIFT] = 1',
    replace: '    void rootCards, word, CARD_SHIFT',
    stress: of('graphs', 'lists', 'trees'),
  },
  {
    name: 'handle-slot-without-card',
    what: 'a new handle marks no root card',
    file: 'src/heap/scopes.ts',
    find: '    control[chunk.topIndex] = this.#next - chunk.start\n    rootCards[slot >>> CARD_SHIFT] = 1\n    return slot',
    replace: '    control[chunk.topIndex] = this.#next - chunk.start\n    void rootCards\n    return slot',
    stress: of('handles', 'lists'),
  },

  // ── marking
  {
    name: 'forget-table-areas',
    what: 'marking does not start from table areas',
    file: marking,
    find: '} else if (!area.is_weak()) {',
    replace: '} else if (false) {',
    stress: plain,
    tests: ['collection'],
  },
  {
    name: 'forget-stacks-in-remark',
    what: 'remark does not look at stacks again',
    file: marking,
    find: '    if (area.is_stack()) visit_stack(marker, area.index, false);',
    replace: '',
    stress: of('stacks', 'trees'),
  },
  {
    name: 'stale-stack-shadow',
    what: 'the copy of the stacks is kept from one cycle to the next: what did not change is not visited',
    file: marking,
    find: 'heap_.roots.shadow(i).clear();',
    replace: ';',
    stress: of('stacks', 'trees'),
    tests: ['collection'],
  },
  {
    name: 'remark-skips-cards',
    what: 'remark takes the dirty cards and does not scan them',
    file: marking,
    find: '  Marker marker(heap_, false);\n  for (u32 card : heap_cards_) marker.scan_card(card);\n  for (u32 card : root_cards_) visit_root_card(marker, card);\n  heap_.roots.for_each([&](const AreaView& area) {\n    if (area.is_stack()) visit_stack(marker, area.index, false);',
    replace:
      '  Marker marker(heap_, false);\n  for (u32 card : root_cards_) visit_root_card(marker, card);\n  heap_.roots.for_each([&](const AreaView& area) {\n    if (area.is_stack()) visit_stack(marker, area.index, false);',
    stress: of('lists', 'graphs'),
  },
  {
    name: 'preclean-loses-cards',
    what: 'precleaning clears the cards and does not scan them',
    file: marking,
    find: '  resume(marker);\n  for (u32 card : heap_cards_) marker.scan_card(card);',
    replace: '  resume(marker);',
    stress: of('lists', 'graphs'),
  },
  {
    name: 'card-misses-covering',
    what: 'a dirty card is scanned from the first object that begins in it',
    file: marking,
    find: 'if (heap_.blocks.covering_header(at.block(), covering)) at.index = scan_object(covering);',
    replace: '(void)covering;',
    stress: of('arrays', 'tables'),
  },
  {
    name: 'values-not-traced',
    what: 'marking does not follow values',
    file: marking,
    find: 'if (static_cast<u32>(bits >> 32) == layout::kTagRef) visit(Ref{static_cast<u32>(bits)});',
    replace: '(void)bits;',
    stress: plain,
  },
  {
    name: 'large-array-first-piece',
    what: 'of a large array only the first piece is traced',
    file: marking,
    find: 'if (next == end) arrays_.pop_back();',
    replace: 'if (true) arrays_.pop_back();',
    stress: of('arrays'),
    tests: ['large_objects'],
  },
  {
    name: 'weak-kept',
    what: 'weak references to dead objects are not cleared',
    file: collector,
    find: 'if (area.words[i] != 0 && !is_marked({area.words[i]})) area.words[i] = 0;',
    replace: '',
    stress: of('weak'),
  },
  {
    name: 'weak-cleared-early',
    what: 'weak references to live objects are cleared',
    file: collector,
    find: 'if (area.words[i] != 0 && !is_marked({area.words[i]})) area.words[i] = 0;',
    replace: 'area.words[i] = 0;',
    stress: of('weak'),
  },
  {
    name: 'tlab-open-at-remark',
    what: 'TLABs are not retired at remark: objects are born unmarked among the old ones',
    file: collector,
    find: 'heap.safepoint.for_each([&](Mutator& mutator) { heap.retire_tlab(mutator); });',
    replace: '',
    stress: plain,
  },
  {
    name: 'allocation-not-black',
    what: 'after remark allocation is not black: retiring TLABs records no first objects',
    file: collector,
    find: 'heap.moving.black = true;',
    replace: '',
    stress: plain,
  },
  {
    name: 'sweep-marked-large',
    what: 'large objects are swept although they are marked',
    file: collector,
    find: 'if (objects.is_marked(page)) return;',
    replace: 'if (objects.is_marked(page) && page % 4 != 0) return;',
    stress: of('arrays'),
  },

  // ── prepare and forwarding
  {
    name: 'destination-off-by-one',
    what: 'the destination counts the granule itself among those below it',
    file: blocks,
    find: '((u64{1} << g.bit()) - 1);\n    return {b.destination',
    replace: '((u64{2} << g.bit()) - 1);\n    return {b.destination',
    stress: plain,
  },
  {
    name: 'cover-off-by-one',
    what: 'the object that covers a block is looked for one granule late',
    file: blocks,
    find: 'header = {b.cover - 1};',
    replace: 'header = {b.cover};',
    stress: plain,
  },
  {
    name: 'prefix-straddler-untranslated',
    what: 'in the dense prefix the object that a page begins in the middle of keeps its old references',
    file: builder,
    find: '[&](u32 offset, bool is_value) { patch.slot(offset - begin, is_value); });\n    at = covered;',
    replace: '[&](u32, bool) {});\n    at = covered;',
    stress: plain,
  },
  {
    name: 'straddler-phase',
    what: 'a page takes the object that covers its first byte to begin one granule earlier',
    file: prepare,
    find: 'info.phase = at - header.index;',
    replace: 'info.phase = at - header.index + (begins ? 0 : 1);',
    stress: plain,
  },
  {
    name: 'source-count-misses-last',
    what: 'the last source page of a page is not counted: it is released too early (invariant 3)',
    file: prepare,
    find: 'for (u32 source = info.source / kGranulesPerPage; source <= last_live / kGranulesPerPage; source++) {',
    replace: 'for (u32 source = info.source / kGranulesPerPage; source < last_live / kGranulesPerPage; source++) {',
    stress: plain,
  },

  // ── building pages
  {
    name: 'straddler-untranslated',
    what: 'references in the part of an object that a page begins with are not translated (invariant 2)',
    file: builder,
    find: '[&](u32 offset, bool is_value) { translator.slot(buffer + (offset - begin), is_value); });',
    replace: '[&](u32, bool) {});',
    stress: plain,
  },
  {
    name: 'black-untranslated',
    what: 'pages born after remark are moved without translating their references',
    file: builder,
    find: '  translate_objects(buffer, info, kGranulesPerPage);',
    replace: '',
    stress: plain,
  },
  {
    name: 'black-slide-half',
    what: 'references to black objects slide by half the distance',
    file: 'native/core/forwarding.h',
    find: 'return {old.word + 2 * static_cast<u32>(slide)};',
    replace: 'return {old.word + static_cast<u32>(slide)};',
    stress: plain,
  },
  {
    name: 'large-untranslated',
    what: 'large objects keep the references of before the flip',
    file: builder,
    find: 'if (!heap_.shapes[head.shape].has_references()) return PageContent::Source;',
    replace: 'return PageContent::Source;',
    stress: of('arrays'),
    tests: ['large_objects'],
  },
  {
    name: 'missed-handle-update',
    what: 'the first slot of each page of roots and handles is not updated',
    file: builder,
    find: 'for (u32 at = 0; at < end; at += slot_bytes) patch.slot(at, area.is_value);',
    replace: 'for (u32 at = slot_bytes; at < end; at += slot_bytes) patch.slot(at, area.is_value);',
    stress: plain,
  },
  {
    name: 'value-roots-by-half',
    what: 'root areas of values are taken for half as long as they are',
    file: builder,
    find: 'const u32 slot_bytes = area.is_value ? 8 : 4;',
    replace: 'const u32 slot_bytes = 4;',
    stress: of('stacks'),
  },
  {
    name: 'stack-tail-kept',
    what: 'what lies above the top of a stack is not zeroed',
    file: builder,
    find: 'if (end < kPageSize) patch.zero_from(end);',
    replace: '',
    stress: of('stacks'),
  },
  {
    name: 'weak-roots-not-moved',
    what: 'weak areas are forgotten by the flip: their slots keep old addresses',
    file: 'native/core/flip.cc',
    find: 'if (!roots.view(i, area)) {',
    replace: 'if (!roots.view(i, area) || area.is_weak()) {',
    stress: of('weak', 'lists'),
  },

  // ── sources, buffers and placing
  {
    name: 'release-at-first-reader',
    what: 'a source page is released when the first of its readers leaves (invariant 3)',
    file: compaction,
    find: 'heap_.source_counts[source].fetch_sub(1, std::memory_order_acq_rel) == 1) recycle(source);',
    replace: 'heap_.source_counts[source].fetch_sub(1, std::memory_order_acq_rel) >= 1) recycle(source);',
    stress: plain,
  },
  {
    name: 'reuse-buffer-before-mapped',
    what: 'a built buffer serves the next page before it has been placed (invariant 4)',
    file: compaction,
    find: '        buffer = kNoBuffer;\n        built++;',
    replace: '        built++;',
    stress: plain,
  },
  {
    name: 'tlab-not-zeroed',
    what: 'recycled pages become TLABs with what was in them',
    file: compaction,
    find: '    std::memset(source, 0, std::size_t{extent.pages} << kPageShift);',
    replace: '',
    stress: plain,
  },
  {
    name: 'free-memory-not-zeroed',
    what: 'evacuated pages above the live end become TLABs with what was in them',
    file: 'native/core/allocation.cc',
    find: 'if (dirty) std::memset(space.to_page({first}), 0, std::size_t{dirty} << kPageShift);',
    replace: '(void)dirty;',
    stress: plain,
  },
  {
    name: 'busy-page-given-up',
    what: 'a page that cannot be moved (EBUSY) counts as placed',
    file: placement,
    find: 'note_relocation_error(placing.error, page);\n      return copy_one(page, buffer);',
    replace: 'note_relocation_error(placing.error, page);\n      return {1, true};',
    stress: [...concurrent, '--inject', 'move:EBUSY=0.05'],
  },
  {
    name: 'again-taken-for-done',
    what: 'a move that was asked to try again (EAGAIN) counts as done',
    file: placement,
    find: '    default: cpu_pause();\n',
    replace: '    default: return {1, false};\n',
    stress: [...concurrent, '--inject', 'move:EAGAIN=0.05'],
  },
  {
    name: 'no-closing-finish',
    what: 'the close does not wait for pages that others are building',
    file: compaction,
    find: 'while (heap_.page_words[page].load().state() != PageState::Mapped) resolve(page, false);',
    replace: '(void)page;',
    stress: [...concurrent, '--mutators', '3', '--inject', ''],
  },
  {
    name: 'no-closing-drain',
    what: 'page states are reset while handlers are still inside (invariant 9)',
    file: compaction,
    find: 'while (in_flight.load(std::memory_order_seq_cst) != 0) sched_yield();',
    replace: '',
    stress: [...concurrent, '--mutators', '3', '--inject', ''],
  },
  {
    // Nothing is lost by it: the next cycle clears marks and records black pages anew. But what is born black while that
    // cycle marks stays for a cycle longer, which no model of a program's objects can see.
    name: 'cancelled-flip-stays-black',
    what: 'a flip that the kernel refused leaves allocation black',
    file: 'native/core/flip.cc',
    find: '    moving.black = false;\n    statistics.flip_us',
    replace: '    statistics.flip_us',
    tests: ['test/stress-regressions.test.ts'],
  },
  {
    // Either patch alone breaks nothing. The kernel maps before it wakes, and a fault queues itself before it looks whether
    // the page is mapped: so a placing that wakes leaves nobody asleep, and one that does not is made good by the fault
    // thread, which reads a message for every sleeper. Without both a sleeper waits for the close of the compaction,
    // whose UNREGISTER wakes everybody: stress sees a slow program, and only a collection at rest shows the deadlock.
    name: 'fault-thread-wakes-nobody',
    what: 'with faults by thread nobody is woken when the page arrives',
    patches: [
      {
        file: 'native/core/page-barrier.cc',
        find: '      uffd_.wake(reinterpret_cast<void*>(fault.address), kPageSize);',
        replace: '',
      },
      {
        file: 'native/core/userfaultfd.cc',
        find: '  dont_wake_ = (features & uffd::kFeatureSigbus) != 0 ? kDontWake : 0;',
        replace: '  dont_wake_ = kDontWake;',
      },
    ],
    tests: ['test/stress-regressions.test.ts'],
  },

  // ── large objects, waiting, verification, stress
  {
    name: 'nobody-told-of-memory',
    what: 'threads that wait for memory are not told that a flip has freed some',
    file: collector,
    find: '      announce_memory();\n',
    replace: '',
    stress: of('lists', 'arrays'),
  },
  {
    name: 'large-object-not-cleared',
    what: 'a large object that takes recycled pages of the moving space begins with what was in them',
    file: 'native/core/allocation.cc',
    find: 'madvise(space.to_page({first}), std::size_t{moving.dirty_end - first} << kPageShift, MADV_DONTNEED);',
    replace: ';',
    stress: of('arrays', 'fragmentation'),
  },
  {
    name: 'relocation-error-unsaid',
    what: "with relocation 'move' a page that had to be copied is no error",
    file: placement,
    find: 'if (heap_.relocation == Relocation::Move) heap_.note_relocation_error(placing.error, page);',
    replace: '',
    tests: ['test/stress-regressions.test.ts'],
  },
  {
    name: 'site-period-from-one',
    what: 'stress by site forgets the first allocation of a site when there is a period',
    file: 'src/heap/slow-path.ts',
    find: 'return before === 0 || (sitePeriod > 0 && before % sitePeriod === 0)',
    replace: 'return sitePeriod > 0 ? (before + 1) % sitePeriod === 0 : before === 0',
    tests: ['test/stress-options.test.ts'],
  },
  {
    name: 'stress-bytes-lose-the-rest',
    what: 'stress by bytes begins each interval anew instead of counting on',
    file: 'src/heap/slow-path.ts',
    find: '      bytes %= everyBytes\n',
    replace: '      bytes = 0\n',
    tests: ['test/stress-options.test.ts'],
  },
  {
    name: 'weak-cleared-in-checked',
    what: 'a checked heap forgets objects that only a weak reference still gives',
    file: 'src/gc/trace.ts',
    find: '  forEachRootSlot(core, reachSlot, true)',
    replace: '  forEachRootSlot(core, reachSlot)',
    tests: ['test/stress-regressions.test.ts'],
  },
]
