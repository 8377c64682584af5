import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import { WebSocket } from 'ws'
import events from '../../../plugins/events.ts'
import redis from '../../../plugins/redis.ts'
import type { Owner } from '../cleanup-scope.ts'
import { until } from '../until.ts'
import { HttpClient } from './http-client.ts'
import { cpuSeconds } from './target.ts'
import type { Target } from './target.ts'

const replayed = 512
const subscriptions = 400
/** The number of frames that a connection may send. */
const framesPerSecond = 20
/** Share of one core for one connection. */
const maxShare = 0.25

/** One connection subscribes to a topic repeatedly, each time from an old position. */
export async function floodReplays (owner: Owner, target: Target, redisUrl: string): Promise<void> {
  const since = await publishEvents(owner, redisUrl)
  const { url, port, pid } = target.service
  const socket = new WebSocket(`${url.replace('http', 'ws')}/live`, { origin: url, headers: { 'x-forwarded-for': '10.250.0.1' } })
  const seen = { events: 0, code: 0 }
  socket.on('message', () => { seen.events += 1 }).on('error', () => {}).on('close', (why) => { seen.code = why })
  await once(socket, 'open')

  const cpuBefore = cpuSeconds(pid)
  const startedAt = performance.now()
  const other = new HttpClient(port)
  let [sent, longest] = [0, 0]
  for (; sent < subscriptions && seen.code === 0 && !target.hasEnded; sent++) {
    socket.send(JSON.stringify({ type: 'unsubscribe', topic: 'events' }))
    socket.send(JSON.stringify({ type: 'subscribe', topic: 'events', since }))
    longest = Math.max(longest, (await other.exchange('GET /healthz/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')).ms)
    await sleep(Math.max(0, startedAt + (sent + 1) * 1000 / framesPerSecond - performance.now()))
  }
  const share = (cpuSeconds(pid) - cpuBefore) / Math.max(1, (performance.now() - startedAt) / 1000)
  other.close()
  target.note(`replay: ${sent} subscriptions, ${seen.events} frames to one connection${seen.code === 0 ? '' : `, closed with ${seen.code}`}; ${(share * 100).toFixed(0)} % of a core at ${framesPerSecond} a second; another client waited up to ${Math.round(longest)} ms`)
  if (share > maxShare) target.fault(`replay: one connection takes ${(share * 100).toFixed(0)} % of a core`)
  socket.terminate()
  await target.settle('replay')
}

/** Fills the topic's log as another process of the service would. @returns the position before the last {@link replayed} events */
async function publishEvents (owner: Owner, url: string): Promise<string> {
  const app = Fastify()
  owner.after(() => app.close())
  await app.register(redis, { url })
  await app.register(events, {})
  await app.ready()
  const publish = async () => await until(() => app.events.publish('events', { type: 'city.noted', data: { text: 'x'.repeat(1000) } }), { what: 'an event is published' })
  const first = await publish()
  for (let event = 0; event < replayed; event++) await publish()
  return first
}
