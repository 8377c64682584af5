import { isNetwork } from '../http/client-address.ts'
import { readChoice, readCount, readDuration, readRecord, readBoolean, readString, readStrings, invalidOption } from '../shared/option-readers.ts'
import type { Duration } from '../shared/option-readers.ts'
import { bucketMsOf, concurrencyQuota } from './quota.ts'
import type { Algorithm, Quota } from './quota.ts'

/** What happens to a request while Redis cannot be asked. */
export type Failure = 'local' | 'closed' | 'open'

/** Who is counted; where it cannot be told, the address. */
export type By<Request> = 'ip' | 'user' | 'session' | ApiKey | ((request: Request) => MaybeLater<string | number | null | undefined>)

/** What is waited for costs the request a second round trip. */
export type MaybeLater<Value> = Value | PromiseLike<Value>

/** Counts by a key that clients send. */
export interface ApiKey {
  /** the field that holds the key: `x-api-key` */
  apiKey: string
  /** whether the app knows the key; who sends another is counted by address, or each invented key would have a quota of its own */
  verify: (apiKey: string) => MaybeLater<boolean>
}

/** What units are: see the registry of draft-ietf-httpapi-ratelimit-headers. */
export type Unit = 'requests' | 'content-bytes'

/** Units in a window: the same for all, or for signed-in visitors and others. */
export type Units = number | { user: number, anonymous: number }

/** What a route, a scope or the stack may choose. */
export interface LimitChoice<Request, Reply> {
  /** units in a window; a request takes `cost` of them. A function runs once the session is loaded, and costs a second round trip */
  quota?: Units | ((request: Request) => MaybeLater<number>)
  /** default a minute */
  window?: Duration
  /** `sliding` (default): never more than the quota in any window; `gcra`: a smooth rate with a burst; `fixed`: windows on the clock, for daily quotas */
  algorithm?: Algorithm
  /** `gcra`: how many units may come at once; default the quota */
  burst?: number
  /** requests of one partition that may be under way at once, in all processes together; beside a quota or without */
  concurrency?: number
  /** default `ip` */
  by?: By<Request>
  /** units that a request takes; default 1 */
  cost?: number | ((request: Request) => number)
  /** what is counted, as clients read it: `requests` (default), or `content-bytes` where the cost is a number of bytes */
  unit?: Unit
  /** routes that name the same group share one counter */
  group?: string
  /** what clients read in RateLimit fields; default the group's, or `route` */
  name?: string
  /** while Redis cannot be asked: count in the process (`local`, default), answer 503 (`closed`), let pass (`open`) */
  failureMode?: Failure
  /** counts and reports, but refuses nothing */
  dryRun?: boolean
  /** answers a refused request instead of the problem document; may send, or throw the error to the app's own handler */
  onExceeded?: (request: Request, reply: Reply, error: Error) => unknown
}

/** What the stack chooses for all. */
export interface LimitOptions<Request, Reply> extends Omit<LimitChoice<Request, Reply>, 'group'> {
  /** networks whose requests are not counted: `['10.0.0.0/8', '::1']` */
  allowList?: readonly string[]
  /** how much of an IPv6 address is one client; default 64 bits */
  ipv6Subnet?: number
  /** sends the old `X-RateLimit-Limit`, `-Remaining` and `-Reset` fields too; default false */
  legacyHeaders?: boolean
  /** spreads `Retry-After` by up to this share of it, so that the refused do not come back together: 0 (default) to 1 */
  jitter?: number
}

/** One counter that a request takes from, or whose place it holds while it is under way. */
export interface LimitPolicy<Request, Reply> {
  readonly name: string
  readonly unit: Unit | 'concurrent-requests'
  /** for visitors who are not signed in, and for all when there is no other */
  readonly quota: Quota
  readonly userQuota: Quota | undefined
  /** the units, where they depend on what the session holds: asked apart, after it was loaded */
  readonly unitsOf: ((request: Request) => MaybeLater<number>) | undefined
  /** the key's endpoint when it is not the route's own: a group's name, or `all` */
  readonly group: string | undefined
  readonly by: By<Request>
  readonly cost: number | ((request: Request) => number)
  readonly failureMode: Failure
  readonly isDryRun: boolean
  readonly onExceeded: ((request: Request, reply: Reply, error: Error) => unknown) | undefined
}

/** What holds for every request. */
export interface GlobalLimitOptions {
  readonly allowList: readonly string[]
  readonly ipv6Subnet: number
  readonly legacyHeaders: boolean
  readonly jitter: number
}

/** The endpoint of the stack's own counter: every request of a partition, whatever it asks for. */
export const globalGroup = 'all'

const choiceNames = ['quota', 'window', 'concurrency', 'algorithm', 'burst', 'by', 'cost', 'unit', 'group', 'name', 'failureMode', 'dryRun', 'onExceeded'] as const
const globalNames = ['allowList', 'ipv6Subnet', 'legacyHeaders', 'jitter'] as const

/** What a route's policies take over from the stack where they say nothing; its numbers stay its own. */
const inherited = ['window', 'algorithm', 'by', 'failureMode', 'dryRun', 'onExceeded'] as const
/** What may be chosen without a quota of one's own: it is said of the stack's. */
const globalOnlyOptions = ['cost', 'failureMode', 'dryRun', 'onExceeded']
const ofPlaces = ['by', 'failureMode', 'dryRun', 'group', 'name', 'onExceeded']

const defaults = { quota: 1000, window: '1m', algorithm: 'sliding', by: 'ip', cost: 1, unit: 'requests', failureMode: 'local', dryRun: false } as const

/**
 * Checks the stack's options.
 *
 * @returns what the stack chose as a policy, and what holds for every request
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveLimitOptions<Request, Reply> (options: LimitOptions<Request, Reply>): { stack: LimitChoice<Request, Reply>, global: GlobalLimitOptions } {
  const known = [...choiceNames.filter((name) => name !== 'group'), ...globalNames]
  const { allowList, ipv6Subnet, legacyHeaders, jitter, ...stack } = readRecord('rateLimit', options, known) as LimitOptions<Request, Reply>
  resolvePolicy(stack)
  const networks = readStrings('rateLimit.allowList', allowList ?? [])
  networks.forEach((network, index) => isNetwork(network) || invalidOption(`rateLimit.allowList[${index}]`, "an address or a network such as '10.0.0.0/8'", network))
  const share = jitter ?? 0
  if (typeof share !== 'number' || !(share >= 0 && share <= 1)) invalidOption('rateLimit.jitter', 'a number from 0 to 1', jitter)
  return { stack, global: { allowList: networks, ipv6Subnet: readCount('rateLimit.ipv6Subnet', ipv6Subnet ?? 64, { min: 16, max: 128 }), legacyHeaders: readBoolean('rateLimit.legacyHeaders', legacyHeaders ?? false), jitter: share } }
}

/**
 * Resolves what applies to a request: the stack's policy, and a route's own beside it.
 *
 * @param stack what the stack's options chose
 * @param choices of the enclosing scopes and the route, outermost first; each a choice, a list of choices, or false
 * @param isRoute false while only a scope's choices are checked, which need not be whole
 * @returns undefined when nothing is counted
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolveLimitPolicies<Request, Reply> (stack: LimitChoice<Request, Reply>, choices: readonly unknown[], isRoute: boolean): LimitPolicy<Request, Reply>[] | undefined {
  const own = choices.reduce<LimitChoice<Request, Reply>[] | false>(mergeChoice, [])
  if (own === false) return undefined
  const base = pick(stack, inherited)
  const counted = own.filter(({ quota }) => quota !== undefined).map((choice, index) => ({ name: choice.group ?? (index === 0 ? 'route' : `route-${index + 1}`), ...base, ...choice }))
  const { concurrency, ...bare } = own.find(({ quota }) => quota === undefined) ?? {}
  const [ofItsPlaces, ofTheStacks] = concurrency === undefined ? [[], globalOnlyOptions] : [ofPlaces, ['cost']]
  const lost = Object.keys(bare).find((name) => ![...ofItsPlaces, ...ofTheStacks].includes(name))
  if (isRoute && lost !== undefined) invalidOption(`rateLimit.${lost}`, 'beside a quota, which this route and its scopes do not name', bare[lost as keyof typeof bare])
  const policies = [
    ...resolveWithPlaces({ name: 'default', ...stack, ...pick(bare, ofTheStacks) }, globalGroup),
    ...counted.flatMap((choice) => resolveWithPlaces(choice)),
    ...concurrency === undefined ? [] : [concurrencyOf(resolvePolicy({ name: bare.group ?? 'places', ...base, ...pick(bare, ofItsPlaces) }), concurrency)]
  ]
  policies.forEach(({ name }, index) => {
    if (policies.findIndex((other) => other.name === name) < index) invalidOption('rateLimit.name', 'another than that of a policy beside it', name)
  })
  return policies
}

/** A quota, and beside it the places that were chosen with it, under a name of their own. */
function resolveWithPlaces<Request, Reply> (choice: LimitChoice<Request, Reply>, group?: string): LimitPolicy<Request, Reply>[] {
  const resolved = resolvePolicy(choice)
  const policy = group === undefined ? resolved : { ...resolved, group }
  return choice.concurrency === undefined ? [policy] : [policy, concurrencyOf({ ...policy, name: `${policy.name}-places` }, choice.concurrency)]
}

function concurrencyOf<Request, Reply> (policy: LimitPolicy<Request, Reply>, concurrency: number): LimitPolicy<Request, Reply> {
  const { name, group } = policy
  return Object.freeze({ ...policy, unit: 'concurrent-requests', quota: concurrencyQuota(concurrency), userQuota: undefined, unitsOf: undefined, cost: 1, group: group === undefined ? undefined : `${group}#${name}` })
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

/** Checks each option by itself, so that a scope's mistake is told where it stands. */
function checkChoice<Request, Reply> (option: string, value: unknown): LimitChoice<Request, Reply> {
  const choice = present(readRecord(option, value, choiceNames) as LimitChoice<Request, Reply>)
  // Beside what it inherits a cost or a burst may be right that is wrong beside the defaults: the whole is checked at the route.
  resolvePolicy({ name: 'route', quota: most, ...choice, algorithm: choice.burst === undefined ? choice.algorithm ?? 'sliding' : 'gcra' }, option)
  return choice
}

const most = 1_000_000_000

/**
 * Reads one choice over the defaults.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolvePolicy<Request, Reply> (choice: LimitChoice<Request, Reply>, option = 'rateLimit'): LimitPolicy<Request, Reply> {
  const chosen: LimitChoice<Request, Reply> = { ...defaults, ...present(choice) }
  const { quota, userQuota } = readQuotas(option, typeof chosen.quota === 'function' ? { ...chosen, quota: most } : chosen)
  const { cost = 1, by = 'ip', onExceeded } = chosen
  const room = Math.min(...[quota, userQuota ?? quota].map((each) => each.algorithm === 'gcra' ? each.bucketOrBurst : each.quota))
  if (typeof cost !== 'function') readCount(`${option}.cost`, cost, { min: 0, max: room })
  if (onExceeded !== undefined && typeof onExceeded !== 'function') invalidOption(`${option}.onExceeded`, 'a function of request, reply and error', onExceeded)
  if (chosen.concurrency !== undefined) readCount(`${option}.concurrency`, chosen.concurrency, { max: 1_000_000 })
  return Object.freeze({
    name: readName(`${option}.name`, chosen.name ?? 'default'),
    unit: readChoice<Unit>(`${option}.unit`, chosen.unit, ['requests', 'content-bytes']),
    quota,
    userQuota,
    unitsOf: typeof chosen.quota === 'function' ? chosen.quota : undefined,
    group: chosen.group === undefined ? undefined : readGroup(`${option}.group`, chosen.group),
    by: readBy(`${option}.by`, by),
    cost,
    failureMode: readChoice<Failure>(`${option}.failureMode`, chosen.failureMode, ['local', 'closed', 'open']),
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
  const quota = readCount(`${option}.${name}`, units, { max: most })
  const windowMs = readDuration(`${option}.window`, chosen.window)
  const algorithm = readChoice<Algorithm>(`${option}.algorithm`, chosen.algorithm, ['sliding', 'gcra', 'fixed'])
  if (algorithm !== 'gcra' && chosen.burst !== undefined) invalidOption(`${option}.burst`, "left out, for it is gcra's", chosen.burst)
  const burst = readCount(`${option}.burst`, chosen.burst ?? quota, { max: most })
  return Object.freeze({ algorithm, quota, windowMs, bucketOrBurst: algorithm === 'sliding' ? bucketMsOf(quota, windowMs) : algorithm === 'gcra' ? burst : 0 })
}

function readBy<Request> (option: string, by: unknown): By<Request> {
  if (typeof by === 'function') return by as By<Request>
  if (typeof by !== 'object' || by === null) return readChoice<'ip' | 'user' | 'session'>(option, by, ['ip', 'user', 'session'])
  const { apiKey, verify } = readRecord(option, by, ['apiKey', 'verify'])
  if (typeof verify !== 'function') return invalidOption(`${option}.verify`, 'a function that knows an API key', verify)
  return Object.freeze({ apiKey: readString(`${option}.apiKey`, apiKey).toLowerCase(), verify: verify as ApiKey['verify'] })
}

/** Stands in a structured field (RFC 9651) as a String. */
function readName (option: string, value: unknown): string {
  return typeof value === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(value) ? value : invalidOption(option, 'up to 64 of A-Z, a-z, 0-9, _, . and -', value)
}

function readGroup (option: string, value: unknown): string {
  return value === globalGroup ? invalidOption(option, `another than '${globalGroup}', which is the stack's own`, value) : readName(option, value)
}

/** Routes that share a counter must mean the same by it. */
export class SharedGroups {
  #quotas = new Map<string, string>()

  /** @throws {OptionError} PRISM_ERR_OPTION when a group was declared with another quota, window or algorithm */
  check (policies: readonly LimitPolicy<never, never>[]): void {
    for (const { group, quota, userQuota } of policies) {
      if (group === undefined) continue
      const meaning = JSON.stringify({ quota, userQuota })
      if ((this.#quotas.get(group) ?? meaning) !== meaning) invalidOption('rateLimit.group', 'with the quota, window and algorithm that it has elsewhere', group)
      this.#quotas.set(group, meaning)
    }
  }
}
