import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { rules } from '../../service/alerts/rules.ts'
import { buildApp } from '../../service/app.ts'
import { readConfig } from '../../service/config.ts'
import type { RedisTls } from '../../src/redis/tls.ts'
import { hasty } from './alerts.ts'
import { testDatabase, testSecret } from './app.ts'
import { run } from './cli.ts'
import { until } from './until.ts'

/** The service's configured Redis addresses. */
export interface Place { url: string, tls?: RedisTls | undefined, breakLater?: () => unknown }

/** A Redis that is unusable, and what is reported to an operator. */
export interface Setup {
  /** completes "a Redis that …" */
  does: string
  /** `breakLater` is called once the service has reached Redis */
  start: (t: Test) => Promise<Place>
  code: string
  alert: string
  /** in the sentence, for a text search */
  says: RegExp
  /** in the sentence of doctor, where it tells more than the service knows */
  doctorSays?: RegExp
}

/** The password of each test's user, which no output may contain. */
export const password = 'tr0mb0ne'

interface Line { message: string, redis?: { reason?: string } }

/** The service with such a Redis, and its log. */
export async function serve (t: Test, { url, tls }: Place, environment: Record<string, string> = {}): Promise<{ app: FastifyInstance, lines: Line[] }> {
  const lines: Line[] = []
  const config = { ...readConfig({ SESSION_SECRET: testSecret, ...environment }), databasePath: testDatabase(t), redisTls: tls }
  const app = await buildApp(config, { redisUrl: url, log: { write: (line) => { lines.push(JSON.parse(line)) } }, metricsEvery: '100ms', alerting: { rules: rules.map(({ name }) => hasty(name)) } })
  t.after(() => app.close())
  await app.ready()
  return { app, lines }
}

/** Tests that log, readiness, alert and doctor report the same reason for each of these. */
export function testReports (setups: readonly Setup[]): void {
  for (const setup of setups) t.test(`a Redis that ${setup.does} is reported with the reason by log, readiness, alert and doctor`, (t) => testReport(t, setup))
}

async function testReport (t: Test, { start, code, alert, says, doctorSays = says }: Setup): Promise<void> {
  const place = await start(t)
  const { app, lines } = await serve(t, place)
  const ready = async () => await app.inject('/healthz/ready')
  const firing = () => app.alerts.all.filter(({ state, cause }) => state === 'firing' && cause === undefined)
  if (place.breakLater !== undefined) {
    await until(() => app.redisPool.reason === undefined, { what: 'Redis is reached' })
    await place.breakLater()
  }

  // As it reports the reason: on a busy machine a late reply is another one for a moment.
  const { statusCode, body } = await until(async () => {
    const reply = await ready()
    return reply.json().reason?.code === code && reply
  }, { what: 'readiness', deadlineMs: 20_000 })
  const reported = await until(() => firing().find(({ rule, reason }) => rule.name === alert && reason?.code === code), { what: alert, deadlineMs: 20_000 })
  await until(() => lines.some(({ message, redis }) => redis?.reason === code && says.test(message)), { what: 'a log line with the sentence', deadlineMs: 20_000 })
  // The nodes of a Cluster need some time to agree that one is down.
  const { doctor, finding } = await until(async () => {
    const doctor = await run(['doctor', '--json', '--url', place.url], environmentOf(place))
    const { findings } = JSON.parse(doctor.out) as { findings: { reason?: string }[] }
    const finding = findings.find(({ reason }) => reason === code)
    return finding && { doctor, finding }
  }, { what: `doctor reports ${code}`, deadlineMs: 20_000 })

  t.equal(statusCode, 200)
  t.match(JSON.parse(body), { status: 'degraded', redis: 'degraded', reason: { code, sentence: says, remedy: /.+/ } })
  t.notMatch(body, /127\.0\.0|redis\.invalid/, 'readiness is public and contains no address')
  t.match(reported.reason, { sentence: says, remedy: /.+/ })
  t.same(firing().filter(({ rule, reason }) => reason !== undefined && rule.name !== alert).map(({ rule }) => rule.name), [], 'one alert for one cause')
  t.equal(doctor.code, 1)
  t.match(finding, { state: 'wrong', says: doctorSays, change: /.+/ })
  t.notMatch(`${JSON.stringify(lines)}${body}${doctor.out}`, password)
}

function environmentOf ({ tls = {} }: Place): Record<string, string> {
  return Object.fromEntries(Object.entries(tls).map(([name, pem]) => [`REDIS_TLS_${name.toUpperCase()}`, pem as string]))
}
