// The two halves of ARCHITECTURE.md agree: constants of src/heap/layout.ts against those of native/core/memory/layout.h.
import { readFileSync } from 'node:fs'
import { layout, Tag } from 'glissade'
import { expect, it } from 'vitest'
import { loadNative } from '../dist/gc/native-loader.js'

const native = loadNative().exports?.['layout'] as { readonly [name: string]: unknown } | undefined
const { Word, MutatorWord, AreaWord, ShapeWord } = layout

it.skipIf(native === undefined)('has the same constants on both sides', () => {
  expect(native).toEqual({
    kMagic: layout.MAGIC,
    kMagicWord: Word.Magic,
    kHeapStateWord: Word.HeapState,
    kPhaseWord: Word.Phase,
    kEpochWord: Word.Epoch,
    kCyclesWord: Word.Cycles,
    kShapeCountWord: Word.ShapeCount,
    kSlotMapLengthWord: Word.SlotMapLength,
    kAreaCountWord: Word.AreaCount,
    kMutatorBase: layout.MUTATOR_BASE,
    kMutatorWords: layout.MUTATOR_WORDS,
    kMaxMutators: layout.MAX_MUTATORS,
    kPoll: MutatorWord.Poll,
    kTlabTop: MutatorWord.TlabTop,
    kTlabLimit: MutatorWord.TlabLimit,
    kRunning: MutatorWord.Running,
    kStackLimit: MutatorWord.StackLimit,
    kStackLimitRestore: MutatorWord.StackLimitRestore,
    kStackLimitArea: MutatorWord.StackLimitArea,
    kPollRestore: MutatorWord.PollRestore,
    kReservedEnd: MutatorWord.ReservedEnd,
    kInspecting: MutatorWord.Inspecting,
    kAreaBase: layout.AREA_BASE,
    kAreaWords: layout.AREA_WORDS,
    kMaxAreas: layout.MAX_AREAS,
    kAreaKind: AreaWord.Kind,
    kAreaStart: AreaWord.Start,
    kAreaCapacity: AreaWord.Capacity,
    kAreaTop: AreaWord.Top,
    kAreaOwner: AreaWord.Owner,
    kAreaDue: AreaWord.Due,
    kAreaDueArea: AreaWord.DueArea,
    kShapeBase: layout.SHAPE_BASE,
    kShapeWords: layout.SHAPE_WORDS,
    kMaxShapes: layout.MAX_SHAPES,
    kShapeKind: ShapeWord.Kind,
    kShapeSize: ShapeWord.Size,
    kShapeSlotStart: ShapeWord.SlotStart,
    kShapeSlotCount: ShapeWord.SlotCount,
    kShapeWeak: ShapeWord.Weak,
    kWeakElements: layout.WeakElements.Elements,
    kWeakKeys: layout.WeakElements.Keys,
    kSlotMapBase: layout.SLOT_MAP_BASE,
    kMaxSlotMap: layout.MAX_SLOT_MAP,
    kControlWords: layout.CONTROL_WORDS,
    kFreeShape: layout.FREE_SHAPE,
    kFillerShape: layout.FILLER_SHAPE,
    kFirstShape: layout.FIRST_SHAPE,
    kTagRef: Tag.Ref,
    kTagUndefined: Tag.Undefined,
    kCardShift: layout.CARD_SHIFT,
    kFlagBits: layout.FLAG_BITS,
    kLargeObjectBytes: layout.LARGE_BYTES,
    kPageSize: layout.PAGE_BYTES,
    Phase: layout.Phase,
    AreaKind: layout.AreaKind,
    ShapeKind: layout.ShapeKind,
  })
})

/** What only one side has a use for: it follows from others there. */
const OF_THE_CORE_ALONE = ['kCardBytes', 'kCardGranules']

it.skipIf(native === undefined)('leaves out none of the constants that the core has', () => {
  const header = readFileSync(new URL('../native/core/memory/layout.h', import.meta.url), 'utf8')
  const names = [...header.matchAll(/\b(k[A-Z]\w*) = /g)].map(([, name]) => name)
  expect(names.length).toBeGreaterThan(50)
  expect(names.filter((name) => !(name in (native as object)))).toEqual(OF_THE_CORE_ALONE)
})
