// The programs of bench/workloads in Java, for the collectors of a JVM. bench/peers.ts compiles and runs them,
//
//   java -XX:+UseZGC -Xmx896m -cp FOLDER Peers pusher messages=1000000 window=200000 rate=0
//
// and reads what they print as the last line: the times of the steps as they were recorded (bench/step-clock.ts makes
// percentiles and curves of them, as it does for every system). The same operations in the same order from the same
// seeds as in TypeScript, the same chained clock readings, the same checks of the result.

import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

public final class Peers {
  /** A step lasts from the end of the one before it; with a rate, from when it was due. Recording allocates nothing. */
  static final class Clock {
    static final int BUCKETS = 64 * 32, BINS = 10 * 150_000;
    final int[] counts = new int[BUCKETS];
    /** Units of work done in each tenth of a millisecond: steps, or nodes of trees. */
    final int[] bins = new int[BINS];
    /** From and to of what the program skipped, in ns since the start. */
    final long[] skips = new long[256];
    int skipped, grain = 1;
    final double interval;
    long steps, start, last, due, max;

    Clock(long rate) {
      interval = rate == 0 ? 0 : 1e9 / rate;
    }
    void start() {
      start = last = due = System.nanoTime();
    }
    /** What the program did since the last step is no step. */
    void skip() {
      long now = System.nanoTime();
      skips[skipped++] = last - start;
      skips[skipped++] = now - start;
      last = now;
    }
    boolean due() {
      if (interval == 0) return true;
      long next = start + (long) (steps * interval);
      if (System.nanoTime() < next) return false;
      due = next;
      return true;
    }
    void step() {
      step(1);
    }
    /** Ends a step, in which so many units of work were done that `work` has not counted. */
    void step(int units) {
      long now = System.nanoTime();
      long ns = Math.max(0, now - (interval == 0 ? last : due));
      last = now;
      steps++;
      if (ns > max) max = ns;
      counts[Math.min(bucket(ns), BUCKETS - 1)]++;
      count(now, units);
    }
    /** Within a step: so much work has been done since the last call. */
    void work(int units) {
      count(System.nanoTime(), units);
    }
    /** Whether a program of so many seconds is over: metered, when all that came in them is done. */
    boolean over(double seconds) {
      if (interval != 0) return steps >= seconds * 1e9 / interval;
      return (steps & 15) == 0 && last - start > seconds * 1e9;
    }
    private void count(long now, int units) {
      if (units > grain) grain = units;
      long bin = (now - start) / 100_000;
      if (bin < BINS) bins[(int) bin] += units;
    }
    static int bucket(long ns) {
      if (ns < 64) return (int) ns;
      int power = 63 - Long.numberOfLeadingZeros(ns);
      return (power - 5) * 64 + (int) ((ns >>> (power - 6)) & 63);
    }
  }

  static void expect(String what, long found, long expected) {
    if (found != expected) throw new AssertionError(what + ": " + found + " instead of " + expected);
  }

  /** What a compiler might otherwise find to be unused. */
  static Object sink;

  static int state = 1;
  /** xorshift32, as in TypeScript. */
  static int random(int below) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Integer.remainderUnsigned(state, below);
  }

  // ---- pusher

  static void pusher(Clock clock, int messages, int window) {
    byte[][] held = new byte[window][];
    clock.start();
    for (int i = 0, slot = 0; i < messages; i++) {
      byte[] message = new byte[1024];
      Arrays.fill(message, (byte) i);
      held[slot] = message;
      if (++slot == window) slot = 0;
      clock.step();
    }
    expect("the last message", held[(messages - 1) % window][1023] & 255, (messages - 1) & 255);
  }

  // ---- binary-trees

  static final class Pair {
    final Pair left, right;
    Pair(Pair left, Pair right) {
      this.left = left;
      this.right = right;
    }
    int check() {
      return left == null ? 1 : 1 + left.check() + right.check();
    }
    static Pair build(int depth, Clock clock) {
      if (depth == 0) return new Pair(null, null);
      Pair made = new Pair(build(depth - 1, clock), build(depth - 1, clock));
      if (depth == COUNTED_DEPTH) clock.work((int) nodes(depth));
      return made;
    }
  }

  /** Trees are counted in nodes: by the tree where it is small, and after each subtree of this depth where it is larger. */
  static final int COUNTED_DEPTH = 9;
  static long nodes(int depth) {
    return (2L << depth) - 1;
  }
  static int uncounted(int depth) {
    return depth < COUNTED_DEPTH ? (int) nodes(depth) : 0;
  }

  static void binaryTrees(Clock clock, int n) {
    clock.start();
    expect("stretch tree", Pair.build(n + 1, clock).check(), nodes(n + 1));
    clock.step(0);
    Pair longLived = Pair.build(n, clock);
    for (int depth = 4; depth <= n; depth += 2) {
      long found = 0, times = 1L << (n - depth + 4);
      for (long i = times; i > 0; i--) {
        found += Pair.build(depth, clock).check();
        clock.step(uncounted(depth));
      }
      expect("trees of depth " + depth, found, times * nodes(depth));
    }
    expect("long-lived tree", longLived.check(), nodes(n));
  }

  // ---- GCBench

  static final class Node {
    Node left, right;
    int i, j;
    Node(Node left, Node right) {
      this.left = left;
      this.right = right;
    }
    static void populate(int depth, Node node, Clock clock) {
      if (depth <= 0) return;
      node.left = new Node(null, null);
      node.right = new Node(null, null);
      populate(depth - 1, node.left, clock);
      populate(depth - 1, node.right, clock);
      if (depth == COUNTED_DEPTH) clock.work((int) nodes(depth) - 1);
    }
    static Node make(int depth, Clock clock) {
      if (depth <= 0) return new Node(null, null);
      Node made = new Node(make(depth - 1, clock), make(depth - 1, clock));
      if (depth == COUNTED_DEPTH) clock.work((int) nodes(depth));
      return made;
    }
    static long count(Node node) {
      return node == null ? 0 : 1 + count(node.left) + count(node.right);
    }
  }

  static void gcbench(Clock clock, int stretch, int longLived) {
    clock.start();
    expect("stretch tree", Node.count(Node.make(stretch, clock)), nodes(stretch));
    clock.step(0);
    Node kept = new Node(null, null);
    Node.populate(longLived, kept, clock);
    double[] array = new double[500_000];
    for (int i = 0; i < 250_000; i++) array[i] = 1.0 / (i + 1);
    for (int depth = 4; depth <= longLived; depth += 2) {
      for (long i = 2 * nodes(stretch) / nodes(depth); i > 0; i--) {
        Node down = new Node(null, null);
        Node.populate(depth, down, clock);
        sink = down;
        clock.step(uncounted(depth));
        sink = Node.make(depth, clock);
        clock.step(uncounted(depth));
      }
    }
    expect("long-lived tree", Node.count(kept), nodes(longLived));
    expect("array", (long) (array[999] * 1e6), 1000);
  }

  // ---- quads

  static final class Quad {
    final Quad a, b, c, d;
    Quad(Quad a, Quad b, Quad c, Quad d) {
      this.a = a;
      this.b = b;
      this.c = c;
      this.d = d;
    }
    static Quad build(int depth) {
      return depth == 0
          ? new Quad(null, null, null, null)
          : new Quad(build(depth - 1), build(depth - 1), build(depth - 1), build(depth - 1));
    }
    static long count(Quad quad) {
      return quad == null ? 0 : 1 + count(quad.a) + count(quad.b) + count(quad.c) + count(quad.d);
    }
    static long nodes(int depth) {
      return ((1L << 2 * (depth + 1)) - 1) / 3;
    }
  }

  static void quads(Clock clock, int depth) {
    Quad deep = Quad.build(depth);
    long trees = (long) (Quad.nodes(depth) * 2 / 7.5 / Quad.nodes(3));
    clock.start();
    for (int round = 0; round < 20; round++) {
      for (long i = trees; i > 0; i--) {
        expect("a shallow tree", Quad.count(Quad.build(3)), Quad.nodes(3));
        clock.step();
      }
      expect("the deep tree", Quad.count(deep), Quad.nodes(depth));
      clock.skip();
    }
  }

  // ---- fragmentation

  static void fragmentation(Clock clock, int budgetMiB) {
    int most = 2 * (int) (budgetMiB * 524288L / 32);
    int[][] held = new int[most][];
    clock.start();
    for (int round = 0, bytes = 32; round < 6; round++, bytes *= 2) {
      int half = (int) (budgetMiB * 524288L / bytes);
      for (int i = 0; i < 2 * half; i++) {
        int[] made = new int[bytes / 4 - 4]; // and 16 bytes of header
        made[0] = i;
        held[i] = made;
        if ((i & 1) == 1) held[i - 1] = null;
        clock.step();
      }
      for (int i = 1; i < 2 * half; i += 2) expect("a survivor", held[i][0], i);
      for (int i = 2 * half; i < most; i++) held[i] = null;
      clock.skip();
    }
  }

  // ---- hashtable

  static final class Entry {
    final int key;
    final Entry next;
    int[] item;
    Entry(int key, int[] item, Entry next) {
      this.key = key;
      this.item = item;
      this.next = next;
    }
  }
  static int[] item(int key) {
    int[] item = new int[254];
    for (int w = 0; w < 254; w++) item[w] = key + w;
    return item;
  }
  static int bucket(int key, int buckets) {
    return Integer.remainderUnsigned(((key ^ (key >>> 15)) * 0x2c1b3c6d) ^ (key >>> 7), buckets);
  }
  static Entry find(Entry[] buckets, int key) {
    Entry entry = buckets[bucket(key, buckets.length)];
    while (entry != null && entry.key != key) entry = entry.next;
    return entry;
  }

  static void hashtable(Clock clock, int items, double seconds) {
    Entry[] buckets = new Entry[items];
    for (int key = 0; key < items; key++) {
      int bucket = bucket(key, items);
      buckets[bucket] = new Entry(key, item(key), buckets[bucket]);
    }
    clock.start();
    for (;;) {
      if (!clock.due()) continue;
      int key = random(items);
      expect("an item", find(buckets, key).item[9], key + 9);
      find(buckets, key).item = item(key);
      clock.step();
      if (clock.over(seconds)) break;
    }
  }

  // ---- churn

  static final class Linked {
    Linked next, cross, left, right;
    double key, value, weight;
  }

  static void replace(Linked[] directory, int slot, int known) {
    Linked head = null;
    for (int i = 0; i < 16; i++) {
      Linked made = new Linked();
      made.next = head;
      if (known > 0) made.cross = directory[random(known)];
      made.key = i;
      head = made;
    }
    directory[slot] = head;
  }

  static void churn(Clock clock, int liveMiB, double seconds) {
    int clusters = (int) (liveMiB * 1048576L / (48 * 16 + 4)), anchors = clusters >> 1;
    Linked[] directory = new Linked[clusters];
    for (int slot = 0; slot < clusters; slot++) replace(directory, slot, Math.min(slot, anchors));
    clock.start();
    for (;;) {
      if (!clock.due()) continue;
      replace(directory, anchors + random(clusters - anchors), anchors);
      for (int i = 0; i < 4; i++) {
        Linked from = directory[random(anchors)].next;
        from.cross = directory[random(anchors)];
      }
      clock.step();
      if (clock.over(seconds)) break;
    }
    int found = 0;
    for (Linked node = directory[clusters - 1]; node != null; node = node.next) found++;
    expect("nodes of a cluster", found, 16);
  }

  // ---- pauses

  static final class Item {
    final Item left;
    Item right;
    double key;
    Item(Item left) {
      this.left = left;
    }
  }

  static void renew(Item[] directory, Item[] table, int slot) {
    Item head = null;
    for (int i = 0; i < 1000; i++) head = new Item(head);
    directory[slot] = head;
    for (int h = slot; h < table.length; h += directory.length) table[h] = head;
  }

  static void pauses(Clock clock, int liveMiB, int handles, double seconds) {
    Item[] directory = new Item[(int) (liveMiB * 1048576L / 24 / 1000)], table = new Item[handles];
    for (int slot = 0; slot < directory.length; slot++) renew(directory, table, slot);
    long end = System.nanoTime() + (long) (seconds * 1e9);
    clock.start();
    while (System.nanoTime() < end) {
      renew(directory, table, random(directory.length));
      clock.step();
    }
  }

  // ---- what it cost

  static double kib(String file, String name) throws Exception {
    for (String line : Files.readAllLines(Path.of(file))) {
      if (line.startsWith(name + ":")) return Double.parseDouble(line.replaceAll("[^0-9]", ""));
    }
    return 0;
  }

  /**
   * The kernel's high-water mark of resident memory. ZGC may map its heap at three addresses, and the kernel counts each:
   * what is counted more than once (resident less proportional shared memory) is taken off again.
   */
  static double peakRssMiB() throws Exception {
    double peak = kib("/proc/self/status", "VmHWM");
    double mapped = kib("/proc/self/status", "RssShmem"), once = kib("/proc/self/smaps_rollup", "Pss_Shmem");
    return (peak - Math.max(0, mapped - once)) / 1024;
  }

  static String sparse(int[] values) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < values.length; i++) {
      if (values[i] != 0) text.append(text.isEmpty() ? "" : ",").append(i).append(',').append(values[i]);
    }
    return text.toString();
  }

  static String milliseconds(long[] ns, int count) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < count; i++) text.append(i == 0 ? "" : ",").append(String.format(Locale.ROOT, "%.4f", ns[i] / 1e6));
    return text.toString();
  }

  public static void main(String[] args) throws Exception {
    Map<String, Double> p = new HashMap<>();
    for (int i = 1; i < args.length; i++) {
      String[] parts = args[i].split("=");
      p.put(parts[0], Double.parseDouble(parts[1]));
    }
    java.util.function.ToIntFunction<String> of = name -> p.get(name).intValue();
    var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    Clock clock = new Clock(of.applyAsInt("rate"));
    var runtime = ManagementFactory.getRuntimeMXBean();
    long began = runtime.getUptime();
    long cpu = system.getProcessCpuTime(), begin = System.nanoTime();
    switch (args[0]) {
      case "pusher" -> pusher(clock, of.applyAsInt("messages"), of.applyAsInt("window"));
      case "binary-trees" -> binaryTrees(clock, of.applyAsInt("n"));
      case "gcbench" -> gcbench(clock, of.applyAsInt("stretch"), of.applyAsInt("longLived"));
      case "quads" -> quads(clock, of.applyAsInt("depth"));
      case "fragmentation" -> fragmentation(clock, of.applyAsInt("budgetMiB"));
      case "hashtable" -> hashtable(clock, of.applyAsInt("items"), p.get("seconds"));
      case "churn" -> churn(clock, of.applyAsInt("liveMiB"), p.get("seconds"));
      case "pauses" -> pauses(clock, of.applyAsInt("liveMiB"), of.applyAsInt("handles"), p.get("seconds"));
      default -> throw new IllegalArgumentException(args[0]);
    }
    double wall = (System.nanoTime() - begin) / 1e9, used = (system.getProcessCpuTime() - cpu) / 1e9;
    long ended = runtime.getUptime() + 1;  // rounded down to whole milliseconds
    double peak = peakRssMiB();
    System.out.printf(
        Locale.ROOT,
        "{\"wallS\":%.4f,\"cpuS\":%.4f,\"peakRssMiB\":%.1f,\"steps\":%d,\"elapsedMs\":%.4f,\"maxNs\":%d,"
            + "\"counts\":[%s],\"bins\":[%s],\"grain\":%d,\"skips\":[%s],\"stopsUs\":[],\"loggedMs\":[%d,%d]}%n",
        wall, used, peak, clock.steps, (clock.last - clock.start) / 1e6, clock.max, sparse(clock.counts), sparse(clock.bins),
        clock.grain, milliseconds(clock.skips, clock.skipped), began, ended);
  }
}
