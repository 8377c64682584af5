import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import t from 'tap'
import type { Test } from 'tap'
import { setTimeout as pause } from 'node:timers/promises'
import { Crowd, greatestShare, openStreamFrom, quantile } from '../support/client-crowd.ts'
import { startEventsApp } from '../support/events-app.ts'
import { publish as publishTo } from '../support/publish.ts'
import { startRedis } from '../support/redis.ts'
import { startService } from '../support/service.ts'
import { until } from '../support/until.ts'

t.setTimeout(300_000)

async function startPublisher (t: Test, url: string): Promise<(data: object) => Promise<string>> {
  const app = await startEventsApp(t, url)
  return async (data) => await publishTo(app, 'events', { type: 'n', data })
}

/** CPU seconds of a process so far. */
const cpuSeconds = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ').slice(13, 15).reduce((sum, ticks) => sum + Number(ticks) / 100, 0)
const rssMiB = (pid: number) => Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024)

t.test('1,000 live connections receive all events in order, and a shutdown closes them spread over its window', async (t) => {
  const { url } = await startRedis(t)
  const service = await startService(t, { REDIS_URL: url })
  const publish = await startPublisher(t, url)
  const crowd = new Crowd(service.port)
  t.after(() => crowd.leave())
  await crowd.come(1000)
  const streams = await Promise.all(Array.from({ length: 50 }, () => openStreamFrom(service.port, '127.0.2.1')))
  const before = rssMiB(service.pid)
  const spent = cpuSeconds(service.pid)

  const ticks = 30
  for (let n = 1; n < ticks; n++) {
    await publish({ at: Date.now() })
    await pause(50)
  }
  const last = await publish({ at: Date.now() })
  await until(() => crowd.members.every((member) => member.last === last && member.events >= ticks), { what: 'all clients have all events', deadlineMs: 30_000 })
  t.comment(`delay of ${crowd.delaysMs.length} deliveries: p50 ${quantile(crowd.delaysMs, 0.5)} ms, p99 ${quantile(crowd.delaysMs, 0.99)} ms; server ${before} → ${rssMiB(service.pid)} MiB, ${Math.round((cpuSeconds(service.pid) - spent) * 1e6 / (ticks * 1000))} µs of CPU a delivery`)
  t.notOk(crowd.members.some(({ isTorn }) => isTorn))

  const stalls = monitorEventLoopDelay({ resolution: 10 })
  stalls.enable()
  const stoppedAt = performance.now()
  const { code } = await service.stop()
  await until(() => crowd.members.every(({ closedAt }) => closedAt !== undefined) && streams.every(({ endedAt }) => endedAt !== undefined), { what: 'all are closed' })
  const stallMs = stalls.max / 1e6
  const goneAt = [...crowd.members.map(({ closedAt = 0 }) => closedAt), ...streams.map(({ endedAt = 0 }) => endedAt)]
  t.comment(`gone after ${Math.round(Math.min(...goneAt) - stoppedAt)} to ${Math.round(Math.max(...goneAt) - stoppedAt)} ms; at most ${Math.round(greatestShare(goneAt, 250) * 100)} % within 250 ms`)
  t.equal(code, 0)
  t.same([...new Set(crowd.members.map(({ code }) => code))], [1012])
  t.ok(streams.every(({ text }) => /retry: \d+\n\n$/.test(text)))
  t.ok(greatestShare(goneAt, 250) < 0.3 * (1 + stallMs / 250), `closed gradually; this process paused for ${Math.round(stallMs)} ms`)
})

t.test('a live connection that never reads is closed, and others are not affected', async (t) => {
  const { url } = await startRedis(t)
  const service = await startService(t, { REDIS_URL: url })
  const publish = await startPublisher(t, url)
  const crowd = new Crowd(service.port)
  t.after(() => crowd.leave())
  await crowd.come(5)
  const [stalled, ...others] = crowd.members
  stalled?.socket.pause()
  const before = rssMiB(service.pid)

  const filler = 'x'.repeat(15_000)
  for (let n = 1; n < 1500; n++) await publish({ at: Date.now(), filler })
  const last = await publish({ at: Date.now(), filler })
  await until(() => others.every((member) => member.last === last), { what: 'the other clients have all events' })
  t.comment(`server ${before} → ${rssMiB(service.pid)} MiB`)
  stalled?.socket.resume()
  await until(() => stalled?.closedAt !== undefined, { what: 'the stalled connection is closed' })

  t.notOk(others.some(({ isTorn, closedAt }) => isTorn || closedAt !== undefined))
  t.ok((stalled?.events ?? 0) < 1500)
})
