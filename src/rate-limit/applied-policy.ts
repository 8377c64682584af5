import type { IncomingHttpHeaders } from 'node:http'
import { isPromise, later, refuseReturned } from '../shared/returned-values.ts'
import { namedBy, partitionOfSession } from './partition.ts'
import type { Partition, UnverifiedSession } from './partition.ts'
import type { LimitPolicy } from './options.ts'
import { bucketMsOf, quotaCostOf } from './quota.ts'
import type { Quota, QuotaCost } from './quota.ts'

/** Who a request comes from. */
export interface IdentifiedClient {
  /** the address */
  readonly partition: Partition
  /** what the cookie names, when it opened */
  readonly session: UnverifiedSession | undefined
}

/** What of a request decides who is counted. */
export interface Counted {
  readonly method: string
  readonly headers: IncomingHttpHeaders
}

/** What the app's own functions say of one request, for one policy. */
export interface AppAnswers {
  /** whom a function or an API key names */
  readonly partition: Partition | undefined
  readonly cost: number
  /** where a function tells it */
  readonly quota: Quota | undefined
}

/** One policy as one request meets it. */
export interface AppliedPolicy {
  readonly partition: Partition
  readonly cost: QuotaCost
}

const mostUnits = 1_000_000_000

/**
 * Asks the app's own functions, each once a request.
 *
 * @returns a promise where one of them has returned a promise
 * @throws {OptionError} PRISM_ERR_OPTION for what is no name and no number; and what they throw
 */
export function askApp<Request extends Counted, Reply> (policies: readonly LimitPolicy<Request, Reply>[], request: Request): readonly AppAnswers[] | Promise<readonly AppAnswers[]> {
  const said = policies.map((policy) => askFor(policy, request))
  return said.some(isPromise) ? Promise.all(said) : said as readonly AppAnswers[]
}

/** Whether a policy asks the app about each request. */
export function asksApp<Request, Reply> ({ by, cost, unitsOf }: LimitPolicy<Request, Reply>): boolean {
  return typeof by !== 'string' || typeof cost === 'function' || unitsOf !== undefined
}

/** The same visitor, as if no cookie had come. */
export function asAnonymous ({ partition }: IdentifiedClient): IdentifiedClient {
  return { partition, session: undefined }
}

/** @param said by the app for this policy and request */
export function applyPolicy<Request, Reply> (policy: LimitPolicy<Request, Reply>, said: AppAnswers, { partition, session }: IdentifiedClient): AppliedPolicy {
  const quota = said.quota ?? quotaOf(policy, session?.userId !== undefined)
  return { partition: said.partition ?? partitionOfSession(policy.by, session) ?? partition, cost: quotaCostOf(quota, said.cost) }
}

/** The quota of a signed-in visitor, or of another. */
export function quotaOf<Request, Reply> ({ quota, userQuota }: LimitPolicy<Request, Reply>, isUser: boolean): Quota {
  return isUser ? userQuota ?? quota : quota
}

function askFor<Request extends Counted, Reply> (policy: LimitPolicy<Request, Reply>, request: Request): AppAnswers | Promise<AppAnswers> {
  const cost = typeof policy.cost === 'function' ? readCost(policy.cost(request)) : policy.cost
  const named = namedBy(policy.by, request)
  const quota = quotaFor(policy, request)
  if (!isPromise(named) && !isPromise(quota)) return { partition: named, cost, quota }
  return later(Promise.all([named, quota]), ([partition, quota]) => ({ partition, cost, quota }))
}

/** The quota of one request, where a function tells it. */
function quotaFor<Request, Reply> ({ quota, unitsOf }: LimitPolicy<Request, Reply>, request: Request): Quota | undefined | Promise<Quota> {
  if (unitsOf === undefined) return undefined
  const units: unknown = unitsOf(request)
  return isPromise(units) ? later(units, (units) => quotaOfUnits(quota, units)) : quotaOfUnits(quota, units)
}

function quotaOfUnits ({ algorithm, windowMs, bucketOrBurst }: Quota, units: unknown): Quota {
  if (typeof units !== 'number' || !Number.isSafeInteger(units) || units < 1 || units > mostUnits) return refuseReturned('rateLimit.quota()', `a whole number from 1 to ${mostUnits}`, units)
  return { algorithm, windowMs, quota: units, bucketOrBurst: algorithm === 'sliding' ? bucketMsOf(units, windowMs) : Math.min(bucketOrBurst, units) }
}

function readCost (cost: unknown): number {
  const isCost = typeof cost === 'number' && Number.isSafeInteger(cost) && cost >= 0 && cost <= mostUnits
  return isCost ? cost : refuseReturned('rateLimit.cost()', `a whole number from 0 to ${mostUnits}`, cost)
}
