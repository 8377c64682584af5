import type { History, MetricsSnapshot } from '../../src/metrics/snapshot.ts'
import type { UnreachableReason } from '../../src/redis/health/unreachable-reason.ts'
import type { Rule } from './rules.ts'
import { signals } from './signals.ts'

/** One alert, as it stands. */
export interface Alert {
  readonly rule: Rule
  readonly state: 'quiet' | 'pending' | 'firing'
  /** what the signal was last; undefined where nobody knows */
  readonly value: number | undefined
  /** when it became what it is, milliseconds since 1970 */
  readonly since: number
  /** why Redis cannot be used, where the rule tells so: the last reason that was known while it fired */
  readonly reason?: UnreachableReason | undefined
  /** the alert that is its cause: while there is one, this one is not told */
  readonly cause?: string | undefined
}

/** An alert that was raised or cleared just now. */
export interface Change {
  readonly alert: Alert
  readonly isFiring: boolean
}

/** Judges rules, reading by reading. */
export class AlertEvaluator {
  readonly #rules: readonly Rule[]
  readonly #told = new Set<string>()
  /** when each rule was pending or firing last */
  readonly #activeAt = new Map<string, number>()
  #alerts: readonly Alert[]

  constructor (rules: readonly Rule[], now = Date.now()) {
    this.#rules = rules
    this.#alerts = rules.map((rule) => ({ rule, state: 'quiet', value: undefined, since: now }))
  }

  get alerts (): readonly Alert[] {
    return this.#alerts
  }

  /** What fires because another alert does. */
  consequencesOf (name: string): string[] {
    return this.#alerts.filter(({ state, cause }) => state === 'firing' && cause === name).map(({ rule }) => rule.name)
  }

  /** Takes the latest reading into account. @returns what is to be told: raised or cleared by it, and no consequence of another alert */
  evaluate (history: History): Change[] {
    const last = history.last
    const now = last?.at ?? 0
    const before = this.#alerts
    const alerts = this.#rules.map((rule, index) => next(rule, before[index], signals[rule.signal].read(history, rule.windowSeconds), now))
    for (const { rule, state } of alerts) if (state !== 'quiet') this.#activeAt.set(rule.name, now)
    this.#alerts = alerts.map((alert, index) => ({ ...alert, reason: reasonOf(alert, before[index], last), cause: this.#causeOf(alert, now) }))
    return this.#alerts.flatMap((alert) => this.#changeOf(alert) ?? [])
  }

  #causeOf ({ rule: { consequenceOf = [], windowSeconds } }: Alert, now: number): string | undefined {
    return consequenceOf.find((name) => now - (this.#activeAt.get(name) ?? -Infinity) <= windowSeconds * 1000)
  }

  #changeOf (alert: Alert): Change | undefined {
    const { rule: { name }, state, cause } = alert
    const isFiring = state === 'firing'
    const wasTold = this.#told.has(name)
    if (isFiring === wasTold || (isFiring && cause !== undefined)) return undefined
    if (isFiring) this.#told.add(name)
    else this.#told.delete(name)
    return { alert, isFiring }
  }
}

/** The reason may be gone a moment before the alert is. */
function reasonOf ({ rule: { because }, state }: Alert, before: Alert | undefined, last: MetricsSnapshot | undefined): UnreachableReason | undefined {
  if (because === undefined) return undefined
  return last?.unusable[because] ?? (state === 'firing' || before?.state === 'firing' ? before?.reason : undefined)
}

/** What nobody knows any more changes nothing: a Redis that went away while its memory was full is not well. */
function next (rule: Rule, before: Alert | undefined, value: number | undefined, now: number): Alert {
  const { state, since } = before ?? { state: 'quiet', since: now }
  if (value === undefined) return { rule, state: state === 'pending' ? 'quiet' : state, value, since }
  if (state === 'firing') return value > rule.clear ? { rule, state, value, since } : { rule, state: 'quiet', value, since: now }
  if (value <= rule.above) return { rule, state: 'quiet', value, since: state === 'quiet' ? since : now }
  const pendingSince = state === 'pending' ? since : now
  if (now - pendingSince >= rule.forSeconds * 1000) return { rule, state: 'firing', value, since: now }
  return { rule, state: 'pending', value, since: pendingSince }
}
