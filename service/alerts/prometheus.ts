import { runbookPage } from './rule.ts'
import type { PrometheusRule, Rule } from './rule.ts'
import { signals } from './signals.ts'

/**
 * Writes rules as a Prometheus rule file.
 *
 * Hysteresis: a firing alert stays firing until its signal is at or below `clear`; the expression reads the previous state from `ALERTS`.
 *
 * @param runbooks what precedes the section in `runbook_url`
 */
export function writePrometheusRules (rules: readonly Rule[], others: readonly PrometheusRule[], runbooks = runbookPage): string {
  const all = [...rules.map((rule) => ({ ...rule, expression: expressionOf(rule), description: descriptionOf(rule) })), ...others.map((rule) => ({ ...rule, description: rule.first }))]
  return `# The alert rules of fastify-prism, written by the repository's \`npm run prism -- rules\`.\ngroups:\n  - name: fastify-prism\n    interval: 5s\n    rules:\n${all.map((rule) => writeRule(rule, runbooks)).join('')}`
}

function writeRule (rule: PrometheusRule & { description: string }, runbooks: string): string {
  const lines = [
    `- alert: ${rule.name}`,
    `  expr: ${JSON.stringify(rule.expression)}`,
    ...rule.forSeconds === 0 ? [] : [`  for: ${rule.forSeconds}s`],
    '  labels:',
    `    severity: ${rule.severity}`,
    '  annotations:',
    `    summary: ${JSON.stringify(rule.meaning)}`,
    `    description: ${JSON.stringify(rule.description)}`,
    `    runbook_url: ${JSON.stringify(`${runbooks}${rule.section}`)}`
  ]
  return lines.map((line) => `      ${line}\n`).join('')
}

/** Appends the reason codes that the processes export. */
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

/** Suppresses a consequence while its cause is pending or firing, or was within the window. */
function foldedUnder ({ consequenceOf = [], windowSeconds }: Rule): string {
  return consequenceOf.length === 0 ? '' : ` unless on (job) max by (job) (max_over_time(ALERTS{alertname=~"${consequenceOf.join('|')}"}[${windowSeconds}s]))`
}
