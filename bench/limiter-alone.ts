import fastifyRateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import { Redis } from 'ioredis'
import { RateLimiterRedis } from 'rate-limiter-flexible'
import { Limiter } from '../src/rate-limit/limiter.ts'
import { RouteLimits } from '../src/rate-limit/route-limits.ts'
import { resolveLimitPolicies } from '../src/rate-limit/options.ts'
import { resolveRedisPolicy } from '../src/redis/options.ts'
import { PooledRedis } from '../src/redis/client.ts'
import type { Owner } from '../test/support/cleanup-scope.ts'
import { startRedisProcess } from '../test/support/redis-process.ts'

const ticks = 400
const checksPerTick = 50
const clients = 1000
const rounds = 3

interface Peer { check: (address: string) => unknown, cpu: number[] }

/**
 * Measures the CPU cost of limiters without HTTP: 50 checks per tick from 1,000 clients, all allowed. Rounds are interleaved.
 *
 * @returns a Markdown table: microseconds of user and system CPU per check, medians
 */
export async function measureAlone (owner: Owner): Promise<string> {
  const { url } = await startRedisProcess(owner)
  const peers = await open(owner, url)
  for (let round = -1; round < rounds; round++) {
    for (const peer of Object.values(peers)) {
      const cpu = await run(peer)
      if (round >= 0) peer.cpu.push(cpu)
    }
  }
  const lines = Object.entries(peers).map(([name, { cpu }]) => `| ${name} | ${cpu.toSorted((one, other) => one - other)[rounds >> 1]?.toFixed(1)} |`)
  return ['| limiter | CPU per check |', '|---|---:|', ...lines].join('\n')
}

async function run ({ check }: Peer): Promise<number> {
  const before = process.cpuUsage()
  for (let tick = 0; tick < ticks; tick++) {
    const checks = []
    for (let index = 0; index < checksPerTick; index++) checks.push(check(`10.0.${(tick * checksPerTick + index) % clients >> 8}.${(tick * checksPerTick + index) % clients & 255}`))
    await Promise.all(checks)
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / ticks / checksPerTick
}

async function open (owner: Owner, url: string): Promise<Record<string, Peer>> {
  const pool = new PooledRedis(resolveRedisPolicy({ url }))
  await pool.start()
  const redis = new Redis(url, { enableAutoPipelining: true })
  const app = Fastify()
  await app.register(fastifyRateLimit, { global: false, redis, max: 1e9, timeWindow: 60_000 })
  owner.after(async () => {
    await app.close()
    redis.disconnect()
    pool.disconnect()
  })
  const limiter = new Limiter(pool.batch)
  const planOf = (choices: unknown[]) => new RouteLimits(resolveLimitPolicies<FastifyRequest, never>({ quota: 1e9 }, choices, true) ?? [], pool.keyspace, ['GET'], '/items/:id')
  const [one, two] = [planOf([]), planOf([{ quota: 1e9 }])]
  const check = app.createRateLimit()
  const flexible = new RateLimiterRedis({ storeClient: redis, points: 1e9, duration: 60 })
  const prism = (limits: typeof one) => (who: string) => limits.check(limiter, { method: 'GET' } as FastifyRequest, { partition: { kind: 'ip', id: who }, session: undefined }, false)
  const foreign = (ip: string) => ({ ip, routeOptions: {} }) as FastifyRequest
  return {
    'fastify-prism, one policy': { check: prism(one), cpu: [] },
    'fastify-prism, two policies': { check: prism(two), cpu: [] },
    '@fastify/rate-limit, createRateLimit()': { check: (ip) => check(foreign(ip)), cpu: [] },
    'rate-limiter-flexible': { check: (ip) => flexible.consume(ip), cpu: [] }
  }
}
