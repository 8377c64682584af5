import type { PrometheusRule, Rule } from './rules.ts'
import { signals } from './signals.ts'

/**
 * Writes rules as a Prometheus rule file.
 *
 * An alert that fires goes on until its signal is below `clear`: Prometheus remembers in `ALERTS` that it fired.
 */
export function writePrometheusRules (rules: readonly Rule[], others: readonly PrometheusRule[]): string {
  const all = [...rules.map((rule) => ({ ...rule, expression: expressionOf(rule), description: descriptionOf(rule) })), ...others.map((rule) => ({ ...rule, description: rule.first }))]
  return `# Written by \`npm run prism -- rules\` from service/alerts/rules.ts.\ngroups:\n  - name: fastify-prism\n    interval: 5s\n    rules:\n${all.map(writeRule).join('')}`
}

function writeRule (rule: PrometheusRule & { description: string }): string {
  const lines = [
    `- alert: ${rule.name}`,
    `  expr: ${JSON.stringify(rule.expression)}`,
    ...rule.forSeconds === 0 ? [] : [`  for: ${rule.forSeconds}s`],
    '  labels:',
    `    severity: ${rule.severity}`,
    '  annotations:',
    `    summary: ${JSON.stringify(rule.meaning)}`,
    `    description: ${JSON.stringify(rule.description)}`
  ]
  return lines.map((line) => `      ${line}\n`).join('')
}

/** With the reasons that the processes tell, by their codes. */
function descriptionOf ({ first, because }: Rule): string {
  if (because === undefined) return first
  return `${first}{{ range query "count by (reason) (prism_redis_unusable{holds=\\"${because === 'redis' ? 'all' : 'sessions'}\\"})" }} Reason: {{ .Labels.reason }}.{{ end }}`
}

function expressionOf (rule: Rule): string {
  const { name, above, clear } = rule
  const value = valueOf(rule)
  const fires = `ALERTS{alertname="${name}",alertstate="firing"}`
  const raised = clear === above ? `${value} > ${above}` : `(${value} > ${above} or (${value} > ${clear} and ignoring (alertname, alertstate, severity) ${fires}))`
  return `${raised}${foldedUnder(rule)}`
}

function valueOf ({ signal, windowSeconds }: Rule): string {
  return signals[signal].promql.replaceAll('$window', `${windowSeconds}s`)
}

/** What follows from an alert is not told while that is pending or firing, nor while the window still holds that time. */
function foldedUnder ({ consequenceOf = [], windowSeconds }: Rule): string {
  return consequenceOf.length === 0 ? '' : ` unless on (job) max by (job) (max_over_time(ALERTS{alertname=~"${consequenceOf.join('|')}"}[${windowSeconds}s]))`
}
