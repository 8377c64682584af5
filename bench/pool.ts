/**
 * The effect of more connections: 50 readers of small values on 1, 5 and 10 connections, alone and beside 4 readers of values of 1 MB.
 *
 * `npm run bench:pool`; rounds are interleaved, medians are printed. CPU is that of the client process.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { resolveRedisPolicy } from '../src/redis/options.ts'
import { PooledRedis } from '../src/redis/client.ts'
import { startRedisProcess } from '../test/support/redis-process.ts'
import { withOwner } from './owner.ts'

const sizes = [1, 5, 10]
const rounds = 5
const roundMs = Number(process.env.BENCH_SECONDS ?? 2) * 1000
const smallReaders = 50
const largeReaders = 4
const smallKeys = 1000
const largeKeys = 8

/** One round of one pool. */
interface Round { reads: number, p50Ms: number, p99Ms: number, cpu: number, large: number, failed: number }

/** Reads random keys one after the other until it is stopped. */
async function read (pool: PooledRedis, name: string, keys: number, isOver: () => boolean, done: (ms: number, isFine: boolean) => void): Promise<void> {
  while (!isOver()) {
    const startedAt = performance.now()
    const value = await pool.batch.get(`${name}:${Math.floor(Math.random() * keys)}`).catch(() => null)
    done(performance.now() - startedAt, value !== null)
  }
}

async function measure (pool: PooledRedis, isMixed: boolean): Promise<Round> {
  const waits: number[] = []
  const counts = { large: 0, failed: 0 }
  const endsAt = performance.now() + roundMs
  const isOver = () => performance.now() > endsAt
  const note = (isFine: boolean) => { if (!isFine) counts.failed += 1 }
  const before = process.cpuUsage()
  const readers = Array.from({ length: smallReaders }, () => read(pool, 'small', smallKeys, isOver, (ms, isFine) => { waits.push(ms); note(isFine) }))
  if (isMixed) for (let reader = 0; reader < largeReaders; reader++) readers.push(read(pool, 'large', largeKeys, isOver, (_ms, isFine) => { counts.large += 1; note(isFine) }))
  await Promise.all(readers)
  const { user, system } = process.cpuUsage(before)
  waits.sort((one, other) => one - other)
  const quantile = (share: number) => waits[Math.floor(waits.length * share)] ?? NaN
  return { reads: waits.length / roundMs * 1000, p50Ms: quantile(0.5), p99Ms: quantile(0.99), cpu: (user + system) / waits.length, large: counts.large / roundMs * 1000, failed: counts.failed }
}

async function fill (url: string): Promise<void> {
  const redis = new Redis(url)
  const pipeline = redis.pipeline()
  for (let key = 0; key < smallKeys; key++) pipeline.set(`small:${key}`, 'x'.repeat(200))
  for (let key = 0; key < largeKeys; key++) pipeline.set(`large:${key}`, 'x'.repeat(2 ** 20))
  await pipeline.exec()
  redis.disconnect()
}

function line (size: number, load: string, rounds: readonly Round[]): string {
  const median = (name: keyof Round) => rounds.map((round) => round[name]).sort((one, other) => one - other)[rounds.length >> 1] ?? NaN
  const cells = [load, size, Math.round(median('reads')), median('p50Ms').toFixed(2), median('p99Ms').toFixed(2), median('cpu').toFixed(1), Math.round(median('large')), rounds.reduce((sum, { failed }) => sum + failed, 0)]
  return `| ${cells.join(' | ')} |`
}

await withOwner(async (owner) => {
  const { url } = await startRedisProcess(owner)
  await fill(url)
  const pools = await Promise.all(sizes.map(async (size) => {
    const pool = new PooledRedis(resolveRedisPolicy({ url, min: size, max: size }))
    owner.after(() => pool.disconnect())
    await pool.start(5000)
    while (pool.load.ready < size) await sleep(10)
    return { size, pool, alone: [] as Round[], mixed: [] as Round[] }
  }))
  for (let round = -1; round < rounds; round++) {
    for (const { pool, alone, mixed } of pools) {
      const figures = [await measure(pool, false), await measure(pool, true)] as const
      // The first round compiles, and detects which values are large.
      if (round < 0) continue
      alone.push(figures[0])
      mixed.push(figures[1])
    }
  }
  console.log('| values | connections | small reads/s | p50 ms | p99 ms | CPU µs a read | 1 MB reads/s | failed |\n|---|---:|---:|---:|---:|---:|---:|---:|')
  for (const { size, alone } of pools) console.log(line(size, 'small', alone))
  for (const { size, mixed } of pools) console.log(line(size, 'with 1 MB', mixed))
})
process.exit()
