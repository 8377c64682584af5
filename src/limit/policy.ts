import { readChoice, readCount, readDuration, readRecord, readSwitch, refuse } from '../options.ts'
import type { Duration } from '../options.ts'
import { bucketMsOf } from './quota.ts'
import type { Algorithm, Quota } from './quota.ts'

/** What happens to a request while Redis cannot be asked. */
export type Failure = 'local' | 'closed' | 'open'

/** What a route, a scope or the stack may choose. */
export interface LimitChoice<Request, Reply> {
  /** units in a window; a request takes `cost` of them */
  quota?: number
  /** default a minute */
  window?: Duration
  /** `sliding` (default): never more than the quota in any window; `gcra`: a smooth rate with a burst; `fixed`: windows on the clock, for daily quotas */
  algorithm?: Algorithm
  /** `gcra`: how many units may come at once; default the quota */
  burst?: number
  /** who is counted: `ip` (default), or a function that names the partition; where it names none, the address is counted */
  by?: 'ip' | ((request: Request) => string | undefined)
  /** units that a request takes; default 1 */
  cost?: number | ((request: Request) => number)
  /** routes that name the same group share one counter */
  group?: string
  /** what clients read in RateLimit fields; default the group's, or `route` */
  name?: string
  /** while Redis cannot be asked: count in the process (`local`, default), answer 503 (`closed`), let pass (`open`) */
  failure?: Failure
  /** counts and reports, but refuses nothing */
  observe?: boolean
  /** answers a refused request instead of the problem document; may send, or throw the error to the app's own handler */
  onRefused?: (request: Request, reply: Reply, error: Error) => unknown
}

/** One counter that a request takes from. */
export interface LimitPolicy<Request, Reply> {
  readonly name: string
  readonly quota: Quota
  /** the key's endpoint when it is not the route's own: a group's name, or `all` */
  readonly group: string | undefined
  readonly by: 'ip' | ((request: Request) => string | undefined)
  readonly cost: number | ((request: Request) => number)
  readonly failure: Failure
  readonly isObserved: boolean
  readonly onRefused: ((request: Request, reply: Reply, error: Error) => unknown) | undefined
}

/** The endpoint of the stack's own counter: every request of a partition, whatever it asks for. */
export const wholeStack = 'all'

/** What a choice may name. */
export const choiceNames = ['quota', 'window', 'algorithm', 'burst', 'by', 'cost', 'group', 'name', 'failure', 'observe', 'onRefused'] as const

/** What a route's policies take over from the stack where they say nothing; its numbers stay its own. */
const inherited = ['window', 'algorithm', 'by', 'failure', 'observe', 'onRefused'] as const
/** What may be chosen without a quota of one's own: it is said of the stack's. */
const ofTheStack = ['cost', 'failure', 'observe', 'onRefused']

const defaults = { quota: 1000, window: '1m', algorithm: 'sliding', by: 'ip', cost: 1, failure: 'local', observe: false } as const

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
  const base = Object.fromEntries(inherited.filter((name) => stack[name] !== undefined).map((name) => [name, stack[name]])) as LimitChoice<Request, Reply>
  const counted = own.filter(({ quota }) => quota !== undefined).map((choice, index) => resolvePolicy({ name: choice.group ?? (index === 0 ? 'route' : `route-${index + 1}`), ...base, ...choice }))
  const rest = own.find(({ quota }) => quota === undefined) ?? {}
  const lost = Object.keys(rest).find((name) => !ofTheStack.includes(name))
  if (isRoute && lost !== undefined) refuse(`rateLimit.${lost}`, 'beside a quota, which this route and its scopes do not name', rest[lost as keyof typeof rest])
  const policies = [{ ...resolvePolicy({ name: 'default', ...stack, ...rest }), group: wholeStack }, ...counted]
  policies.forEach(({ name }, index) => {
    if (policies.findIndex((other) => other.name === name) < index) refuse('rateLimit.name', 'another than that of a policy beside it', name)
  })
  return policies
}

function mergeChoice<Request, Reply> (outer: LimitChoice<Request, Reply>[] | false, choice: unknown): LimitChoice<Request, Reply>[] | false {
  if (choice === false) return false
  if (Array.isArray(choice)) return choice.map((each, index) => checkChoice(`rateLimit[${index}]`, each))
  const checked = checkChoice<Request, Reply>('rateLimit', choice)
  return outer !== false && outer.length === 1 ? [{ ...outer[0], ...checked }] : [checked]
}

/** Checks each option by itself, so that a scope's mistake is told where it stands. */
function checkChoice<Request, Reply> (option: string, value: unknown): LimitChoice<Request, Reply> {
  const choice = readRecord(option, value, choiceNames) as LimitChoice<Request, Reply>
  resolvePolicy({ name: 'route', ...choice }, option)
  return Object.fromEntries(Object.entries(choice).filter(([, each]) => each !== undefined))
}

/**
 * Reads one choice over the defaults.
 *
 * @throws {OptionError} PRISM_ERR_OPTION
 */
export function resolvePolicy<Request, Reply> (choice: LimitChoice<Request, Reply>, option = 'rateLimit'): LimitPolicy<Request, Reply> {
  const chosen: LimitChoice<Request, Reply> & typeof defaults = { ...defaults, ...Object.fromEntries(Object.entries(choice).filter(([, each]) => each !== undefined)) }
  const quota = readQuota(option, chosen)
  const { cost, by, onRefused } = chosen as LimitChoice<Request, Reply>
  if (typeof cost !== 'function') readCount(`${option}.cost`, cost, { min: 0, max: quota.algorithm === 'gcra' ? quota.grain : quota.quota })
  if (typeof by !== 'function') readChoice(`${option}.by`, by, ['ip'])
  if (onRefused !== undefined && typeof onRefused !== 'function') refuse(`${option}.onRefused`, 'a function of request, reply and error', onRefused)
  return Object.freeze({
    name: readName(`${option}.name`, choice.name ?? 'default'),
    quota,
    group: choice.group === undefined ? undefined : readGroup(`${option}.group`, choice.group),
    by: by ?? 'ip',
    cost: cost ?? 1,
    failure: readChoice<Failure>(`${option}.failure`, chosen.failure, ['local', 'closed', 'open']),
    isObserved: readSwitch(`${option}.observe`, chosen.observe),
    onRefused
  })
}

function readQuota (option: string, chosen: LimitChoice<never, never>): Quota {
  const quota = readCount(`${option}.quota`, chosen.quota, { max: 1_000_000_000 })
  const windowMs = readDuration(`${option}.window`, chosen.window)
  const algorithm = readChoice<Algorithm>(`${option}.algorithm`, chosen.algorithm, ['sliding', 'gcra', 'fixed'])
  if (algorithm !== 'gcra' && chosen.burst !== undefined) refuse(`${option}.burst`, "left out, for it is gcra's", chosen.burst)
  const burst = readCount(`${option}.burst`, chosen.burst ?? quota, { max: 1_000_000 })
  return Object.freeze({ algorithm, quota, windowMs, grain: algorithm === 'sliding' ? bucketMsOf(quota, windowMs) : algorithm === 'gcra' ? burst : 0 })
}

/** Stands in a structured field (RFC 9651) as a String. */
function readName (option: string, value: unknown): string {
  return typeof value === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(value) ? value : refuse(option, 'up to 64 of A-Z, a-z, 0-9, _, . and -', value)
}

function readGroup (option: string, value: unknown): string {
  return value === wholeStack ? refuse(option, `another than '${wholeStack}', which is the stack's own`, value) : readName(option, value)
}
