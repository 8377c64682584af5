/** Quartiles of a figure. */
export interface Quartiles { readonly low: number, readonly median: number, readonly high: number }

/** The value below which this share of the figures lies; NaN for no figures. */
export function quantile (figures: readonly number[], share: number): number {
  const sorted = figures.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

/** The middle figure; the mean of the middle two if their number is even; NaN for no figures. */
export function median (figures: readonly number[]): number {
  const sorted = figures.toSorted((one, other) => one - other)
  return ((sorted[(sorted.length - 1) >> 1] ?? NaN) + (sorted[sorted.length >> 1] ?? NaN)) / 2
}

/** Median and quartiles of one run's slots. */
export function quartilesOf (figures: readonly number[]): Quartiles {
  return { low: quantile(figures, 0.25), median: median(figures), high: quantile(figures, 0.75) }
}
