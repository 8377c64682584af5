import 'reflect-metadata'
import fastifyRateLimit from '@fastify/rate-limit'
import { ThrottlerStorageRedisService } from '@nest-lab/throttler-storage-redis'
import express from 'express'
import { rateLimit as expressRateLimit } from 'express-rate-limit'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Hono } from 'hono'
import { RedisStore as HonoStore, rateLimiter as honoRateLimiter } from 'hono-rate-limiter'
import { Redis } from 'ioredis'
import Koa from 'koa'
import koaRateLimit from 'koa-ratelimit'
import { Agent, createServer, get } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible'
import { RedisStore as ExpressStore } from 'rate-limit-redis'
import requestLifecycle from '../plugins/request-lifecycle.ts'
import prismRateLimit from '../plugins/rate-limit.ts'
import type { RateLimitOptions } from '../plugins/rate-limit.ts'
import prismRedis from '../plugins/redis.ts'
import type { Owner } from '../test/support/cleanup-scope.ts'

/** The quota of each limiter. */
export const quota = 50
export const windowMs = 2000

/** Sends one request of one client. @returns whether it was allowed */
export type Check = () => Promise<boolean>

/** Rate limiters, each in its framework with its own Redis, configured as its README recommends. */
export const limiters: Record<string, (owner: Owner, url: string) => Promise<Check>> = {
  'fastify-prism, sliding': prism({}),
  'fastify-prism, gcra, burst 50': prism({ algorithm: 'gcra' }),
  'fastify-prism, gcra, burst 5': prism({ algorithm: 'gcra', burst: 5 }),
  'fastify-prism, fixed': prism({ algorithm: 'fixed' }),
  '@fastify/rate-limit, Redis': inFastify(async (app, redis) => await app.register(fastifyRateLimit, { redis, max: quota, timeWindow: windowMs })),
  '@fastify/rate-limit, memory': inFastify(async (app) => await app.register(fastifyRateLimit, { max: quota, timeWindow: windowMs })),
  'express-rate-limit, Redis (rate-limit-redis)': withRedis(async (owner, redis) => {
    const sendCommand = async (command: string, ...args: string[]) => await redis.call(command, ...args) as number
    return await listen(owner, express().use(expressRateLimit({ windowMs, limit: quota, store: new ExpressStore({ sendCommand }) })).get('/', (_request, reply) => { reply.send('fine') }))
  }),
  'express-rate-limit, memory': async (owner) => await listen(owner, express().use(expressRateLimit({ windowMs, limit: quota })).get('/', (_request, reply) => { reply.send('fine') })),
  'koa-ratelimit, Redis': withRedis(async (owner, redis) => await listen(owner, new Koa().use(koaRateLimit({ driver: 'redis', db: redis, duration: windowMs, max: quota })).use((context) => { context.body = 'fine' }).callback())),
  'hono-rate-limiter, Redis': withRedis(async (_owner, redis) => {
    const client = {
      scriptLoad: async (script: string) => String(await redis.script('LOAD', script)),
      evalsha: async <Reply>(sha: string, keys: string[], args: unknown[]) => await redis.evalsha(sha, keys.length, ...keys, ...args.map(String)) as Reply,
      decr: async (key: string) => await redis.decr(key),
      del: async (key: string) => await redis.del(key)
    }
    const app = new Hono().use(honoRateLimiter({ windowMs, limit: quota, keyGenerator: () => 'client', store: new HonoStore({ client }) })).get('/', (context) => context.text('fine'))
    return async () => (await app.request('/')).status === 200
  }),
  '@nestjs/throttler, Redis (nest-lab)': withRedis(async (_owner, redis) => {
    const storage = new ThrottlerStorageRedisService(redis)
    return async () => !(await storage.increment('client', windowMs, quota, windowMs, 'default')).isBlocked
  }),
  'rate-limiter-flexible, Redis': withRedis(async (_owner, redis) => flexible(new RateLimiterRedis({ storeClient: redis, points: quota, duration: windowMs / 1000 }))),
  'rate-limiter-flexible, memory': async () => flexible(new RateLimiterMemory({ points: quota, duration: windowMs / 1000 }))
}

let prisms = 0

/** Each with its own keys. */
function prism (options: RateLimitOptions): (owner: Owner, url: string) => Promise<Check> {
  return async (owner, url) => await inFastify(async (app) => {
    await app.register(prismRedis, { url, prefix: `${++prisms}:` })
    await app.register(requestLifecycle)
    await app.register(prismRateLimit, { quota, window: `${windowMs}ms`, ...options })
  })(owner, url)
}

function inFastify (register: (app: FastifyInstance, redis: Redis) => Promise<unknown>): (owner: Owner, url: string) => Promise<Check> {
  return withRedis(async (owner, redis) => {
    const app = Fastify()
    await register(app, redis)
    app.get('/', async () => 'fine')
    await app.ready()
    owner.after(async () => await app.close())
    return async () => (await app.inject('/')).statusCode === 200
  })
}

function withRedis (open: (owner: Owner, redis: Redis) => Promise<Check>): (owner: Owner, url: string) => Promise<Check> {
  return async (owner, url) => {
    const redis = new Redis(url)
    owner.after(() => redis.disconnect())
    return await open(owner, redis)
  }
}

async function listen (owner: Owner, listener: RequestListener): Promise<Check> {
  const server = createServer(listener)
  const agent = new Agent({ keepAlive: true })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  owner.after(() => {
    agent.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return async () => await new Promise((resolve, reject) => {
    get({ port, host: '127.0.0.1', agent }, (reply) => {
      reply.resume().once('end', () => resolve(reply.statusCode === 200))
    }).once('error', reject)
  })
}

function flexible (limiter: RateLimiterRedis | RateLimiterMemory): Check {
  return async () => await limiter.consume('client').then(() => true, () => false)
}
