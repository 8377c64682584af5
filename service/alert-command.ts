import { bodiesOf } from './alerts/formats.ts'
import { testMessage } from './alerts/message.ts'
import { Webhook } from './alerts/webhook.ts'
import { readConfig } from './config.ts'
import { ConfigError } from './errors.ts'
import { UsageError } from '../plugins/standalone/cli.ts'
import type { Command, Environment } from '../plugins/standalone/cli.ts'

const names = ['ALERT_WEBHOOK_URL', 'ALERT_WEBHOOK_SECRET', 'ALERT_WEBHOOK_FORMAT', 'ALERT_PAGERDUTY_KEY']

/** Sends a test alert to the service's webhook. */
export const alert: Command = {
  usage: 'alert',
  summary: 'sends a test alert to ALERT_WEBHOOK_URL and reports whether it was accepted',
  help: [`Reads ${names.join(', ')}.`],
  examples: ['alert'],
  exitCodes: 'Exit code: 0 accepted, 1 rejected, 2 no address.',
  run: async ({ environment, output }) => {
    const { alertWebhookUrl: url, alertWebhookSecret: secret, alertWebhookFormat: format, alertPagerDutyKey: routingKey } = read(environment)
    if (url === undefined) throw new UsageError('ALERT_WEBHOOK_URL is unset: there is nowhere to send alerts.')
    const webhook = new Webhook({ url, secret, tries: 1, onLost: () => {} })
    const reasons = await Promise.all(bodiesOf(testMessage(), { format, url, routingKey }).map((body) => webhook.send('PrismTest', body)))
    const reason = reasons.find((each) => each !== undefined)
    output.tell({ isAccepted: reason === undefined, format, reason }, [reason === undefined ? `The receiver accepted a test alert (format ${format}).` : `The receiver did not accept a test alert (format ${format}): ${reason}.`])
    return reason === undefined ? 0 : 1
  }
}

/** Reads only the alert variables: other errors of the environment are reported by `doctor`. */
function read (environment: Environment): ReturnType<typeof readConfig> {
  try {
    return readConfig(Object.fromEntries(names.map((name) => [name, environment[name]])))
  } catch (error) {
    if (error instanceof ConfigError) throw new UsageError(error.message.trim())
    throw error
  }
}
