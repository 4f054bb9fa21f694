/** One row of a benchmark's result, as `glissade bench --json` writes it. Latencies are in microseconds. */
export interface Latency {
  readonly count: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly p9999: number
  readonly max: number
}

export interface Row {
  readonly bench: string
  readonly workload: string
  readonly system: string
  readonly runs: number
  readonly wallS: number
  readonly cpuS: number
  readonly peakRssMiB: number
  readonly latencyUs?: Latency
  readonly stopUs?: Latency
  readonly faultUs?: Latency
  readonly allocationStallUs?: Latency
}
