import fp from 'fastify-plugin'
import { bodiesOf } from '../alerts/formats.ts'
import type { AlertFormat } from '../alerts/formats.ts'
import { messageOf, testMessage } from '../alerts/message.ts'
import type { AlertMessage } from '../alerts/message.ts'
import { rules as allRules } from '../alerts/rules.ts'
import type { Rule } from '../alerts/rule.ts'
import { AlertEvaluator } from '../alerts/alert-evaluator.ts'
import type { Alert, Change } from '../alerts/alert-evaluator.ts'
import { Webhook } from '../alerts/webhook.ts'
import type {} from '../../plugins/index.ts'
import type {} from '../../plugins/metrics.ts'

/** Destination of alerts beside the log and the topic `alerts`. */
export interface AlertsOptions {
  url?: string | undefined
  /** HMAC key that signs the messages sent to `url` */
  secret?: string | undefined
  /** message format of `url`; default 'json' */
  format?: AlertFormat | undefined
  /** integration key of PagerDuty */
  routingKey?: string | undefined
  /** default: all of `service/alerts/rules.ts` */
  rules?: readonly Rule[] | undefined
  /** delay before the first retry, in milliseconds; default 1000 */
  retryMs?: number | undefined
}

/** Current state of all alerts. */
interface Alerts {
  readonly all: readonly Alert[]
  /** names of the firing alerts that the named alert causes */
  consequencesOf (name: string): string[]
  /** Sends a test message to the webhook and the topic. Resolves when it is delivered or the retries are exhausted. */
  test (): Promise<TestOutcome>
}

/** Result of a test message at the webhook; `none` if no address is configured. */
interface TestOutcome {
  readonly webhook: 'sent' | 'failed' | 'none'
  /** reason of the failure */
  readonly reason?: string
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Alert states, evaluated with the latest metrics snapshot. */
    alerts: Alerts
  }
}

const levels = { critical: 'error', warning: 'warn', info: 'info' } as const

/**
 * Evaluates the alert rules with each metrics snapshot, and reports each change once: to the log, to the topic `alerts`, and to a webhook.
 */
export default fp<AlertsOptions>(async (fastify, { url, secret, format = 'json', routingKey, rules = allRules, retryMs }) => {
  const evaluator = new AlertEvaluator(rules)
  const webhook = url === undefined ? undefined : new Webhook({ url, secret, ...(retryMs === undefined ? {} : { retryMs }), onLost: (reason) => fastify.log.error({ reason }, 'Alert could not be sent') })
  const post = async (message: AlertMessage): Promise<TestOutcome> => {
    if (webhook === undefined || url === undefined) return { webhook: 'none' }
    const reasons = await Promise.all(bodiesOf(message, { format, url, routingKey }).map((body) => webhook.send(message.alert, body)))
    const reason = reasons.find((each) => each !== undefined)
    return reason === undefined ? { webhook: 'sent' } : { webhook: 'failed', reason }
  }
  const send = async (message: AlertMessage): Promise<TestOutcome> => {
    const [outcome] = await Promise.all([
      post(message),
      // The publication fails while Redis is unavailable; the log and the webhook still report the alert.
      fastify.hasDecorator('events') ? fastify.events.publish('alerts', { type: 'alert', data: message }).catch(() => {}) : undefined
    ])
    return outcome
  }

  fastify.decorate('alerts', {
    get all () { return evaluator.alerts },
    consequencesOf: (name) => evaluator.consequencesOf(name),
    test: () => send(testMessage())
  })
  fastify.metrics.registry.gauge({
    name: 'prism_alert_firing',
    help: '1 while the service evaluates the alert as firing.',
    rows: () => evaluator.alerts.map(({ rule, state }) => [{ alert: rule.name, severity: rule.severity }, Number(state === 'firing')])
  })
  fastify.metrics.onReading(() => {
    for (const change of evaluator.evaluate(fastify.metrics.history)) report(change)
  })
  fastify.addHook('onClose', async () => webhook?.close())

  function report ({ alert, isFiring }: Change): void {
    const { rule, value, reason } = alert
    const consequences = evaluator.consequencesOf(rule.name)
    const facts = { alert: rule.name, severity: rule.severity, value, first: reason?.remedy ?? rule.first, reason: reason?.code, ...(consequences.length === 0 ? {} : { consequences }) }
    if (isFiring) fastify.log[levels[rule.severity]](facts, reason === undefined ? rule.meaning : `${rule.meaning} ${reason.sentence}`)
    else fastify.log.info({ alert: rule.name, value }, 'Alert resolved')
    if (rule.of === 'process' || fastify.metrics.collector.isLeader) send(messageOf(isFiring ? 'firing' : 'resolved', alert, consequences))
  }
}, { name: 'fastify-prism/alerts', fastify: '5.x', dependencies: ['fastify-prism/metrics'] })
