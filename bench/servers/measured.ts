import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import prism from '../../plugins/index.ts'
import metrics from '../../plugins/metrics.ts'
import type { MetricsOptions } from '../../plugins/metrics.ts'
import { makeItem } from './item.ts'
import { goOn, rest } from './observed.ts'

// The stack twice in one process, with and without metrics, behind one port: every 25 ms the active one can change, and each is charged
// with the process's CPU time of its turns. On `report` it prints the cost of a request for both, then the cost of sampling Redis.

export interface Report {
  /** per turn: CPU microseconds, and requests */
  readonly turns: readonly { readonly isOn: boolean, readonly microseconds: number, readonly requests: number }[]
  /** CPU microseconds of a sample of Redis, including its processing */
  readonly look: number
}

const turnMs = 25

async function build (options?: MetricsOptions): Promise<FastifyInstance> {
  const app = Fastify({ trustProxy: true })
  await app.register(prism, { redis: { url: process.env.REDIS_URL }, session: { secrets: ['a secret of at least thirty-two characters'] }, rateLimit: { quota: 100_000_000, window: '1m' }, cache: {}, events: false })
  if (options !== undefined) await app.register(metrics, options)
  app.get<{ Params: { id: string } }>('/items/:id', { config: { cache: { ttl: '5m' } } }, async (request) => makeItem(request.params.id))
  await app.ready()
  return app
}

function cpuMicroseconds (): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** CPU time of the process while it is idle. */
async function idle (forMs: number): Promise<number> {
  const before = cpuMicroseconds()
  await wait(forMs)
  return cpuMicroseconds() - before
}

/** Samples fifty times a second, beside an app that never samples. */
async function measureLook (): Promise<number> {
  const without = await idle(3000)
  const app = await build({ every: '20ms' })
  let looks = 0
  app.metrics.onReading(() => { looks += 1 })
  await wait(1000) // compiled
  looks = 0
  const cost = await idle(3000) - without
  const counted = looks
  await app.close()
  return cost / counted
}

// Sampling is measured separately: here it would be charged to whichever turn is active.
const apps = { off: await build(), on: await build({ every: '1h' }) }
let isOn = false
let requests = 0
const turns: Report['turns'][number][] = []
const server = createServer((request, response) => {
  requests += 1
  ;(isOn ? apps.on : apps.off).routing(request, response)
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')

let startedAt = cpuMicroseconds()
rest()
const timer = setInterval(() => {
  globalThis.gc?.({ type: 'minor' }) // each turn pays for its own garbage collection
  const now = cpuMicroseconds()
  turns.push({ isOn, microseconds: now - startedAt, requests })
  isOn = turns.length % 2 === 0 ? Math.random() < 0.5 : !isOn // in pairs of random order: no correlation with periodic work
  if (isOn) goOn()
  else rest()
  requests = 0
  startedAt = cpuMicroseconds()
}, turnMs)

process.on('message', async (word) => {
  if (word === 'begin') turns.length = 0
  else {
    clearInterval(timer)
    process.send?.({ turns, look: await measureLook() })
  }
})
process.on('disconnect', () => process.exit())
process.send?.({ port: (server.address() as AddressInfo).port })
