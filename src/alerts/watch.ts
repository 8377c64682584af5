import type { History } from '../metrics/reading.ts'
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
}

/** An alert that was raised or cleared just now. */
export interface Change {
  readonly alert: Alert
  readonly isFiring: boolean
}

/** Judges rules, reading by reading. */
export class Watch {
  readonly #rules: readonly Rule[]
  #alerts: readonly Alert[]

  constructor (rules: readonly Rule[], now = Date.now()) {
    this.#rules = rules
    this.#alerts = rules.map((rule) => ({ rule, state: 'quiet', value: undefined, since: now }))
  }

  get alerts (): readonly Alert[] {
    return this.#alerts
  }

  /** Takes the latest reading into account. @returns what was raised or cleared by it */
  judge (history: History): Change[] {
    const now = history.last?.at ?? 0
    const before = this.#alerts
    this.#alerts = this.#rules.map((rule, index) => next(rule, before[index], signals[rule.signal].read(history, rule.windowSeconds), now))
    return this.#alerts.flatMap((alert, index) => {
      const wasFiring = before[index]?.state === 'firing'
      return (alert.state === 'firing') === wasFiring ? [] : [{ alert, isFiring: !wasFiring }]
    })
  }
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
