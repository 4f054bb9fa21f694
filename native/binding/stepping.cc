// Functions of src/testing/stepping.ts. All are called by one thread, which is a running mutator where the call says so.
//
// | function                        | does                                                                                   |
// | rest()                          | waits until the cycle rests; where                                                     |
// | portion(objects)                | how many objects a trace marks from one rest to the next                               |
// | marked()                        | what this trace has marked so far                                                      |
// | pageWord(page), pageKind(page)  | the page's word and kind                                                               |
// | pageContent(page)               | the source pages that it reads, first and last; empty if it reads none                 |
// | compactPage(page)               | the collector builds and places the page. False: the cycle does not rest in compaction |
// | holdPage(page, point)           | the same, up to the hold point. False: it never got there and is done                  |
// | releasePage()                   | ends holdPage                                                                          |
// | touch(page)                     | running: reads the page's first word; whether that was a fault                         |
// | interleave(page, order)         | running: the collector (0) and this thread (1) on one page, in this order; the turns   |
#include "binding/stepping.h"

#include <sched.h>

#include "core/heap.h"

namespace glissade::binding {
namespace {

constexpr u32 kCollector = 0, kCaller = 1;
constexpr u32 kPagePoints = Stepping::bit(HoldPoint::Looking) | Stepping::bit(HoldPoint::Claiming) | Stepping::bit(HoldPoint::Overtaking) |
                            Stepping::bit(HoldPoint::Claimed) | Stepping::bit(HoldPoint::Built) | Stepping::bit(HoldPoint::Published) |
                            Stepping::bit(HoldPoint::Placing) | Stepping::bit(HoldPoint::Placed);

u32 natural(const Napi::CallbackInfo& info, u32 i) { return info[i].ToNumber().Uint32Value(); }

u32 read_page(Heap& heap, u32 page) { return __atomic_load_n(reinterpret_cast<u32*>(heap.space.to_page({page})), __ATOMIC_RELAXED); }

Napi::Value interleave(Napi::Env env, Heap& heap, u32 page, const Napi::Uint8Array& order) {
  Stepping& steps = heap.steps;
  if (heap.rest() != Rest::Compact) return env.Null();
  steps.enlist(kCollector, heap.collector_thread(), kPagePoints);
  steps.enlist(kCaller, pthread_self(), kPagePoints);
  steps.arm(page, order.Data(), static_cast<u32>(order.ElementLength()));
  heap.start_page(page);
  read_page(heap, page);
  steps.leave();
  steps.wait_until_done();
  heap.rest();
  steps.disarm();
  Napi::Array turns = Napi::Array::New(env, steps.turns());
  for (u32 i = 0; i < steps.turns(); i++) {
    const Stepping::Turn& turn = steps.turn(i);
    Napi::Object o = Napi::Object::New(env);
    o.Set("actor", turn.actor);
    o.Set("from", static_cast<u32>(turn.from));
    o.Set("enabled", turn.enabled);
    o.Set("before", turn.before.bits);
    o.Set("after", turn.after.bits);
    turns.Set(i, o);
  }
  return turns;
}

bool hold_page(Heap& heap, u32 page, u32 point) {
  Stepping& steps = heap.steps;
  const u8 order[] = {kCollector, kCaller};
  steps.enlist(kCollector, heap.collector_thread(), Stepping::bit(HoldPoint::Looking) | 1u << point);
  steps.enlist_keeper(kCaller);
  // The first turn takes it from looking to the point; looking itself is no place to be taken to.
  steps.arm(page, order, point == static_cast<u32>(HoldPoint::Looking) ? 0 : 2);
  if (!heap.start_page(page)) {
    steps.disarm();
    return false;
  }
  if (steps.wait_for_turn_of(kCaller) && !steps.done(kCollector)) return true;
  steps.release(kCaller);
  heap.rest();
  steps.disarm();
  return false;
}

}  // namespace

void bind_stepping(Napi::Env env, Napi::Object object, Heap& heap_of_object) {
  Heap* heap = &heap_of_object;
  const auto method = [&](const char* name, auto body) { object.Set(name, Napi::Function::New(env, body, name)); };
  method("rest", [heap](const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<u32>(heap->rest())); });
  method("portion", [heap](const Napi::CallbackInfo& info) { heap->steps.portion.store(natural(info, 0)); });
  method("marked", [heap](const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(heap->steps.marked.load())); });
  method("pageWord", [heap](const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), heap->page_words[natural(info, 0)].load().bits); });
  method("pageKind", [heap](const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<u32>(heap->builder.kind(natural(info, 0))));
  });
  method("pageContent", [heap](const Napi::CallbackInfo& info) {
    const u32 page = natural(info, 0);
    Napi::Array sources = Napi::Array::New(info.Env());
    const PageKind kind = heap->builder.kind(page);
    if (kind == PageKind::Empty) return sources;
    sources.Set(0u, heap->builder.source_page(page));
    sources.Set(1u, kind == PageKind::Compacted ? heap->page_infos[page].last / kGranulesPerPage : heap->builder.source_page(page));
    return sources;
  });
  method("compactPage", [heap](const Napi::CallbackInfo& info) {
    const bool started = heap->start_page(natural(info, 0));
    heap->rest();
    return Napi::Boolean::New(info.Env(), started);
  });
  method("holdPage", [heap](const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), hold_page(*heap, natural(info, 0), natural(info, 1)));
  });
  method("releasePage", [heap](const Napi::CallbackInfo& info) {
    heap->steps.release(kCaller);
    heap->steps.wait_until_done();
    heap->rest();
    heap->steps.disarm();
  });
  method("touch", [heap](const Napi::CallbackInfo& info) {
    const u64 faults = heap->statistics.barrierFaults.load();
    read_page(*heap, natural(info, 0));
    // A fault thread lets this one go on when the page is there; the state follows a moment later.
    while (heap->options.faults == Faults::Thread && heap->compaction.in_flight.load() != 0) sched_yield();
    return Napi::Boolean::New(info.Env(), heap->statistics.barrierFaults.load() != faults);
  });
  method("interleave", [heap](const Napi::CallbackInfo& info) {
    return interleave(info.Env(), *heap, natural(info, 0), info[1].As<Napi::Uint8Array>());
  });
}

Napi::Object stepping_names(Napi::Env env) {
  const auto list = [&](std::initializer_list<const char*> names) {
    Napi::Array array = Napi::Array::New(env);
    for (const char* name : names) array.Set(array.Length(), name);
    return array;
  };
  Napi::Object o = Napi::Object::New(env);
#define X(name, doc) #name,
  o.Set("points", list({GLISSADE_HOLD_POINTS(X)}));
#undef X
#define X(name, from, to, builders) #name,
  o.Set("edges", list({GLISSADE_PAGE_EDGES(X)}));
#undef X
#define X(name, doc) #name,
  o.Set("rests", list({GLISSADE_RESTS(X)}));
#undef X
#define X(name) #name,
  o.Set("kinds", list({GLISSADE_PAGE_KINDS(X)}));
#undef X
  return o;
}

}  // namespace glissade::binding
