import { hostname } from 'node:os'
import fp from 'fastify-plugin'
import { rules as allRules } from '../src/alerts/rules.ts'
import type { Rule } from '../src/alerts/rules.ts'
import { Watch } from '../src/alerts/watch.ts'
import type { Alert, Change } from '../src/alerts/watch.ts'
import { Webhook } from '../src/alerts/webhook.ts'
import type {} from './events.ts'
import type {} from './metrics.ts'

/** Where alerts go, beside the log and the topic `alerts`. */
export interface AlertsOptions {
  url?: string | undefined
  /** signs what is sent to `url` */
  secret?: string | undefined
  /** default: all of `src/alerts/rules.ts` */
  rules?: readonly Rule[] | undefined
  /** before a message is sent again, in milliseconds; default 1000 */
  retryMs?: number | undefined
}

/** What is wrong, if anything. */
export interface Alerts {
  readonly all: readonly Alert[]
  /** Sends a message that says it is a test, wherever alerts go. @returns settles when it was taken, or given up */
  test (): Promise<void>
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
export default fp<AlertsOptions>(async (fastify, { url, secret, rules = allRules, retryMs }) => {
  const watch = new Watch(rules)
  const webhook = url === undefined ? undefined : new Webhook({ url, secret, ...(retryMs === undefined ? {} : { retryMs }), onLost: (reason) => fastify.log.error({ reason }, 'An alert could not be sent') })
  const send = async (message: object): Promise<void> => {
    await Promise.all([
      webhook?.send(message),
      // While Redis is away the log and the webhook tell.
      fastify.hasDecorator('events') ? fastify.events.publish('alerts', { type: 'alert', data: message }).catch(() => {}) : undefined
    ])
  }

  fastify.decorate('alerts', { get all () { return watch.alerts }, test: () => send(messageOf('test', testAlert)) })
  fastify.metrics.exposition.gauge({
    name: 'prism_alert_firing',
    help: '1 while this service itself finds that something is wrong.',
    rows: () => watch.alerts.map(({ rule, state }) => [{ alert: rule.name, severity: rule.severity }, Number(state === 'firing')])
  })
  fastify.metrics.onReading(() => {
    for (const change of watch.judge(fastify.metrics.history)) tell(change)
  })
  fastify.addHook('onClose', async () => webhook?.close())

  function tell ({ alert, isFiring }: Change): void {
    const { rule, value } = alert
    const facts = { alert: rule.name, severity: rule.severity, value, first: rule.first }
    if (isFiring) fastify.log[levels[rule.severity]](facts, rule.meaning)
    else fastify.log.info({ alert: rule.name, value }, 'An alert is over')
    if (rule.of === 'process' || fastify.metrics.observer.isHolder) send(messageOf(isFiring ? 'firing' : 'resolved', alert))
  }
}, { name: 'fastify-prism/alerts', fastify: '5.x', dependencies: ['fastify-prism/metrics'] })

const testAlert: Alert = {
  rule: { name: 'PrismTest', severity: 'info', of: 'process', signal: 'redisDown', above: 0, clear: 0, forSeconds: 0, windowSeconds: 0, meaning: 'This is a test: alerts arrive here.', first: 'Nothing.' },
  state: 'firing',
  value: undefined,
  since: 0
}

function messageOf (status: 'firing' | 'resolved' | 'test', { rule, value, since }: Alert): object {
  const at = new Date(status === 'test' ? Date.now() : since).toISOString()
  return { status, alert: rule.name, severity: rule.severity, meaning: rule.meaning, first: rule.first, value: Number.isFinite(value) ? value : null, at, service: 'fastify-prism', instance: hostname() }
}
