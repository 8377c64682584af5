import { isNetwork } from '../http/client-address.ts'
import { readChoice, readCount, readDuration, readRecord, readBoolean, readString, readStrings, invalidOption, rejectOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import { bucketMsOf, concurrencyQuota } from './quota.ts'
import type { Algorithm, Quota } from './quota.ts'

/** What happens to a request while Redis is unavailable. */
export type FailureMode = 'local' | 'closed' | 'open'

/** The partition key; the address is counted if a request has none. */
export type PartitionBy<Request> = 'ip' | 'user' | 'session' | ApiKey | ((request: Request) => MaybeLater<string | number | null | undefined>)

/** A promise costs the request a second round trip. */
type MaybeLater<Value> = Value | PromiseLike<Value>

/** Counts by an API key. */
interface ApiKey {
  /** the header that holds the key: `x-api-key` */
  apiKey: string
  /** whether the key is valid; a request with an invalid key is counted by address, or each invented key would have its own quota */
  verify: (apiKey: string) => MaybeLater<boolean>
}

/** The Fastify hook in which a policy is checked. */
type LimitHook = 'onRequest' | 'preHandler'

/** Quota units, as registered by draft-ietf-httpapi-ratelimit-headers. */
type Unit = 'requests' | 'content-bytes'

/** Units in a window: the same for all, or different for signed-in users and anonymous clients. */
type Units = number | { user: number, anonymous: number }

/** Options of a route, a scope or the plugin. */
export interface LimitChoice<Request, Reply> {
  /** Units in a window; a request consumes `cost` of them: a number, `{ user, anonymous }`, or a function, which runs after the session is loaded and costs a second round trip. Default: 1000 for the plugin, none for a route. */
  quota?: Units | ((request: Request) => MaybeLater<number>)
  /** Length of the window: `'30s'`, `'1m'`, `'1d'`. Default: `'1m'`. */
  window?: Duration
  /** `'sliding'`: at most the quota in any window; `'gcra'`: a smooth rate with a burst; `'fixed'`: windows aligned to the clock, for daily quotas. Default: `'sliding'`. */
  algorithm?: Algorithm
  /** With `'gcra'`: units that may be consumed at once. Default: the quota. */
  burst?: number
  /** Concurrent requests of one partition in all processes together; with or without a quota. Default: unlimited. */
  concurrency?: number
  /** The client that is counted: `'ip'`, `'user'`, `'session'`, `{ apiKey, verify }` or a function of the request; without a result the address counts. Default: `'ip'`. */
  by?: PartitionBy<Request>
  /** Where the request is counted: `'onRequest'`, before other work is done for it, or `'preHandler'`, after the app's own hooks, for a `by` that needs what they set, such as `request.user`. Default: `'onRequest'`. */
  hook?: LimitHook
  /** Units that a request consumes: a number, or a synchronous function of the request; 0 counts nothing. Default: 1. */
  cost?: number | ((request: Request) => number)
  /** The unit sent to clients: `'requests'`, or `'content-bytes'` if the cost is a number of bytes. Default: `'requests'`. */
  unit?: Unit
  /** Name of a counter that routes share. Default: each route has its own. */
  group?: string
  /** Policy name in the RateLimit headers. Default: the group, or `'route'`. */
  name?: string
  /** While Redis is unavailable: count in the process (`'local'`), respond with 503 (`'closed'`), or allow (`'open'`). Default: `'local'`. */
  failureMode?: FailureMode
  /** Counts and reports, but rejects nothing. Default: false. */
  dryRun?: boolean
  /** Replaces the problem document of a 429: returns or sends a payload, or throws the error to the app's error handler. Default: none. */
  onExceeded?: (request: Request, reply: Reply, error: Error) => unknown
}

/** Options of the plugin, which apply to all routes. */
export interface LimitOptions<Request, Reply> extends Omit<LimitChoice<Request, Reply>, 'group'> {
  /** Addresses and networks whose requests are not counted: `['10.0.0.0/8', '::1']`. Default: none. */
  allowList?: readonly string[]
  /** Bits of an IPv6 address that identify a client, 16 to 128. Default: 64. */
  ipv6Subnet?: number
  /** Also sends the headers `X-RateLimit-Limit`, `-Remaining` and `-Reset`. Default: false. */
  legacyHeaders?: boolean
  /** Lengthens `Retry-After` randomly by up to this share, so that rejected clients do not retry together: 0 to 1. Default: 0. */
  jitter?: number
}

/** A resolved policy: one counter that a request consumes, or one concurrency limit. */
export interface LimitPolicy<Request, Reply> {
  readonly name: string
  readonly unit: Unit | 'concurrent-requests'
  /** for anonymous clients, and for all clients without a `userQuota` */
  readonly quota: Quota
  readonly userQuota: Quota | undefined
  /** the `quota` function: checked separately after the session is loaded */
  readonly quotaFunction: ((request: Request) => MaybeLater<number>) | undefined
  /** the key's endpoint when it is not the route's own: a group's name, or `all` */
  readonly group: string | undefined
  readonly by: PartitionBy<Request>
  readonly hook: LimitHook
  readonly cost: number | ((request: Request) => number)
  readonly failureMode: FailureMode
  readonly isDryRun: boolean
  readonly onExceeded: ((request: Request, reply: Reply, error: Error) => unknown) | undefined
}

/** Options that apply to every request. */
interface GlobalLimitOptions {
  readonly allowList: readonly string[]
  readonly ipv6Subnet: number
  readonly legacyHeaders: boolean
  readonly jitter: number
}

/** The endpoint of the global counter, which counts every request of a partition. */
export const globalGroup = 'all'

const choiceNames = ['quota', 'window', 'concurrency', 'algorithm', 'burst', 'by', 'hook', 'cost', 'unit', 'group', 'name', 'failureMode', 'dryRun', 'onExceeded'] as const
const globalNames = ['allowList', 'ipv6Subnet', 'legacyHeaders', 'jitter'] as const

/** Options that a route's policies inherit from the plugin. */
const inherited = ['window', 'algorithm', 'by', 'hook', 'failureMode', 'dryRun', 'onExceeded'] as const
/** Options that a route without its own quota may set for the global policy. */
const globalOnlyOptions = ['cost', 'failureMode', 'dryRun', 'onExceeded']
const concurrencyOptions = ['by', 'hook', 'failureMode', 'dryRun', 'group', 'name', 'onExceeded']

const defaults = { quota: 1000, window: '1m', algorithm: 'sliding', by: 'ip', hook: 'onRequest', cost: 1, unit: 'requests', failureMode: 'local', dryRun: false } as const

/**
 * Resolves the options of the plugin.
 *
 * @returns the global policy's options, and those that apply to every request
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveLimitOptions<Request, Reply> (options: LimitOptions<Request, Reply>): { stack: LimitChoice<Request, Reply>, global: GlobalLimitOptions } {
  const known = [...choiceNames.filter((name) => name !== 'group'), ...globalNames]
  const { allowList, ipv6Subnet, legacyHeaders, jitter, ...stack } = readRecord('rateLimit', options, known) as LimitOptions<Request, Reply>
  resolvePolicy(stack)
  if (typeof allowList === 'function') rejectOption('rateLimit.allowList', 'a list of addresses and networks (for a function of the request, return 0 from rateLimit.cost)', 'a function')
  const networks = readStrings('rateLimit.allowList', allowList ?? [])
  networks.forEach((network, index) => isNetwork(network) || invalidOption(`rateLimit.allowList[${index}]`, "an address or a network such as '10.0.0.0/8'", network))
  const share = jitter ?? 0
  if (typeof share !== 'number' || !(share >= 0 && share <= 1)) invalidOption('rateLimit.jitter', 'a number from 0 to 1', jitter)
  return { stack, global: { allowList: networks, ipv6Subnet: readCount('rateLimit.ipv6Subnet', ipv6Subnet ?? 64, { min: 16, max: 128 }), legacyHeaders: readBoolean('rateLimit.legacyHeaders', legacyHeaders ?? false), jitter: share } }
}

/**
 * Resolves the policies of a route: the global one and its own.
 *
 * @param stack options of the global policy
 * @param choices of the enclosing scopes and the route, outermost first; each an object, a list of objects, or false
 * @param isRoute false for a scope, whose options may be incomplete
 * @returns undefined if nothing is counted
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveLimitPolicies<Request, Reply> (stack: LimitChoice<Request, Reply>, choices: readonly unknown[], isRoute: boolean): LimitPolicy<Request, Reply>[] | undefined {
  const own = choices.reduce<LimitChoice<Request, Reply>[] | false>(mergeChoice, [])
  if (own === false) return undefined
  const base = pick(stack, inherited)
  const counted = own.filter(({ quota }) => quota !== undefined).map((choice, index) => ({ name: choice.group ?? (index === 0 ? 'route' : `route-${index + 1}`), ...base, ...choice }))
  const { concurrency, ...bare } = own.find(({ quota }) => quota === undefined) ?? {}
  const [concurrencyNames, globalNamesUsed] = concurrency === undefined ? [[], globalOnlyOptions] : [concurrencyOptions, ['cost']]
  const lost = Object.keys(bare).find((name) => ![...concurrencyNames, ...globalNamesUsed].includes(name))
  if (isRoute && lost !== undefined) invalidOption(`rateLimit.${lost}`, 'set together with a quota, which neither this route nor its scopes have', bare[lost as keyof typeof bare])
  const policies = [
    ...resolveWithConcurrency({ name: 'default', ...stack, ...pick(bare, globalNamesUsed) }, globalGroup),
    ...counted.flatMap((choice) => resolveWithConcurrency(choice)),
    ...concurrency === undefined ? [] : [concurrencyOf(resolvePolicy({ name: bare.group ?? 'concurrency', ...base, ...pick(bare, concurrencyNames) }), concurrency)]
  ]
  policies.forEach(({ name }, index) => {
    if (policies.findIndex((other) => other.name === name) < index) invalidOption('rateLimit.name', 'unique among the policies of a route', name)
  })
  return policies
}

/** The policy of a quota, and that of its concurrency limit if it has one. */
function resolveWithConcurrency<Request, Reply> (choice: LimitChoice<Request, Reply>, group?: string): LimitPolicy<Request, Reply>[] {
  const resolved = resolvePolicy(choice)
  const policy = group === undefined ? resolved : { ...resolved, group }
  return choice.concurrency === undefined ? [policy] : [policy, concurrencyOf({ ...policy, name: `${policy.name}-concurrency` }, choice.concurrency)]
}

function concurrencyOf<Request, Reply> (policy: LimitPolicy<Request, Reply>, concurrency: number): LimitPolicy<Request, Reply> {
  const { name, group } = policy
  return Object.freeze({ ...policy, unit: 'concurrent-requests', quota: concurrencyQuota(concurrency), userQuota: undefined, quotaFunction: undefined, cost: 1, group: group === undefined ? undefined : `${group}#${name}` })
}

function pick<Choice extends object> (choice: Choice, names: readonly string[]): Partial<Choice> {
  return Object.fromEntries(Object.entries(choice).filter(([name, each]) => names.includes(name) && each !== undefined)) as Partial<Choice>
}

function mergeChoice<Request, Reply> (outer: LimitChoice<Request, Reply>[] | false, choice: unknown): LimitChoice<Request, Reply>[] | false {
  if (choice === false) return false
  if (Array.isArray(choice)) return choice.map((each, index) => checkChoice(`rateLimit[${index}]`, each))
  const checked = checkChoice<Request, Reply>('rateLimit', choice)
  return outer !== false && outer.length === 1 ? [{ ...outer[0], ...checked }] : [checked]
}

/** Checks each option by itself, so that an error names the scope that declares it. */
function checkChoice<Request, Reply> (option: string, value: unknown): LimitChoice<Request, Reply> {
  const choice = present(readRecord(option, value, choiceNames) as LimitChoice<Request, Reply>)
  // A cost or burst may be valid with inherited options and invalid with the defaults: the route checks the merged options.
  resolvePolicy({ name: 'route', quota: maxUnits, ...choice, algorithm: choice.burst === undefined ? choice.algorithm ?? 'sliding' : 'gcra' }, option)
  return choice
}

const maxUnits = 1_000_000_000

/**
 * Resolves one policy over the defaults.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolvePolicy<Request, Reply> (choice: LimitChoice<Request, Reply>, option = 'rateLimit'): LimitPolicy<Request, Reply> {
  const chosen: LimitChoice<Request, Reply> = { ...defaults, ...present(choice) }
  const { quota, userQuota } = readQuotas(option, typeof chosen.quota === 'function' ? { ...chosen, quota: maxUnits } : chosen)
  const { cost = 1, by = 'ip', onExceeded } = chosen
  const maxCost = Math.min(...[quota, userQuota ?? quota].map((each) => each.algorithm === 'gcra' ? each.bucketOrBurst : each.quota))
  if (typeof cost !== 'function') readCount(`${option}.cost`, cost, { min: 0, max: maxCost })
  if (onExceeded !== undefined && typeof onExceeded !== 'function') invalidOption(`${option}.onExceeded`, 'a function of request, reply and error', onExceeded)
  if (chosen.concurrency !== undefined) readCount(`${option}.concurrency`, chosen.concurrency, { max: 1_000_000 })
  return Object.freeze({
    name: readName(`${option}.name`, chosen.name ?? 'default'),
    unit: readChoice<Unit>(`${option}.unit`, chosen.unit, ['requests', 'content-bytes']),
    quota,
    userQuota,
    quotaFunction: typeof chosen.quota === 'function' ? chosen.quota : undefined,
    group: chosen.group === undefined ? undefined : readGroup(`${option}.group`, chosen.group),
    by: readBy(`${option}.by`, by),
    hook: readChoice<LimitHook>(`${option}.hook`, chosen.hook, ['onRequest', 'preHandler']),
    cost,
    failureMode: readChoice<FailureMode>(`${option}.failureMode`, chosen.failureMode, ['local', 'closed', 'open']),
    isDryRun: readBoolean(`${option}.dryRun`, chosen.dryRun),
    onExceeded
  })
}

function present<Choice extends object> (choice: Choice): Choice {
  return Object.fromEntries(Object.entries(choice).filter(([, each]) => each !== undefined)) as Choice
}

function readQuotas<Request, Reply> (option: string, chosen: LimitChoice<Request, Reply>): { quota: Quota, userQuota: Quota | undefined } {
  if (typeof chosen.quota !== 'object') return { quota: readQuota(option, 'quota', chosen.quota, chosen), userQuota: undefined }
  const { user, anonymous } = readRecord(`${option}.quota`, chosen.quota, ['user', 'anonymous'])
  return { quota: readQuota(option, 'quota.anonymous', anonymous, chosen), userQuota: readQuota(option, 'quota.user', user, chosen) }
}

function readQuota<Request, Reply> (option: string, name: string, units: unknown, chosen: LimitChoice<Request, Reply>): Quota {
  const quota = readCount(`${option}.${name}`, units, { max: maxUnits })
  const windowMs = readDuration(`${option}.window`, chosen.window)
  const algorithm = readChoice<Algorithm>(`${option}.algorithm`, chosen.algorithm, ['sliding', 'gcra', 'fixed'])
  if (algorithm !== 'gcra' && chosen.burst !== undefined) invalidOption(`${option}.burst`, 'omitted unless the algorithm is gcra', chosen.burst)
  const burst = readCount(`${option}.burst`, chosen.burst ?? quota, { max: maxUnits })
  return Object.freeze({ algorithm, quota, windowMs, bucketOrBurst: algorithm === 'sliding' ? bucketMsOf(quota, windowMs) : algorithm === 'gcra' ? burst : 0 })
}

function readBy<Request> (option: string, by: unknown): PartitionBy<Request> {
  if (typeof by === 'function') return by as PartitionBy<Request>
  if (typeof by !== 'object' || by === null) return readChoice<'ip' | 'user' | 'session'>(option, by, ['ip', 'user', 'session'])
  const { apiKey, verify } = readRecord(option, by, ['apiKey', 'verify'])
  if (typeof verify !== 'function') return invalidOption(`${option}.verify`, 'a function that verifies an API key', verify)
  return Object.freeze({ apiKey: readString(`${option}.apiKey`, apiKey).toLowerCase(), verify: verify as ApiKey['verify'] })
}

/** A name is sent as a String of a structured field (RFC 9651). */
function readName (option: string, value: unknown): string {
  return typeof value === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(value) ? value : invalidOption(option, 'up to 64 of A-Z, a-z, 0-9, _, . and -', value)
}

function readGroup (option: string, value: unknown): string {
  return value === globalGroup ? invalidOption(option, `another name than '${globalGroup}', which is reserved`, value) : readName(option, value)
}

/** Checks that routes of one group declare the same quota. */
export class SharedGroups {
  #quotas = new Map<string, string>()

  /** @throws {OptionError} PRISM_ERR_OPTION when a group was declared with another quota, window or algorithm */
  check (policies: readonly LimitPolicy<never, never>[]): void {
    for (const { group, quota, userQuota } of policies) {
      if (group === undefined) continue
      const declaration = JSON.stringify({ quota, userQuota })
      if ((this.#quotas.get(group) ?? declaration) !== declaration) invalidOption('rateLimit.group', 'declared with the same quota, window and algorithm by all routes', group)
      this.#quotas.set(group, declaration)
    }
  }
}
