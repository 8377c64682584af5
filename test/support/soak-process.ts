/** One process of a soak: publishes to the topic `soak` at a rate, and records what it receives, until it is stopped. */
import Fastify from 'fastify'
import events from '../../plugins/events.ts'
import redis from '../../plugins/redis.ts'
import type { Report } from './soak.ts'

const [url = '', perSecond = '0'] = process.argv.slice(2)
const everyMs = 20
const report: Report = { told: [], acked: [], failed: 0, rssBytes: 0 }
let inFlight = 0
let owed = 0

const app = Fastify()
await app.register(redis, { url })
await app.register(events, { retain: { topics: { soak: 50_000 } } })
await app.ready()

await app.events.subscribe('soak', ({ id = '', prev = '' }) => report.told.push({ what: 'event', id, prev }), {
  onBegin: (id) => report.told.push({ what: 'begin', id }),
  onReset: (id) => report.told.push({ what: 'reset', id })
}).ready

const timer = setInterval(() => {
  for (owed += Number(perSecond) * everyMs / 1000; owed >= 1; owed--) publish()
}, everyMs)

function publish (): void {
  inFlight += 1
  app.events.publish('soak', { type: 'soak', data: { at: Date.now() } })
    .then((id) => report.acked.push(id), () => { report.failed += 1 })
    .finally(() => { inFlight -= 1 })
}

process.on('message', (order) => {
  if (order === 'stop') clearInterval(timer)
  if (order === 'count') process.send?.({ events: report.told.length, resets: report.told.filter(({ what }) => what === 'reset').length, last: report.told.at(-1)?.id, inFlight })
  if (order === 'report') process.send?.({ ...report, rssBytes: process.memoryUsage.rss() })
})
process.on('disconnect', () => process.exit())
process.send?.('ready')
