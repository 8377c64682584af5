import { writePrometheusRules } from './alerts/prometheus.ts'
import { prometheusRules, rules as all } from './alerts/rules.ts'
import type { Command } from '../plugins/standalone/cli.ts'

/** Writes the alert rules for Prometheus. */
export const rules: Command = {
  usage: 'rules',
  summary: 'writes the alert rules as a Prometheus rule file',
  help: ['Each rule has a `runbook_url`: by default a section of docs/operations.md in the repository.', 'npm run --silent prism -- rules > prism.rules.yml'],
  flags: { runbooks: { type: 'string', help: 'what precedes the section in runbook_url, such as https://example.com/ops/runbook/ for the pages of the service' } },
  run: async ({ flags, output }) => {
    const runbooks = typeof flags.runbooks === 'string' ? flags.runbooks : undefined
    output.tell([...all, ...prometheusRules], [writePrometheusRules(all, prometheusRules, runbooks).trimEnd()])
    return 0
  }
}
