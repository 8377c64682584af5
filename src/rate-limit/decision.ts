import type { Slot } from './concurrency-slots.ts'
import type { QuotaStatus } from './script-reply.ts'

/** What became of a claim. */
export interface RequestDecision {
  readonly isAllowed: boolean
  /** in the order of the terms; undefined where nobody knows */
  readonly statuses: readonly (QuotaStatus | undefined)[]
  /** what the request holds until it releases it */
  readonly slots?: readonly Slot[]
  /** the session that its cookie names is dead: it was counted as if none had come */
  readonly isStranger?: boolean
  /** {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE, where a policy is `closed` and Redis could not be asked */
  readonly failure?: Error
}

/** Terms of one request that were asked apart from the others. */
export interface PartialDecision {
  /** which of the request's terms these are */
  readonly terms: readonly number[]
  /** counted, but refuses nothing */
  readonly isObserved: boolean
  readonly decision: RequestDecision
}

/** Joins what was asked apart: a request passes when no part refuses it, and holds no place when one does. */
export function mergeDecisions (parts: readonly PartialDecision[]): RequestDecision {
  const failed = parts.find(({ decision }) => decision.failure !== undefined)
  const isAllowed = failed === undefined && parts.every(({ decision, isObserved }) => decision.isAllowed || isObserved)
  const slots = parts.flatMap(({ decision }) => decision.slots ?? [])
  if (!isAllowed) for (const slot of slots) slot.release()
  if (failed !== undefined) return failed.decision
  const statuses: (QuotaStatus | undefined)[] = []
  for (const { terms, decision } of parts) terms.forEach((term, at) => { statuses[term] = decision.statuses[at] })
  return { isAllowed, statuses, slots: isAllowed ? slots : [], isStranger: parts.some(({ decision }) => decision.isStranger === true) }
}
