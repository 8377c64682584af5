import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { startRedisProcess } from '../test/support/redis-process.ts'
import { measureAlone } from './limiter-alone.ts'
import { hasWrk, makeLoad, writeLines } from './load.ts'
import type { Line } from './load.ts'
import { cpuMicrosecondsOf, startServer } from './server.ts'
import type { Server } from './server.ts'
import { measureEdges } from './window-edge.ts'
import { median } from './interleaved/statistics.ts'

// The limiter compared with others in one run: cost of allowed and rejected requests, and the requests allowed around a window's edge.
const rounds = Number(process.env.BENCH_ROUNDS ?? 3)
const seconds = Number(process.env.BENCH_SECONDS ?? 3)
const connections = 50
const limiters = ['none', 'prism', 'fastify', 'created', 'flexible'] as const
const titles = { none: 'Fastify alone', prism: 'fastify-prism', fastify: '@fastify/rate-limit', created: '@fastify/rate-limit, createRateLimit()', flexible: 'rate-limiter-flexible' }
const workloads = [
  { name: 'allowed, 10,000 addresses', quota: '1000000', lines: addresses(10_000) },
  { name: 'allowed, one address', quota: '100000000', lines: addresses(1) },
  { name: 'refused, 1,000 addresses', quota: '1', lines: addresses(1000) }
]

interface Figures { cpu: number, redisCpu: number, trips: number, requests: number }

const ends: (() => Promise<void> | void)[] = []
const owner = { after: (end: () => Promise<void> | void) => { ends.push(end) } }

function addresses (count: number): Line[] {
  return Array.from({ length: count }, (_, index) => ({ path: `/items/${index % 10}`, address: `10.1.${index >> 8}.${index & 255}` }))
}

async function measure (limiter: string, workload: typeof workloads[number], file: string): Promise<Figures> {
  const redis = await startRedisProcess(owner)
  const server = await startServer('limiter', { LIMITER: limiter, QUOTA: workload.quota, REDIS_URL: redis.url })
  const control = new Redis(redis.url)
  const load = { url: server.url, file, lines: workload.lines, connections }
  await makeLoad({ ...load, seconds: 1 })
  const before = await look(server, redis.pid, control)
  const { requests } = await makeLoad({ ...load, seconds })
  const after = await look(server, redis.pid, control)
  control.disconnect()
  server.stop()
  await redis.kill()
  const each = (name: keyof typeof before) => (after[name] - before[name]) / requests
  return { cpu: each('cpu'), redisCpu: each('redisCpu'), trips: each('trips'), requests }
}

async function look (server: Server, redisPid: number, control: Redis): Promise<Omit<Figures, 'requests'>> {
  const info = await control.info('stats')
  return { cpu: server.cpuMicroseconds, redisCpu: cpuMicrosecondsOf(redisPid), trips: Number(/total_reads_processed:(\d+)/.exec(info)?.[1]) }
}

async function main (): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'prism-bench-'))
  ends.push(() => rm(folder, { recursive: true, force: true }))
  console.log(`Node ${process.version}, ${hasWrk ? 'wrk' : 'autocannon'}, ${connections} connections, medians of ${rounds} rounds of ${seconds} s; CPU in microseconds a request\n`)
  for (const workload of workloads) {
    const file = join(folder, 'lines')
    await writeLines(file, workload.lines)
    const seen = new Map<string, Figures[]>(limiters.map((limiter) => [limiter, []]))
    for (let round = 0; round < rounds; round++) for (const limiter of limiters) seen.get(limiter)?.push(await measure(limiter, workload, file))
    console.log(`| ${workload.name} | CPU | above Fastify alone | Redis CPU | Redis round trips |\n|---|---:|---:|---:|---:|`)
    const bare = median(seen.get('none')?.map(({ cpu }) => cpu) ?? [])
    for (const limiter of limiters) {
      const figure = (name: keyof Figures) => median(seen.get(limiter)?.map((each) => each[name]) ?? [])
      console.log(`| ${titles[limiter]} | ${figure('cpu').toFixed(1)} | ${(figure('cpu') - bare).toFixed(1)} | ${figure('redisCpu').toFixed(1)} | ${figure('trips').toFixed(3)} |`)
    }
    console.log()
  }
  console.log(`${await measureAlone(owner)}\n`)
  console.log(await measureEdges(owner))
}

main().finally(async () => {
  for (const end of ends.reverse()) await end()
})
