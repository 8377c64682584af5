/**
 * The number of runs of a property test: `count` in `npm test`, and `SOAK_FACTOR` times as many in `npm run soak properties`.
 */
export function propertyRuns (count: number): number {
  return count * Number(process.env.SOAK_FACTOR ?? 1)
}
