import type { SignalName } from './signals.ts'

/** The page of the runbooks; a rule's `section` follows it. */
export const runbookPage = 'docs/operations.md#'

/** Condition of an alert, its meaning and its remedy. */
export interface Rule {
  readonly name: string
  readonly severity: 'critical' | 'warning' | 'info'
  /** `redis`: shared by all processes and reported by the leader; `process`: reported by each process */
  readonly of: 'redis' | 'process'
  readonly signal: SignalName
  /** threshold: fires above this value */
  readonly above: number
  /** time above the threshold before the alert fires; 0: immediately */
  readonly forSeconds: number
  /** resolves at or below this value; lower than `above` (hysteresis) so that an alert does not flap */
  readonly clear: number
  /** window of rates and percentiles, and of {@link consequenceOf} */
  readonly windowSeconds: number
  /** one line: what it means */
  readonly meaning: string
  /** one line: what to do first; if `because` is set, the remedy of the reason replaces it */
  readonly first: string
  /** anchor of the section of `docs/operations.md` that says what to do */
  readonly section: string
  /** reports why Redis, or the sessions' dedicated Redis, is unusable */
  readonly because?: 'redis' | 'sessions'
  /** not reported while one of these alerts is pending or firing, or was within `windowSeconds` */
  readonly consequenceOf?: readonly string[]
}

/** A rule that only Prometheus can evaluate. */
export interface PrometheusRule {
  readonly name: string
  readonly severity: Rule['severity']
  readonly expression: string
  readonly forSeconds: number
  readonly meaning: string
  readonly first: string
  readonly section: string
}
