import t from 'tap'
import { bodiesOf } from '../../../service/alerts/formats.ts'
import type { AlertFormat } from '../../../service/alerts/formats.ts'
import { testMessage } from '../../../service/alerts/message.ts'
import type { AlertMessage } from '../../../service/alerts/message.ts'

const firing: AlertMessage = {
  status: 'firing',
  alert: 'PrismRedisDown',
  severity: 'critical',
  meaning: 'Redis does not reply <now> & here.',
  first: 'Compare the passwords.',
  runbook: 'docs/operations.md#redis-cannot-be-reached',
  reason: { code: 'wrong_password', sentence: 'Redis refuses the password.', remedy: 'Compare the passwords.' },
  consequences: ['PrismBreakerOpen'],
  value: 1,
  at: '2026-11-22T20:00:00.000Z',
  service: 'fastify-prism',
  instance: 'web-1'
}
const resolved: AlertMessage = { ...firing, status: 'resolved' }
const write = (message: AlertMessage, format: AlertFormat, url = 'https://hooks.example/') => bodiesOf(message, { format, url, routingKey: 'key' })

t.test('json is the message itself', async (t) => {
  t.same(write(firing, 'json'), [firing])
})

t.test('Slack: a text for notifications, a section within its length limit, and escaped markup', async (t) => {
  const [body] = write({ ...firing, first: 'x'.repeat(5000) }, 'slack') as [{ text: string, blocks: { type: string, text: { type: string, text: string } }[] }]

  t.match(body.text, '[FIRING] PrismRedisDown (critical)')
  t.match(body, { blocks: [{ type: 'section', text: { type: 'mrkdwn' } }] })
  t.match(body.text, 'Redis does not reply &lt;now&gt; &amp; here.')
  t.match(body.text, 'Reason: Redis refuses the password.')
  t.match(body.text, 'Runbook: docs/operations.md#redis-cannot-be-reached')
  t.ok((body.blocks[0]?.text.text.length ?? 0) <= 3000)
})

t.test('Discord: an embed within its length limits, without mentions', async (t) => {
  const [body] = write({ ...firing, first: 'x'.repeat(9000) }, 'discord') as [{ embeds: { title: string, description: string, color: number, timestamp: string }[], allowed_mentions: object }]

  t.match(body, { embeds: [{ title: '[FIRING] PrismRedisDown (critical)', timestamp: firing.at }] })
  t.same(body.allowed_mentions, { parse: [] })
  t.ok((body.embeds[0]?.description.length ?? 0) <= 4096)
  t.not(body.embeds[0]?.color, (write(resolved, 'discord')[0] as typeof body).embeds[0]?.color)
})

t.test('PagerDuty Events v2: trigger and resolve have the same key, and a test resolves itself', async (t) => {
  const [trigger] = write(firing, 'pagerduty') as [{ dedup_key: string, payload: { summary: string } }]
  const [resolve] = write(resolved, 'pagerduty') as [{ dedup_key: string }]

  t.match(trigger, { routing_key: 'key', event_action: 'trigger', payload: { source: 'web-1', severity: 'critical', timestamp: firing.at, class: 'PrismRedisDown', custom_details: { reason: { code: 'wrong_password' } } } })
  t.match(trigger, { payload: { custom_details: { runbook: firing.runbook } } })
  t.match(trigger.payload.summary, 'Redis refuses the password.')
  t.match(resolve, { routing_key: 'key', event_action: 'resolve' })
  t.equal(resolve.dedup_key, trigger.dedup_key)
  t.ok((write({ ...firing, meaning: 'x'.repeat(3000) }, 'pagerduty') as [typeof trigger])[0].payload.summary.length <= 1024)
  t.match(write(testMessage(), 'pagerduty'), [{ event_action: 'trigger' }, { event_action: 'resolve' }])
})

t.test('Alertmanager: the object of its webhooks, or the list of its API, by the address', async (t) => {
  const [webhook] = write(firing, 'alertmanager')
  const [list] = write(firing, 'alertmanager', 'http://alertmanager:9093/api/v2/alerts') as [{ endsAt: string }[]]
  const [ended] = write(resolved, 'alertmanager', 'http://alertmanager:9093/api/v2/alerts') as [{ startsAt?: string, endsAt: string }[]]

  t.match(webhook, { version: '4', status: 'firing', groupLabels: { alertname: 'PrismRedisDown' }, alerts: [{ status: 'firing', labels: { alertname: 'PrismRedisDown', severity: 'critical', instance: 'web-1' }, annotations: { summary: firing.meaning, runbook_url: firing.runbook }, startsAt: firing.at, endsAt: '0001-01-01T00:00:00Z', fingerprint: /^[\da-f]{16}$/ }] })
  t.match(write(resolved, 'alertmanager'), [{ status: 'resolved', alerts: [{ status: 'resolved', endsAt: firing.at }] }])
  t.match(list, [{ labels: { alertname: 'PrismRedisDown' }, startsAt: firing.at }])
  t.ok(Date.parse(list[0]?.endsAt ?? '') > Date.now(), 'the alert lasts until it is resolved')
  t.match(ended, [{ labels: { alertname: 'PrismRedisDown' }, endsAt: firing.at }])
})
