import type { IncomingHttpHeaders } from 'node:http'
import { isPromise, later, invalidReturn } from '../shared/returned-values.ts'
import { appPartition, partitionOfSession } from './partition.ts'
import type { UnverifiedSession } from '../shared/session-identity.ts'
import type { Partition } from './partition.ts'
import type { LimitPolicy } from './options.ts'
import { bucketMsOf, quotaCostOf } from './quota.ts'
import type { Quota, QuotaCost } from './quota.ts'

/** The client of a request. */
export interface IdentifiedClient {
  /** the address's partition */
  readonly partition: Partition
  /** the session of a cookie that was decrypted; not yet verified */
  readonly session: UnverifiedSession | undefined
}

/** The parts of a request that the limits read. */
export interface Counted {
  readonly method: string
  readonly headers: IncomingHttpHeaders
}

/** What the app's functions returned for one request and policy. */
export interface AppValues {
  /** from a `by` function or an API key */
  readonly partition: Partition | undefined
  readonly cost: number
  /** from a `quota` function */
  readonly quota: Quota | undefined
}

/** A policy applied to one request. */
export interface AppliedPolicy {
  readonly partition: Partition
  readonly cost: QuotaCost
}

const maxUnits = 1_000_000_000

/**
 * Calls the app's functions, each once a request.
 *
 * @returns a promise if one of them returned a promise
 * @throws {OptionError} PRISM_ERR_OPTION for an invalid return value; and what the functions throw
 */
export function callAppFunctions<Request extends Counted, Reply> (policies: readonly LimitPolicy<Request, Reply>[], request: Request): readonly AppValues[] | Promise<readonly AppValues[]> {
  const appValues = policies.map((policy) => readAppValues(policy, request))
  return appValues.some(isPromise) ? Promise.all(appValues) : appValues as readonly AppValues[]
}

/** Whether a policy calls a function of the app for each request. */
export function callsAppFunctions<Request, Reply> ({ by, cost, unitsOf }: LimitPolicy<Request, Reply>): boolean {
  return typeof by !== 'string' || typeof cost === 'function' || unitsOf !== undefined
}

/** The same client without a session. */
export function asAnonymous ({ partition }: IdentifiedClient): IdentifiedClient {
  return { partition, session: undefined }
}

/** @param appValues what the app's functions returned for this policy and request */
export function applyPolicy<Request, Reply> (policy: LimitPolicy<Request, Reply>, appValues: AppValues, { partition, session }: IdentifiedClient): AppliedPolicy {
  const quota = appValues.quota ?? quotaOf(policy, session?.userId !== undefined)
  return { partition: appValues.partition ?? partitionOfSession(policy.by, session) ?? partition, cost: quotaCostOf(quota, appValues.cost) }
}

/** The quota of a signed-in or anonymous client. */
export function quotaOf<Request, Reply> ({ quota, userQuota }: LimitPolicy<Request, Reply>, isUser: boolean): Quota {
  return isUser ? userQuota ?? quota : quota
}

function readAppValues<Request extends Counted, Reply> (policy: LimitPolicy<Request, Reply>, request: Request): AppValues | Promise<AppValues> {
  const cost = typeof policy.cost === 'function' ? readCost(policy.cost(request)) : policy.cost
  const named = appPartition(policy.by, request)
  const quota = quotaFor(policy, request)
  if (!isPromise(named) && !isPromise(quota)) return { partition: named, cost, quota }
  return later(Promise.all([named, quota]), ([partition, quota]) => ({ partition, cost, quota }))
}

/** The quota of one request, if a function returns it. */
function quotaFor<Request, Reply> ({ quota, unitsOf }: LimitPolicy<Request, Reply>, request: Request): Quota | undefined | Promise<Quota> {
  if (unitsOf === undefined) return undefined
  const units: unknown = unitsOf(request)
  return isPromise(units) ? later(units, (units) => quotaOfUnits(quota, units)) : quotaOfUnits(quota, units)
}

function quotaOfUnits ({ algorithm, windowMs, bucketOrBurst }: Quota, units: unknown): Quota {
  if (typeof units !== 'number' || !Number.isSafeInteger(units) || units < 1 || units > maxUnits) return invalidReturn('rateLimit.quota()', `a whole number from 1 to ${maxUnits}`, units)
  return { algorithm, windowMs, quota: units, bucketOrBurst: algorithm === 'sliding' ? bucketMsOf(units, windowMs) : Math.min(bucketOrBurst, units) }
}

function readCost (cost: unknown): number {
  const isCost = typeof cost === 'number' && Number.isSafeInteger(cost) && cost >= 0 && cost <= maxUnits
  return isCost ? cost : invalidReturn('rateLimit.cost()', `a whole number from 0 to ${maxUnits}`, cost)
}
