import type { History, MetricsSnapshot } from '../../plugins/metrics.ts'
import type { UnreachableReason } from '../../plugins/redis.ts'
import type { Rule } from './rule.ts'
import { signals } from './signals.ts'

/** Current state of an alert. */
export interface Alert {
  readonly rule: Rule
  readonly state: 'inactive' | 'pending' | 'firing'
  /** latest value of the signal; undefined: unknown */
  readonly value: number | undefined
  /** time of the last state change, milliseconds since 1970 */
  readonly since: number
  /** for a rule with `because`: the last known reason why Redis is unusable */
  readonly reason?: UnreachableReason | undefined
  /** name of the alert that causes this one; while it is set, this alert is not reported */
  readonly cause?: string | undefined
}

/** An alert that started or stopped firing. */
export interface Change {
  readonly alert: Alert
  readonly isFiring: boolean
}

/** Evaluates alert rules with each metrics snapshot; states are inactive, pending and firing, as in Prometheus. */
export class AlertEvaluator {
  readonly #rules: readonly Rule[]
  readonly #reported = new Set<string>()
  /** time at which each rule was last pending or firing */
  readonly #activeAt = new Map<string, number>()
  #alerts: readonly Alert[]

  constructor (rules: readonly Rule[], now = Date.now()) {
    this.#rules = rules
    this.#alerts = rules.map((rule) => ({ rule, state: 'inactive', value: undefined, since: now }))
  }

  get alerts (): readonly Alert[] {
    return this.#alerts
  }

  /** @returns names of the firing alerts caused by the named one */
  consequencesOf (name: string): string[] {
    return this.#alerts.filter(({ state, cause }) => state === 'firing' && cause === name).map(({ rule }) => rule.name)
  }

  /** Evaluates the rules with the latest snapshot. @returns the changes to report, without consequences of other alerts */
  evaluate (history: History): Change[] {
    const last = history.last
    const now = last?.at ?? 0
    const before = this.#alerts
    const alerts = this.#rules.map((rule, index) => next(rule, before[index], signals[rule.signal].read(history, rule.windowSeconds), now))
    for (const { rule, state } of alerts) if (state !== 'inactive') this.#activeAt.set(rule.name, now)
    this.#alerts = alerts.map((alert, index) => ({ ...alert, reason: reasonOf(alert, before[index], last), cause: this.#causeOf(alert, now) }))
    return this.#alerts.flatMap((alert) => this.#changeOf(alert) ?? [])
  }

  #causeOf ({ rule: { consequenceOf = [], windowSeconds } }: Alert, now: number): string | undefined {
    return consequenceOf.find((name) => now - (this.#activeAt.get(name) ?? -Infinity) <= windowSeconds * 1000)
  }

  #changeOf (alert: Alert): Change | undefined {
    const { rule: { name }, state, cause } = alert
    const isFiring = state === 'firing'
    const wasReported = this.#reported.has(name)
    if (isFiring === wasReported || (isFiring && cause !== undefined)) return undefined
    if (isFiring) this.#reported.add(name)
    else this.#reported.delete(name)
    return { alert, isFiring }
  }
}

/** The reason may disappear before the alert stops firing: the last one is reused. */
function reasonOf ({ rule: { because }, state }: Alert, before: Alert | undefined, last: MetricsSnapshot | undefined): UnreachableReason | undefined {
  if (because === undefined) return undefined
  return last?.unusable[because] ?? (state === 'firing' || before?.state === 'firing' ? before?.reason : undefined)
}

/** An unknown value does not end a firing alert: a Redis that became unreachable while its memory was full has not recovered. */
function next (rule: Rule, before: Alert | undefined, value: number | undefined, now: number): Alert {
  const { state, since } = before ?? { state: 'inactive', since: now }
  if (value === undefined) return { rule, state: state === 'pending' ? 'inactive' : state, value, since }
  if (state === 'firing') return value > rule.clear ? { rule, state, value, since } : { rule, state: 'inactive', value, since: now }
  if (value <= rule.above) return { rule, state: 'inactive', value, since: state === 'inactive' ? since : now }
  const pendingSince = state === 'pending' ? since : now
  if (now - pendingSince >= rule.forSeconds * 1000) return { rule, state: 'firing', value, since: now }
  return { rule, state: 'pending', value, since: pendingSince }
}
