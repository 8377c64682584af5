/** Upper bounds in seconds: fine around a millisecond, where Redis and cached responses are, and coarse where something is wrong. */
export const bounds: readonly number[] = Object.freeze([0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10])

/** How often which length of time was seen, since the start; the last count holds what is above every bound. */
export class Histogram {
  readonly counts: number[] = new Array(bounds.length + 1).fill(0)
  sumSeconds = 0

  observe (seconds: number): void {
    let index = 0
    while (index < bounds.length && seconds > (bounds[index] ?? 0)) index++
    this.counts[index] = (this.counts[index] ?? 0) + 1
    this.sumSeconds += seconds
  }

  get count (): number {
    return this.counts.reduce((sum, each) => sum + each, 0)
  }
}

/**
 * Estimates which length of time a share of all observations did not exceed, as Prometheus's `histogram_quantile` does: evenly within a bucket.
 *
 * @param counts of a {@link Histogram}, or the difference of two
 * @param share 0.5 is the median
 * @returns seconds; undefined when nothing was observed
 */
export function quantile (counts: readonly number[], share: number): number | undefined {
  const total = counts.reduce((sum, each) => sum + each, 0)
  if (total === 0) return undefined
  let left = share * total
  for (let index = 0; index < bounds.length; index++) {
    const count = counts[index] ?? 0
    const [low, high] = [bounds[index - 1] ?? 0, bounds[index] ?? 0]
    if (count > 0 && left <= count) return low + (high - low) * left / count
    left -= count
  }
  return bounds.at(-1)
}

/** Adds up histograms, bucket by bucket. */
export function addUp (histograms: readonly Histogram[]): number[] {
  const sum = new Histogram().counts.slice()
  for (const { counts } of histograms) for (let index = 0; index < sum.length; index++) sum[index] = (sum[index] ?? 0) + (counts[index] ?? 0)
  return sum
}
