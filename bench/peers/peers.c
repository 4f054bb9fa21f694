// The allocation-heavy programs of bench/workloads in C, on the Boehm-Demers-Weiser collector. bench/peers.ts compiles and
// runs them,
//
//   gcc -O2 -o peers peers.c -lgc && ./peers pusher messages=1000000 window=200000 rate=0
//
// and reads what they print: the times of the steps as they were recorded, in the form of Peers.java. The same operations
// in the same order from the same seeds, the same chained clock readings, the same checks. Collections of this library
// stop the world and mark with as many threads as there are processors; its stops are timed by its own events.

#define GC_THREADS  // declares GC_start_mark_threads
#include <gc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// ---- the clock of steps

enum { kBuckets = 64 * 32, kBins = 10 * 150000, kStops = 1 << 16, kSkips = 256 };
static uint32_t counts[kBuckets], bins[kBins];
static int64_t steps, start, last, due_at, longest;
static double interval;
static double stops[kStops];
static int stop_count;
static double skips[kSkips];  // from and to of what the program skipped, in ms since the start
static int skip_count;
static uint32_t grain = 1;  // the most units of work counted at once

static void clock_start(void) { start = last = due_at = now_ns(CLOCK_MONOTONIC); }
static void clock_skip(void) {
  const int64_t now = now_ns(CLOCK_MONOTONIC);
  if (skip_count + 2 <= kSkips) {
    skips[skip_count++] = (double)(last - start) / 1e6;
    skips[skip_count++] = (double)(now - start) / 1e6;
  }
  last = now;
}
static void count_work(int64_t now, uint32_t units) {
  if (units > grain) grain = units;
  const int64_t bin = (now - start) / 100000;
  if (bin < kBins) bins[bin] += units;
}
/// Within a step: so much work has been done since the last call.
static void clock_work(uint32_t units) { count_work(now_ns(CLOCK_MONOTONIC), units); }
static int clock_due(void) {
  if (interval == 0) return 1;
  const int64_t next = start + (int64_t)((double)steps * interval);
  if (now_ns(CLOCK_MONOTONIC) < next) return 0;
  due_at = next;
  return 1;
}
/// Ends a step, in which so many units of work were done that clock_work has not counted.
static void clock_step_of(uint32_t units) {
  const int64_t now = now_ns(CLOCK_MONOTONIC);
  int64_t ns = now - (interval == 0 ? last : due_at);
  if (ns < 0) ns = 0;
  last = now;
  steps++;
  if (ns > longest) longest = ns;
  int bucket = (int)ns;
  if (ns >= 64) {
    const int power = 63 - __builtin_clzll((uint64_t)ns);
    bucket = (power - 5) * 64 + (int)((ns >> (power - 6)) & 63);
  }
  counts[bucket < kBuckets ? bucket : kBuckets - 1]++;
  count_work(now, units);
}
static void clock_step(void) { clock_step_of(1); }
/// Whether a program of so many seconds is over: metered, when all that came in them is done.
static int clock_over(double seconds) {
  if (interval != 0) return (double)steps >= seconds * 1e9 / interval;
  return (steps & 15) == 0 && (double)(last - start) > seconds * 1e9;
}

static void on_event(GC_EventType event) {
  static int64_t stopped;
  if (event == GC_EVENT_PRE_STOP_WORLD) stopped = now_ns(CLOCK_MONOTONIC);
  if (event == GC_EVENT_POST_START_WORLD && stop_count < kStops) {
    stops[stop_count++] = (double)(now_ns(CLOCK_MONOTONIC) - stopped) / 1000;
  }
}

static void expect(const char* what, int64_t found, int64_t expected) {
  if (found == expected) return;
  fprintf(stderr, "Error: %s: %lld instead of %lld\n", what, (long long)found, (long long)expected);
  exit(1);
}

/// What to ask for to get `bytes` (a multiple of 16): the library adds a byte, for pointers past the end, and rounds up.
static size_t request_for(size_t bytes) { return bytes - 1; }

static void* allocate(size_t bytes) {
  void* made = GC_MALLOC(bytes);
  if (made != NULL) return made;
  fprintf(stderr, "Error: out of memory\n");
  exit(1);
}

static uint32_t state = 1;
static uint32_t below(uint32_t n) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state % n;
}

static void* volatile sink;

// ---- pusher

static void pusher(int messages, int window) {
  unsigned char** held = allocate(sizeof(unsigned char*) * (size_t)window);
  clock_start();
  for (int i = 0, slot = 0; i < messages; i++) {
    unsigned char* message = GC_MALLOC_ATOMIC(request_for(1024));
    if (message == NULL) expect("out of memory", 0, 1);
    memset(message, i & 255, request_for(1024));
    held[slot] = message;
    if (++slot == window) slot = 0;
    clock_step();
  }
  expect("the last message", held[(messages - 1) % window][1022], (messages - 1) & 255);
}

// ---- binary-trees

// Trees are counted in nodes: by the tree where it is small, and after each subtree of this depth where it is larger.
enum { kCountedDepth = 9 };
static int64_t nodes(int depth) { return (2LL << depth) - 1; }
static uint32_t uncounted(int depth) { return depth < kCountedDepth ? (uint32_t)nodes(depth) : 0; }

struct pair { struct pair *left, *right; };
static struct pair* pair_build(int depth) {
  struct pair* left = depth > 0 ? pair_build(depth - 1) : NULL;
  struct pair* right = depth > 0 ? pair_build(depth - 1) : NULL;
  struct pair* made = allocate(sizeof *made);
  made->left = left;
  made->right = right;
  if (depth == kCountedDepth) clock_work((uint32_t)nodes(depth));
  return made;
}
static int pair_check(const struct pair* tree) {
  return tree->left == NULL ? 1 : 1 + pair_check(tree->left) + pair_check(tree->right);
}

static void binary_trees(int n) {
  clock_start();
  expect("stretch tree", pair_check(pair_build(n + 1)), nodes(n + 1));
  clock_step_of(0);
  struct pair* long_lived = pair_build(n);
  for (int depth = 4; depth <= n; depth += 2) {
    int64_t found = 0, times = 1LL << (n - depth + 4);
    for (int64_t i = times; i > 0; i--) {
      found += pair_check(pair_build(depth));
      clock_step_of(uncounted(depth));
    }
    expect("trees of a depth", found, times * nodes(depth));
  }
  expect("long-lived tree", pair_check(long_lived), nodes(n));
}

// ---- GCBench

struct node { struct node *left, *right; int i, j; };
static void populate(int depth, struct node* node) {
  if (depth <= 0) return;
  node->left = allocate(sizeof *node);
  node->right = allocate(sizeof *node);
  populate(depth - 1, node->left);
  populate(depth - 1, node->right);
  if (depth == kCountedDepth) clock_work((uint32_t)nodes(depth) - 1);
}
static struct node* make(int depth) {
  if (depth <= 0) return allocate(sizeof(struct node));
  struct node* left = make(depth - 1);
  struct node* right = make(depth - 1);
  struct node* made = allocate(sizeof *made);
  made->left = left;
  made->right = right;
  if (depth == kCountedDepth) clock_work((uint32_t)nodes(depth));
  return made;
}
static int64_t count(const struct node* node) { return node == NULL ? 0 : 1 + count(node->left) + count(node->right); }

static void gcbench(int stretch, int long_lived) {
  clock_start();
  expect("stretch tree", count(make(stretch)), nodes(stretch));
  clock_step_of(0);
  struct node* kept = allocate(sizeof *kept);
  populate(long_lived, kept);
  double* array = GC_MALLOC_ATOMIC(500000 * sizeof(double));
  memset(array, 0, 500000 * sizeof(double));
  for (int i = 0; i < 250000; i++) array[i] = 1.0 / (i + 1);
  for (int depth = 4; depth <= long_lived; depth += 2) {
    for (int64_t i = 2 * nodes(stretch) / nodes(depth); i > 0; i--) {
      struct node* down = allocate(sizeof *down);
      populate(depth, down);
      sink = down;
      clock_step_of(uncounted(depth));
      sink = make(depth);
      clock_step_of(uncounted(depth));
    }
  }
  expect("long-lived tree", count(kept), nodes(long_lived));
  expect("array", (int64_t)(array[999] * 1e6), 1000);
}

// ---- quads

struct quad { struct quad *a, *b, *c, *d; };
static struct quad* quad_build(int depth) {
  if (depth == 0) return allocate(sizeof(struct quad));
  struct quad *a = quad_build(depth - 1), *b = quad_build(depth - 1), *c = quad_build(depth - 1), *d = quad_build(depth - 1);
  struct quad* made = allocate(sizeof *made);
  *made = (struct quad){a, b, c, d};
  return made;
}
static int64_t quad_count(const struct quad* q) {
  return q == NULL ? 0 : 1 + quad_count(q->a) + quad_count(q->b) + quad_count(q->c) + quad_count(q->d);
}
static int64_t quad_nodes(int depth) { return ((1LL << 2 * (depth + 1)) - 1) / 3; }

static void quads(int depth) {
  struct quad* deep = quad_build(depth);
  const int64_t trees = (int64_t)((double)(quad_nodes(depth) * 2) / 7.5 / (double)quad_nodes(3));
  clock_start();
  for (int round = 0; round < 20; round++) {
    for (int64_t i = trees; i > 0; i--) {
      expect("a shallow tree", quad_count(quad_build(3)), quad_nodes(3));
      clock_step();
    }
    expect("the deep tree", quad_count(deep), quad_nodes(depth));
    clock_skip();
  }
}

// ---- fragmentation

static void fragmentation(int budget_mib) {
  const int64_t most = 2 * (budget_mib * 524288LL / 32);
  int** held = allocate(sizeof(int*) * (size_t)most);
  clock_start();
  for (int round = 0, bytes = 32; round < 6; round++, bytes *= 2) {
    const int64_t half = budget_mib * 524288LL / bytes;
    for (int64_t i = 0; i < 2 * half; i++) {
      int* made = GC_MALLOC_ATOMIC(request_for((size_t)bytes));
      if (made == NULL) expect("out of memory", 0, 1);
      memset(made, 0, request_for((size_t)bytes));
      made[0] = (int)i;
      held[i] = made;
      if (i & 1) held[i - 1] = NULL;
      clock_step();
    }
    for (int64_t i = 1; i < 2 * half; i += 2) expect("a survivor", held[i][0], i);
    for (int64_t i = 2 * half; i < most; i++) held[i] = NULL;
    clock_skip();
  }
}

// ---- churn

struct linked { struct linked *next, *cross, *left, *right; double key, value, weight; };
static void replace(struct linked** directory, uint32_t slot, uint32_t known) {
  struct linked* head = NULL;
  for (int i = 0; i < 16; i++) {
    struct linked* made = allocate(sizeof *made);
    made->next = head;
    if (known > 0) made->cross = directory[below(known)];
    made->key = i;
    head = made;
  }
  directory[slot] = head;
}

static void churn(int live_mib, double seconds) {
  const uint32_t clusters = (uint32_t)(live_mib * 1048576LL / (48 * 16 + 4)), anchors = clusters >> 1;
  struct linked** directory = allocate(sizeof(struct linked*) * clusters);
  for (uint32_t slot = 0; slot < clusters; slot++) replace(directory, slot, slot < anchors ? slot : anchors);
  clock_start();
  for (;;) {
    if (!clock_due()) continue;
    replace(directory, anchors + below(clusters - anchors), anchors);
    for (int i = 0; i < 4; i++) {
      struct linked* from = directory[below(anchors)]->next;
      from->cross = directory[below(anchors)];
    }
    clock_step();
    if (clock_over(seconds)) break;
  }
  int found = 0;
  for (struct linked* node = directory[clusters - 1]; node != NULL; node = node->next) found++;
  expect("nodes of a cluster", found, 16);
}

// ---- what it cost

static double peak_rss_mib(void) {
  char line[256];
  long kib = 0;
  FILE* file = fopen("/proc/self/status", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
  }
  if (file != NULL) fclose(file);
  return (double)kib / 1024;
}

static void print_sparse(const char* name, const uint32_t* values, int length) {
  const char* comma = "";
  printf("\"%s\":[", name);
  for (int i = 0; i < length; i++) {
    if (values[i] == 0) continue;
    printf("%s%d,%u", comma, i, values[i]);
    comma = ",";
  }
  printf("],");
}

static int argc_;
static char** argv_;
static double parameter(const char* name) {
  const size_t length = strlen(name);
  for (int i = 2; i < argc_; i++) {
    if (strncmp(argv_[i], name, length) == 0 && argv_[i][length] == '=') return atof(argv_[i] + length + 1);
  }
  fprintf(stderr, "Error: no parameter %s\n", name);
  exit(2);
}

int main(int argc, char** argv) {
  argc_ = argc;
  argv_ = argv;
  const char* program = argc > 1 ? argv[1] : "";
  GC_INIT();
  GC_start_mark_threads();  // of itself the library starts them with the program's second thread
  GC_set_on_collection_event(on_event);
  const double rate = parameter("rate");
  interval = rate == 0 ? 0 : 1e9 / rate;
  const int64_t cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID), begin = now_ns(CLOCK_MONOTONIC);
  if (strcmp(program, "pusher") == 0) {
    pusher((int)parameter("messages"), (int)parameter("window"));
  } else if (strcmp(program, "binary-trees") == 0) {
    binary_trees((int)parameter("n"));
  } else if (strcmp(program, "gcbench") == 0) {
    gcbench((int)parameter("stretch"), (int)parameter("longLived"));
  } else if (strcmp(program, "quads") == 0) {
    quads((int)parameter("depth"));
  } else if (strcmp(program, "fragmentation") == 0) {
    fragmentation((int)parameter("budgetMiB"));
  } else if (strcmp(program, "churn") == 0) {
    churn((int)parameter("liveMiB"), parameter("seconds"));
  } else {
    fprintf(stderr, "Error: no program is called '%s'\n", program);
    return 2;
  }
  const double wall = (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9;
  const double used = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9;
  printf("{\"wallS\":%.4f,\"cpuS\":%.4f,\"peakRssMiB\":%.1f,\"steps\":%lld,\"elapsedMs\":%.4f,\"maxNs\":%lld,", wall, used,
         peak_rss_mib(), (long long)steps, (double)(last - start) / 1e6, (long long)longest);
  print_sparse("counts", counts, kBuckets);
  print_sparse("bins", bins, kBins);
  printf("\"grain\":%u,\"skips\":[", grain);
  for (int i = 0; i < skip_count; i++) printf("%s%.4f", i == 0 ? "" : ",", skips[i]);
  printf("],\"stopsUs\":[");
  for (int i = 0; i < stop_count; i++) printf("%s%.3f", i == 0 ? "" : ",", stops[i]);
  printf("]}\n");
  return 0;
}
