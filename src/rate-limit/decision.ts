import type { Slot } from './concurrency-slots.ts'
import type { QuotaStatus } from './script-reply.ts'

/** The result of a check. */
export interface RequestDecision {
  readonly isAllowed: boolean
  /** in the order of the request's quotas; undefined if unknown */
  readonly statuses: readonly (QuotaStatus | undefined)[]
  /** concurrency slots that the request holds until it releases them */
  readonly slots?: readonly Slot[]
  /** the cookie's session has ended: the request was counted as anonymous */
  readonly isAnonymous?: boolean
  /** decided by failure mode */
  readonly hasRedisFailed?: boolean
  /** {RedisUnavailableError} PRISM_ERR_REDIS_UNAVAILABLE, where a policy is `closed` and Redis is unavailable */
  readonly failure?: Error
}

/** The result for those quotas of a request that were checked in a separate call. */
interface PartialDecision {
  /** indexes of these quotas in the request */
  readonly indexes: readonly number[]
  /** counted, but rejects nothing */
  readonly isDryRun: boolean
  readonly decision: RequestDecision
}

/** Merges separate checks: the request is allowed if no part rejects it; otherwise all of its slots are released. */
export function mergeDecisions (parts: readonly PartialDecision[]): RequestDecision {
  const failed = parts.find(({ decision }) => decision.failure !== undefined)
  const isAllowed = failed === undefined && parts.every(({ decision, isDryRun }) => decision.isAllowed || isDryRun)
  const slots = parts.flatMap(({ decision }) => decision.slots ?? [])
  if (!isAllowed) for (const slot of slots) slot.release()
  if (failed !== undefined) return failed.decision
  const statuses: (QuotaStatus | undefined)[] = []
  for (const { indexes, decision } of parts) indexes.forEach((index, at) => { statuses[index] = decision.statuses[at] })
  return { isAllowed, statuses, slots: isAllowed ? slots : [], isAnonymous: parts.some(({ decision }) => decision.isAnonymous === true), hasRedisFailed: parts.some(({ decision }) => decision.hasRedisFailed === true) }
}
