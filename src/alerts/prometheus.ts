import type { Rule } from './rules.ts'
import { signals } from './signals.ts'

/**
 * Writes rules as a Prometheus rule file.
 *
 * An alert that fires goes on until its signal is below `clear`: Prometheus remembers in `ALERTS` that it fired.
 */
export function writePrometheusRules (rules: readonly Rule[]): string {
  return `# Written by \`npm run prism -- rules\` from src/alerts/rules.ts.\ngroups:\n  - name: fastify-prism\n    interval: 5s\n    rules:\n${rules.map(writeRule).join('')}`
}

function writeRule (rule: Rule): string {
  const lines = [
    `- alert: ${rule.name}`,
    `  expr: ${JSON.stringify(expressionOf(rule))}`,
    ...rule.forSeconds === 0 ? [] : [`  for: ${rule.forSeconds}s`],
    '  labels:',
    `    severity: ${rule.severity}`,
    '  annotations:',
    `    summary: ${JSON.stringify(rule.meaning)}`,
    `    description: ${JSON.stringify(rule.first)}`
  ]
  return lines.map((line) => `      ${line}\n`).join('')
}

function expressionOf ({ name, signal, above, clear, windowSeconds }: Rule): string {
  const value = signals[signal].promql.replaceAll('$window', `${windowSeconds}s`)
  if (clear === above) return `${value} > ${above}`
  const fires = `ALERTS{alertname="${name}",alertstate="firing"}`
  return `${value} > ${above} or (${value} > ${clear} and ignoring (alertname, alertstate, severity) ${fires})`
}
