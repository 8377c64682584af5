import { hash } from 'node:crypto'
import type { AlertMessage } from './message.ts'

/** Message formats of webhooks. */
export const alertFormats = ['json', 'slack', 'discord', 'pagerduty', 'alertmanager'] as const
export type AlertFormat = typeof alertFormats[number]

/** PagerDuty's endpoint, if no other URL is configured. */
export const pagerDutyUrl = 'https://events.pagerduty.com/v2/enqueue'

/** Format of a message. */
interface FormatOptions {
  readonly format: AlertFormat
  /** Alertmanager's API expects a list, its webhook receivers an object: the URL decides */
  readonly url: string
  /** integration key; required for `pagerduty` */
  readonly routingKey?: string | undefined
}

/**
 * Formats a message. A test for PagerDuty is two messages, trigger and resolve, so that it ends by itself.
 *
 * @see https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
 * @see https://discord.com/developers/docs/resources/webhook#execute-webhook
 * @see https://developer.pagerduty.com/docs/events-api-v2-overview
 * @see https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
 */
export function bodiesOf (message: AlertMessage, options: FormatOptions): object[] {
  switch (options.format) {
    case 'json': return [message]
    case 'slack': return [slackBody(message)]
    case 'discord': return [discordBody(message)]
    case 'pagerduty': return pagerDutyBodies(message, options.routingKey ?? '')
    case 'alertmanager': return [alertmanagerBody(message, options.url)]
  }
}

const words = { firing: 'FIRING', resolved: 'RESOLVED', test: 'TEST' } as const

function titleOf ({ status, alert, severity }: AlertMessage): string {
  return `[${words[status]}] ${alert} (${severity})`
}

/** The text for people, one sentence per line. */
function linesOf ({ status, meaning, reason, first, runbook, consequences = [], instance }: AlertMessage): string[] {
  return [
    meaning,
    ...(reason === undefined ? [] : [`Reason: ${reason.sentence}`]),
    ...(status === 'firing' ? [`First: ${first}`] : []),
    ...(status === 'firing' && runbook !== undefined ? [`Runbook: ${runbook}`] : []),
    ...(consequences.length === 0 ? [] : [`Follows from it: ${consequences.join(', ')}`]),
    `Instance: ${instance}`
  ]
}

function slackBody (message: AlertMessage): object {
  const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  const [title, text] = [escaped(titleOf(message)), escaped(linesOf(message).join('\n'))]
  return { text: `${title}\n${text}`, blocks: [{ type: 'section', text: { type: 'mrkdwn', text: cut(`*${title}*\n${text}`, 3000) } }] }
}

const colours = { critical: 0xd32f2f, warning: 0xf9a825, info: 0x1976d2 } as const
const resolvedColour = 0x2e7d32

function discordBody (message: AlertMessage): object {
  const { status, severity, at } = message
  return {
    username: 'fastify-prism',
    allowed_mentions: { parse: [] },
    embeds: [{ title: cut(titleOf(message), 256), description: cut(linesOf(message).join('\n'), 4096), color: status === 'resolved' ? resolvedColour : colours[severity], timestamp: at }]
  }
}

function pagerDutyBodies (message: AlertMessage, routingKey: string): object[] {
  const { status, alert, severity, meaning, first, runbook, reason, consequences, value, at, service, instance } = message
  const common = { routing_key: routingKey, dedup_key: `${service}/${instance}/${alert}` }
  const payload = { summary: cut(reason === undefined ? meaning : `${meaning} ${reason.sentence}`, 1024), source: instance, severity, timestamp: at, component: 'redis', group: service, class: alert, custom_details: { first, runbook, reason, consequences, value } }
  const trigger = { ...common, event_action: 'trigger', client: service, payload }
  const resolve = { ...common, event_action: 'resolve' }
  return status === 'test' ? [trigger, resolve] : [status === 'firing' ? trigger : resolve]
}

/** Alertmanager resolves an alert that is not sent again; a day exceeds the longest gap. */
const firingMs = 86_400_000
const testMs = 60_000

function alertmanagerBody (message: AlertMessage, url: string): object {
  const { status, alert, severity, meaning, first, runbook, reason, at, service, instance } = message
  const labels = { alertname: alert, severity, service, instance }
  const annotations = { summary: meaning, description: reason === undefined ? first : `${reason.sentence} ${reason.remedy}`, ...(runbook === undefined ? {} : { runbook_url: runbook }) }
  const isFiring = status !== 'resolved'
  if (/\/api\/v2\/alerts\/?$/.test(URL.parse(url)?.pathname ?? '')) {
    const endsAt = isFiring ? new Date(Date.now() + (status === 'test' ? testMs : firingMs)).toISOString() : at
    return [{ labels, annotations, ...(isFiring ? { startsAt: at } : {}), endsAt }]
  }
  const one = { status: isFiring ? 'firing' : 'resolved', labels, annotations, startsAt: at, endsAt: isFiring ? '0001-01-01T00:00:00Z' : at, generatorURL: '', fingerprint: hash('sha256', `${instance}/${alert}`, 'hex').slice(0, 16) }
  return { version: '4', groupKey: `{}:{alertname="${alert}"}`, truncatedAlerts: 0, status: one.status, receiver: service, groupLabels: { alertname: alert }, commonLabels: labels, commonAnnotations: annotations, externalURL: '', alerts: [one] }
}

function cut (text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`
}
