// The programs of bench/workloads in Java, for the collectors of a JVM: run by bench/peers.ts as a single source file,
//
//   java -XX:+UseZGC -Xmx896m Peers.java pusher messages=1000000 window=200000 rate=0
//
// and it prints the outcome of one run (bench/rows.ts) as the last line. The same operations in the same order as in
// TypeScript, the same chained clock, the same histogram (64 steps to the doubling).

import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

public final class Peers {
  static final class Clock {
    final long[] counts = new long[64 * 64];
    final double interval;
    long steps, start, last, due, max;

    Clock(long rate) {
      interval = rate == 0 ? 0 : 1e9 / rate;
    }
    void start() {
      start = last = due = System.nanoTime();
    }
    boolean due() {
      if (interval == 0) return true;
      long next = start + (long) (steps * interval);
      if (System.nanoTime() < next) return false;
      due = next;
      return true;
    }
    void step() {
      long now = System.nanoTime();
      long ns = Math.max(0, now - (interval == 0 ? last : due));
      last = now;
      steps++;
      if (ns > max) max = ns;
      counts[bucket(ns)]++;
    }
    static int bucket(long ns) {
      if (ns < 64) return (int) ns;
      int power = 63 - Long.numberOfLeadingZeros(ns);
      return (power - 5) * 64 + (int) ((ns >>> (power - 6)) & 63);
    }
    double quantile(double fraction) {
      long rank = Math.max(1, (long) Math.ceil(steps * fraction)), seen = 0;
      for (int b = 0; b < counts.length; b++) {
        seen += counts[b];
        if (seen < rank) continue;
        double edge = b < 64 ? b : (64 + b % 64 + 1) * Math.pow(2, b / 64 - 1);
        return Math.min(edge, max) / 1000;
      }
      return max / 1000.0;
    }
    String curve() {
      StringBuilder text = new StringBuilder("[");
      for (int i = 0; ; i++) {
        double fraction = 1 - Math.pow(10, -i / 10.0);
        if ((1 - fraction) * steps < 1) break;
        text.append(String.format(Locale.ROOT, "[%.8f,%.3f],", fraction, quantile(fraction)));
      }
      return text + String.format(Locale.ROOT, "[%.8f,%.3f]]", 1 - 1.0 / Math.max(2, steps), max / 1000.0);
    }
  }

  static void expect(String what, long found, long expected) {
    if (found != expected) throw new AssertionError(what + ": " + found + " instead of " + expected);
  }

  // ---- pusher

  static void pusher(Clock clock, int messages, int window) {
    byte[][] held = new byte[window][];
    clock.start();
    for (int i = 0, slot = 0; i < messages; i++) {
      byte[] message = new byte[1024];
      java.util.Arrays.fill(message, (byte) i);
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
    static Pair build(int depth) {
      return depth == 0 ? new Pair(null, null) : new Pair(build(depth - 1), build(depth - 1));
    }
  }

  static long nodes(int depth) {
    return (2L << depth) - 1;
  }

  static void binaryTrees(Clock clock, int n) {
    clock.start();
    expect("stretch tree", Pair.build(n + 1).check(), nodes(n + 1));
    clock.step();
    Pair longLived = Pair.build(n);
    for (int depth = 4; depth <= n; depth += 2) {
      long found = 0, times = 1L << (n - depth + 4);
      for (long i = times; i > 0; i--) {
        found += Pair.build(depth).check();
        clock.step();
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
    static void populate(int depth, Node node) {
      if (depth <= 0) return;
      node.left = new Node(null, null);
      node.right = new Node(null, null);
      populate(depth - 1, node.left);
      populate(depth - 1, node.right);
    }
    static Node make(int depth) {
      return depth <= 0 ? new Node(null, null) : new Node(make(depth - 1), make(depth - 1));
    }
    static long count(Node node) {
      return node == null ? 0 : 1 + count(node.left) + count(node.right);
    }
  }

  static Object sink;

  static void gcbench(Clock clock, int stretch, int longLived) {
    clock.start();
    expect("stretch tree", Node.count(Node.make(stretch)), nodes(stretch));
    clock.step();
    Node kept = new Node(null, null);
    Node.populate(longLived, kept);
    double[] array = new double[500_000];
    for (int i = 0; i < 250_000; i++) array[i] = 1.0 / (i + 1);
    for (int depth = 4; depth <= longLived; depth += 2) {
      for (long i = 2 * nodes(stretch) / nodes(depth); i > 0; i--) {
        Node down = new Node(null, null);
        Node.populate(depth, down);
        sink = down;
        clock.step();
        sink = Node.make(depth);
        clock.step();
      }
    }
    expect("long-lived tree", Node.count(kept), nodes(longLived));
    expect("array", (long) (array[999] * 1e6), 1000);
  }

  // ---- churn

  static final class Linked {
    Linked next, cross, left, right;
    double key = 0.5, value = 0.5, weight = 0.5;
  }

  static int state = 1;
  static int random(int below) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Integer.remainderUnsigned(state, below);
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

  static void churn(Clock clock, int liveMiB, int seconds) {
    int clusters = (int) (liveMiB * 1048576L / (48 * 16 + 4)), anchors = clusters >> 1;
    Linked[] directory = new Linked[clusters];
    for (int slot = 0; slot < clusters; slot++) replace(directory, slot, Math.min(slot, anchors));
    long end = System.nanoTime() + seconds * 1_000_000_000L;
    clock.start();
    for (;;) {
      if (!clock.due()) continue;
      replace(directory, anchors + random(clusters - anchors), anchors);
      for (int i = 0; i < 4; i++) {
        Linked from = directory[random(anchors)].next;
        from.cross = directory[random(anchors)];
      }
      clock.step();
      if ((clock.steps & 15) == 0 && System.nanoTime() > end) break;
    }
    int found = 0;
    for (Linked node = directory[clusters - 1]; node != null; node = node.next) found++;
    expect("nodes of a cluster", found, 16);
  }

  static double peakRssMiB() throws Exception {
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
      if (line.startsWith("VmHWM:")) return Double.parseDouble(line.replaceAll("[^0-9]", "")) / 1024;
    }
    return 0;
  }

  public static void main(String[] args) throws Exception {
    Map<String, Integer> p = new HashMap<>();
    for (int i = 1; i < args.length; i++) {
      String[] parts = args[i].split("=");
      p.put(parts[0], Integer.parseInt(parts[1]));
    }
    var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    Clock clock = new Clock(p.get("rate"));
    long cpu = system.getProcessCpuTime(), begin = System.nanoTime();
    switch (args[0]) {
      case "pusher" -> pusher(clock, p.get("messages"), p.get("window"));
      case "binary-trees" -> binaryTrees(clock, p.get("n"));
      case "gcbench" -> gcbench(clock, p.get("stretch"), p.get("longLived"));
      case "churn" -> churn(clock, p.get("liveMiB"), p.get("seconds"));
      default -> throw new IllegalArgumentException(args[0]);
    }
    double wall = (System.nanoTime() - begin) / 1e9, used = (system.getProcessCpuTime() - cpu) / 1e9;
    System.out.printf(
        Locale.ROOT,
        "{\"figures\":{\"wallS\":%.4f,\"cpuS\":%.4f,\"peakRssMiB\":%.1f,\"steps\":%d,\"stepsPerS\":%.1f},"
            + "\"histograms\":{\"latencyUs\":{\"count\":%d,\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"p9999\":%.3f,\"max\":%.3f}},"
            + "\"series\":{\"latency\":%s}}%n",
        wall, used, peakRssMiB(), clock.steps, clock.steps / ((clock.last - clock.start) / 1e9),
        clock.steps, clock.quantile(0.5), clock.quantile(0.99), clock.quantile(0.999), clock.quantile(0.9999),
        clock.max / 1000.0, clock.curve());
  }
}
