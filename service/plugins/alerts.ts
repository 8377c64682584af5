import fp from 'fastify-plugin'
import { bodiesOf } from '../alerts/formats.ts'
import type { AlertFormat } from '../alerts/formats.ts'
import { messageOf, testMessage } from '../alerts/message.ts'
import type { AlertMessage } from '../alerts/message.ts'
import { rules as allRules } from '../alerts/rules.ts'
import type { Rule } from '../alerts/rules.ts'
import { AlertEvaluator } from '../alerts/alert-evaluator.ts'
import type { Alert, Change } from '../alerts/alert-evaluator.ts'
import { Webhook } from '../alerts/webhook.ts'
import type {} from '../../plugins/events.ts'
import type {} from '../../plugins/metrics.ts'

/** Where alerts go, beside the log and the topic `alerts`. */
export interface AlertsOptions {
  url?: string | undefined
  /** signs what is sent to `url` */
  secret?: string | undefined
  /** how what is sent to `url` is written; default 'json' */
  format?: AlertFormat | undefined
  /** of a PagerDuty integration */
  routingKey?: string | undefined
  /** default: all of `service/alerts/rules.ts` */
  rules?: readonly Rule[] | undefined
  /** before a message is sent again, in milliseconds; default 1000 */
  retryMs?: number | undefined
}

/** What is wrong, if anything. */
export interface Alerts {
  readonly all: readonly Alert[]
  /** what fires because another alert does */
  consequencesOf (name: string): string[]
  /** Sends a message that says it is a test, wherever alerts go. @returns settles when it was taken, or given up */
  test (): Promise<TestOutcome>
}

/** What became of a test at the webhook; `none` where no address is given. */
export interface TestOutcome {
  readonly webhook: 'sent' | 'failed' | 'none'
  /** why it failed */
  readonly reason?: string
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Alerts as they stand: rules, judged by the last reading. */
    alerts: Alerts
  }
}

const levels = { critical: 'error', warning: 'warn', info: 'info' } as const

/**
 * Judges the rules with each reading of the metrics, and tells each change once: to the log, to the topic `alerts`, and to a webhook.
 */
export default fp<AlertsOptions>(async (fastify, { url, secret, format = 'json', routingKey, rules = allRules, retryMs }) => {
  const evaluator = new AlertEvaluator(rules)
  const webhook = url === undefined ? undefined : new Webhook({ url, secret, ...(retryMs === undefined ? {} : { retryMs }), onLost: (reason) => fastify.log.error({ reason }, 'An alert could not be sent') })
  const post = async (message: AlertMessage): Promise<TestOutcome> => {
    if (webhook === undefined || url === undefined) return { webhook: 'none' }
    const reasons = await Promise.all(bodiesOf(message, { format, url, routingKey }).map((body) => webhook.send(message.alert, body)))
    const reason = reasons.find((each) => each !== undefined)
    return reason === undefined ? { webhook: 'sent' } : { webhook: 'failed', reason }
  }
  const send = async (message: AlertMessage): Promise<TestOutcome> => {
    const [outcome] = await Promise.all([
      post(message),
      // While Redis is away the log and the webhook tell.
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
    help: '1 while this service itself finds that something is wrong.',
    rows: () => evaluator.alerts.map(({ rule, state }) => [{ alert: rule.name, severity: rule.severity }, Number(state === 'firing')])
  })
  fastify.metrics.onReading(() => {
    for (const change of evaluator.evaluate(fastify.metrics.history)) tell(change)
  })
  fastify.addHook('onClose', async () => webhook?.close())

  function tell ({ alert, isFiring }: Change): void {
    const { rule, value, reason } = alert
    const consequences = evaluator.consequencesOf(rule.name)
    const facts = { alert: rule.name, severity: rule.severity, value, first: reason?.remedy ?? rule.first, reason: reason?.code, ...(consequences.length === 0 ? {} : { consequences }) }
    if (isFiring) fastify.log[levels[rule.severity]](facts, reason === undefined ? rule.meaning : `${rule.meaning} ${reason.sentence}`)
    else fastify.log.info({ alert: rule.name, value }, 'An alert is over')
    if (rule.of === 'process' || fastify.metrics.collector.isLeader) send(messageOf(isFiring ? 'firing' : 'resolved', alert, consequences))
  }
}, { name: 'fastify-prism/alerts', fastify: '5.x', dependencies: ['fastify-prism/metrics'] })
