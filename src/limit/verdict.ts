import type { Place } from './places.ts'
import type { Standing } from './grants.ts'

/** What became of a claim. */
export interface Verdict {
  readonly isAllowed: boolean
  /** in the order of the terms; undefined where nobody knows */
  readonly standings: readonly (Standing | undefined)[]
  /** what the request holds until it releases it */
  readonly places?: readonly Place[]
  /** the session that its cookie names is dead: it was counted as if none had come */
  readonly isStranger?: boolean
  /** {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE, where a policy is `closed` and Redis could not be asked */
  readonly failure?: Error
}

/** Terms of one request that were asked apart from the others. */
export interface Part {
  /** which of the request's terms these are */
  readonly terms: readonly number[]
  /** counted, but refuses nothing */
  readonly isObserved: boolean
  readonly verdict: Verdict
}

/** Joins what was asked apart: a request passes when no part refuses it, and holds no place when one does. */
export function joinVerdicts (parts: readonly Part[]): Verdict {
  const failed = parts.find(({ verdict }) => verdict.failure !== undefined)
  const isAllowed = failed === undefined && parts.every(({ verdict, isObserved }) => verdict.isAllowed || isObserved)
  const places = parts.flatMap(({ verdict }) => verdict.places ?? [])
  if (!isAllowed) for (const place of places) place.release()
  if (failed !== undefined) return failed.verdict
  const standings: (Standing | undefined)[] = []
  for (const { terms, verdict } of parts) terms.forEach((term, at) => { standings[term] = verdict.standings[at] })
  return { isAllowed, standings, places: isAllowed ? places : [], isStranger: parts.some(({ verdict }) => verdict.isStranger === true) }
}
