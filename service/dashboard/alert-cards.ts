import type { FastifyInstance } from 'fastify'
import type { Alert } from '../alerts/alert-evaluator.ts'
import type { SignalName } from '../alerts/signals.ts'
import type { Runbook } from './runbook.ts'

/** An alert as the dashboard shows it. */
interface AlertCard {
  readonly name: string
  readonly severity: Alert['rule']['severity']
  readonly meaning: string
  readonly first: string
  /** measured value with its unit, and the threshold; undefined for a condition that is only true or false, or while it is unknown */
  readonly value: string | undefined
  readonly since: number
  readonly reason: Alert['reason']
  readonly consequences: readonly string[]
  /** path of the section that tells what to do */
  readonly runbook: string | undefined
}

/** The firing alerts without consequences of others. */
export function alertCards (alerts: FastifyInstance['alerts'], runbook: Runbook): AlertCard[] {
  const firing = alerts.all.filter(({ state, cause }) => state === 'firing' && cause === undefined)
  return firing.map(({ rule: { name, severity, meaning, first, section, signal, above }, value, since, reason }) => ({
    name,
    severity,
    meaning,
    first,
    value: valueText(signal, value, above),
    since,
    reason,
    consequences: alerts.consequencesOf(name),
    runbook: runbook.section(section) === undefined ? undefined : `/ops/runbook/${section}`
  }))
}

function valueText (signal: SignalName, value: number | undefined, above: number): string | undefined {
  const format = formatOf(signal)
  return value === undefined || format === undefined ? undefined : `${format(value)}; the limit is ${format(above)}`
}

function formatOf (signal: SignalName): ((value: number) => string) | undefined {
  const rounded = (value: number) => Number(value.toPrecision(3)).toLocaleString('en')
  if (signal.endsWith('Share')) return (value) => `${rounded(value * 100)} %`
  if (signal.endsWith('ASecond')) return (value) => `${rounded(value)} per second`
  return signal.endsWith('Seconds') ? (value) => `${rounded(value * 1000)} ms` : undefined
}
