import { writePrometheusRules } from './alerts/prometheus.ts'
import { prometheusRules, rules as all } from './alerts/rules.ts'
import type { Command } from '../plugins/standalone/cli.ts'

/** Writes the alert rules for Prometheus. */
export const rules: Command = {
  usage: 'rules',
  summary: 'writes the alert rules as a Prometheus rule file',
  help: ['npm run --silent prism -- rules > prism.rules.yml'],
  run: async ({ output }) => {
    output.tell([...all, ...prometheusRules], [writePrometheusRules(all, prometheusRules).trimEnd()])
    return 0
  }
}
