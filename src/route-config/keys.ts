/** The keys of a route's `config` that this package reads. */
export const features = ['session', 'cache', 'rateLimit'] as const
export type Feature = typeof features[number]

/** What a key of a route's `config` probably means: a variant in case, number or separators certainly, a typing error perhaps. */
interface Misspelling {
  readonly feature: Feature
  readonly isCertain: boolean
}

/** By spelling without case and separators: singular and plural. */
const spellings: Readonly<Record<string, Feature>> = { session: 'session', sessions: 'session', cache: 'cache', caches: 'cache', ratelimit: 'rateLimit', ratelimits: 'rateLimit', rateslimit: 'rateLimit', rateslimits: 'rateLimit' }

/** How many edits a typing error may be away: a short word is soon another word (`version` is two from `session`, `case` and `each` are two from `cache`). */
const nearest: Readonly<Record<Feature, number>> = { session: 1, cache: 1, rateLimit: 2 }

/**
 * Tells whether a key is one of the three written otherwise.
 *
 * @returns undefined for the keys themselves, and for any other word
 */
export function misspellingOf (key: string): Misspelling | undefined {
  if (features.some((feature) => feature === key)) return undefined
  const bare = key.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '')
  const feature = Object.hasOwn(spellings, bare) ? spellings[bare] : undefined
  if (feature !== undefined) return { feature, isCertain: true }
  const near = Object.entries(spellings).find(([spelling, feature]) => isWithin(bare, spelling, nearest[feature]))
  return near && { feature: near[1], isCertain: false }
}

/** Whether two words are at most so many insertions, deletions, substitutions and swaps of neighbours apart (optimal string alignment). */
function isWithin (word: string, other: string, edits: number): boolean {
  if (Math.abs(word.length - other.length) > edits) return false
  let [beforeLast, last]: [number[], number[]] = [[], Array.from({ length: other.length + 1 }, (_, index) => index)]
  for (let row = 1; row <= word.length; row++) {
    const next = [row]
    for (let column = 1; column <= other.length; column++) {
      const isSame = word[row - 1] === other[column - 1]
      const isSwapped = row > 1 && column > 1 && word[row - 1] === other[column - 2] && word[row - 2] === other[column - 1]
      const swap = isSwapped ? (beforeLast[column - 2] ?? 0) + 1 : Infinity
      next.push(Math.min((last[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1, (last[column - 1] ?? 0) + (isSame ? 0 : 1), swap))
    }
    [beforeLast, last] = [last, next]
  }
  return (last[other.length] ?? Infinity) <= edits
}
