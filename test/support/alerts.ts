import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { rules } from '../../service/alerts/rules.ts'
import type { Rule } from '../../service/alerts/rule.ts'
import { sign } from '../../service/alerts/webhook.ts'
import { buildTestApp } from './app.ts'
import type { TestAppOptions } from './app.ts'
import { until } from './until.ts'

/** The secret that signs messages. */
export const secret = 'a secret of the webhook, 32 long'

/** Fields of a webhook message that tests use. */
export interface Message { status: string, alert: string, severity: string, meaning: string, first: string, value: number | null }

/** A receiver of alerts that verifies signatures and rejects the first `refusals` attempts. */
export async function receiver (t: Test, refusals = 0): Promise<{ url: string, messages: Message[], tries: () => number }> {
  const messages: Message[] = []
  let tries = 0
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
      const body = Buffer.concat(chunks).toString()
      const isOurs = request.headers['x-prism-signature'] === sign(body, secret)
      if (++tries > refusals && isOurs) messages.push(JSON.parse(body))
      response.writeHead(tries > refusals ? isOurs ? 204 : 403 : 503).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => { server.closeAllConnections(); server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts`, messages, tries: () => tries }
}

/** A rule with short durations: a test does not wait ten minutes. */
export function hasty (name: string, changes: Partial<Rule> = {}): Rule {
  const rule = rules.find((each) => each.name === name)
  if (rule === undefined) throw new Error(`there is no rule ${name}`)
  return { ...rule, forSeconds: Math.min(rule.forSeconds, 0.3), windowSeconds: 1, ...changes }
}

/** The service with one rule, and its receiver. */
export async function watched (t: Test, rule: Rule, options: TestAppOptions) {
  const { url, messages } = await receiver(t)
  const app = await buildTestApp(t, { metricsEvery: '50ms', alerting: { rules: [rule], retryMs: 20 }, alertWebhookUrl: url, alertWebhookSecret: secret, ...options })
  const sees = async (status: string) => await until(() => messages.find((message) => message.status === status), { what: `${rule.name} ${status}`, deadlineMs: 45_000 })
  return { app, messages, sees }
}

/** Received changes in order: one message per change. */
export function changes (messages: readonly Message[]): string[] {
  return messages.map(({ status, alert }) => `${alert} ${status}`)
}
