import fastifyRateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible'
import journey from '../plugins/journey.ts'
import prismRateLimit from '../plugins/rate-limit.ts'
import type { RateLimitOptions } from '../plugins/rate-limit.ts'
import prismRedis from '../plugins/redis.ts'
import type { Owner } from '../test/helpers/owner.ts'
import { startRedisProcess } from '../test/helpers/redis-process.ts'

const quota = 50
const windowMs = 2000
const edgeMs = 200

type Limiter = (app: FastifyInstance, url: string) => Promise<unknown>

const prism = (options: RateLimitOptions): Limiter => async (app, url) => {
  await app.register(prismRedis, { url })
  await app.register(journey)
  await app.register(prismRateLimit, { quota, window: '2s', ...options })
}

const flexible = (open: (redis: Redis) => RateLimiterRedis | RateLimiterMemory): Limiter => async (app, url) => {
  const redis = new Redis(url)
  const limiter = open(redis)
  app.addHook('onRequest', async (_request, reply) => await limiter.consume('client').then(() => {}, () => reply.code(429).send()))
  app.addHook('onClose', async () => redis.disconnect())
}

const limiters: Record<string, Limiter> = {
  'fastify-prism, sliding': prism({}),
  'fastify-prism, gcra, burst 50': prism({ algorithm: 'gcra' }),
  'fastify-prism, gcra, burst 5': prism({ algorithm: 'gcra', burst: 5 }),
  'fastify-prism, fixed': prism({ algorithm: 'fixed' }),
  '@fastify/rate-limit 11, Redis': async (app, url) => {
    const redis = new Redis(url)
    app.addHook('onClose', async () => redis.disconnect())
    await app.register(fastifyRateLimit, { redis, max: quota, timeWindow: windowMs })
  },
  '@fastify/rate-limit 11, memory': async (app) => await app.register(fastifyRateLimit, { max: quota, timeWindow: windowMs }),
  'rate-limiter-flexible, Redis': flexible((redis) => new RateLimiterRedis({ storeClient: redis, points: quota, duration: windowMs / 1000 })),
  'rate-limiter-flexible, memory': flexible(() => new RateLimiterMemory({ points: quota, duration: windowMs / 1000 }))
}

/**
 * Asks once when a window of the clock begins, then as often as it can around that window's end, and counts the most that passed in any window.
 *
 * @returns a table to paste
 */
export async function measureEdges (owner: Owner): Promise<string> {
  const { url } = await startRedisProcess(owner)
  const lines = []
  for (const [name, register] of Object.entries(limiters)) {
    const app = Fastify()
    await register(app, url)
    app.get('/', async () => 'fine')
    await app.ready()
    const most = mostInAWindow(await flood(app))
    await app.close()
    lines.push(`| ${name} | ${quota} | ${most} |`)
  }
  return [`| limiter | quota in ${windowMs / 1000} s | passed within some ${windowMs / 1000} s |`, '|---|---:|---:|', ...lines].join('\n')
}

interface Passed { askedAt: number, answeredAt: number }

/** @returns what passed: it was counted at some moment between the two */
async function flood (app: FastifyInstance): Promise<Passed[]> {
  const passed: Passed[] = []
  const ask = async () => {
    const askedAt = performance.now()
    const { statusCode } = await app.inject('/')
    if (statusCode === 200) passed.push({ askedAt, answeredAt: performance.now() })
  }
  await sleep(windowMs - Date.now() % windowMs + 2)
  const beginAt = performance.now()
  await ask()
  await sleep(windowMs - edgeMs)
  while (performance.now() - beginAt < windowMs + edgeMs) {
    await Promise.all(Array.from({ length: 5 }, ask))
    await sleep(1)
  }
  return passed
}

/** Only what surely lies within a window, whenever it was counted. */
function mostInAWindow (passed: readonly Passed[]): number {
  return Math.max(...passed.map(({ askedAt: fromAt }) => passed.filter(({ askedAt, answeredAt }) => askedAt >= fromAt && answeredAt < fromAt + windowMs).length))
}
