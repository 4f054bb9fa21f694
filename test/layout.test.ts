// The two halves of ARCHITECTURE.md agree: constants of src/heap/layout.ts against those of native/core/memory/layout.h.
import { layout, Tag } from 'glissade'
import { expect, it } from 'vitest'
import { loadNative } from '../dist/gc/native-loader.js'

const native = loadNative().exports?.['layout'] as { readonly [name: string]: unknown } | undefined
const { Word, MutatorWord, AreaWord } = layout

it.skipIf(native === undefined)('has the same constants on both sides, none left out', () => {
  expect(native).toEqual({
    kMagic: layout.MAGIC,
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
    kShapeWeak: layout.ShapeWord.Weak,
    kWeakElements: layout.WeakElements.Elements,
    kWeakKeys: layout.WeakElements.Keys,
    kSlotMapBase: layout.SLOT_MAP_BASE,
    kMaxSlotMap: layout.MAX_SLOT_MAP,
    kControlWords: layout.CONTROL_WORDS,
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
