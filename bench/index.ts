import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { startProxy } from '../test/support/proxy.ts'
import { startRedisProcess } from '../test/support/redis-process.ts'
import { benchEvents } from './events/bench.ts'
import { hasWrk, makeLoad, writeLines } from './load.ts'
import type { Line } from './load.ts'
import { median, table } from './report.ts'
import type { Row, Sample } from './report.ts'
import { cpuMicrosecondsOf, startServer } from './server.ts'
import type { Server } from './server.ts'
import { workloads } from './workloads.ts'
import type { Workload } from './workloads.ts'

// The stack compared with a conventional stack and with bare Fastify, in one run: rounds are interleaved; medians and ratios are printed.
const rounds = Number(process.env.BENCH_ROUNDS ?? 3)
const seconds = Number(process.env.BENCH_SECONDS ?? 3)
const { scripts: { start } } = createRequire(import.meta.url)('../package.json') as { scripts: { start: string } }
/** Node's flags, equal for every server: those of `npm start` by default. */
const flags = (process.env.BENCH_FLAGS ?? flagsOf(start)).split(' ').filter((flag) => flag !== '')
const only = process.argv.slice(2)
const names = ['bare', 'conventional', 'prism'] as const
const quota = '1000000'
const warmUpLines = 50_000
/** A distant Redis needs time until all URLs are stored; otherwise one in nine measured requests would be a miss. */
const farWarmUpSeconds = 3

const ends: (() => Promise<void> | void)[] = []
const owner = { after: (end: () => Promise<void> | void) => { ends.push(end) } }

/** The flags of a command. */
function flagsOf (command: string): string {
  return command.split(' ').filter((word) => word.startsWith('--')).join(' ')
}

interface Peer { server: Server, redis: { pid: number, control: Redis, url: string } }

async function startPeer (name: string, redisDelayMs: number): Promise<Peer> {
  const redis = await startRedisProcess(owner)
  const proxy = redisDelayMs > 0 ? await startProxy(owner, redis) : undefined
  const server = await startServer(name, { REDIS_URL: proxy?.url ?? redis.url, QUOTA: quota }, flags)
  ends.push(() => server.stop())
  const control = new Redis(redis.url)
  ends.push(() => control.disconnect())
  await proxy?.fault('latency', { delayMs: redisDelayMs / 2 })
  return { server, redis: { pid: redis.pid, control, url: proxy?.url ?? redis.url } }
}

async function statsOf ({ redis, server }: Peer) {
  const info = await redis.control.info('stats')
  const stat = (name: string) => Number(new RegExp(`${name}:(\\d+)`).exec(info)?.[1])
  return { commands: stat('total_commands_processed'), writes: stat('total_reads_processed'), cpu: server.cpuMicroseconds, redisCpu: cpuMicrosecondsOf(redis.pid) }
}

async function measure (peer: Peer, workload: Workload, file: string): Promise<Sample> {
  const lines = await workload.lines(peer.server)
  const load = { url: peer.server.url, file, lines, connections: workload.connections }
  const warmUp = warmUpOf(lines)
  await writeLines(file, warmUp)
  await makeLoad({ ...load, lines: warmUp, seconds: workload.redisDelayMs > 0 ? farWarmUpSeconds : 1 })
  await writeLines(file, lines)
  const before = await statsOf(peer)
  const [seen, roundTripMs] = await Promise.all([makeLoad({ ...load, seconds }), workload.redisDelayMs > 0 ? roundTrip(peer.redis.url) : 0])
  const after = await statsOf(peer)
  const each = (name: keyof typeof before) => (after[name] - before[name]) / seen.requests
  return { ...seen, roundTripMs, requestsPerSecond: seen.requests / seen.seconds, cpu: each('cpu'), redisCpu: each('redisCpu'), commands: each('commands'), writes: each('writes') }
}

/** The last lines, because URLs requested once are not warmed up; first one line per URL, so that not only popular ones are stored. */
function warmUpOf (lines: readonly Line[]): Line[] {
  const last = lines.slice(-warmUpLines)
  return [...new Map(last.map((line) => [line.path, line])).values(), ...last]
}

/** Median round trip under this load, by the same client as the server's. */
async function roundTrip (url: string): Promise<number> {
  const redis = new Redis(url)
  const endsAt = performance.now() + seconds * 900
  const times: number[] = []
  while (performance.now() < endsAt) {
    const askedAt = performance.now()
    await redis.ping()
    times.push(performance.now() - askedAt)
  }
  redis.disconnect()
  return times.sort((one, other) => one - other)[times.length >> 1] ?? NaN
}

async function main (): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'prism-bench-'))
  ends.push(() => rm(folder, { recursive: true, force: true }))
  const chosen = workloads.filter(({ name }) => only.length === 0 || only.includes(name))
  const rows: Row[] = []
  for (const redisDelayMs of new Set(chosen.map((workload) => workload.redisDelayMs))) {
    const peers = await Promise.all(names.map((name) => startPeer(name, redisDelayMs)))
    for (const workload of chosen.filter((each) => each.redisDelayMs === redisDelayMs)) {
      process.stderr.write(`${workload.name}: ${rounds} rounds of ${seconds} s for each of ${names.join(', ')}\n`)
      const samples = new Map(names.map((name) => [name, [] as Sample[]]))
      for (let round = 0; round < rounds; round++) {
        for (const peer of peers) samples.get(peer.server.name as typeof names[number])?.push(await measure(peer, workload, join(folder, 'lines')))
      }
      for (const name of names) rows.push({ workload: workload.name, server: name, ...median(samples.get(name) ?? []) })
    }
    for (const { server } of peers) server.stop()
  }
  await tell(rows)
}

async function tell (rows: Row[]): Promise<void> {
  const version = (name: string) => (createRequire(import.meta.url)(`${name}/package.json`) as { version: string }).version
  const versions = Object.fromEntries(['fastify', 'ioredis', '@fastify/session', '@fastify/rate-limit', '@fastify/cookie'].map((name) => [name, version(name)]))
  const machine = { node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, load: hasWrk ? 'wrk' : 'autocannon', rounds, seconds, flags: flags.join(' ') || 'none', ...versions }
  console.log(table(rows))
  console.log('commands: as Redis counts them, those inside scripts too; writes: how often Redis read from a connection')
  for (const { workload, server, p50Ms, roundTripMs } of rows.filter((row) => row.roundTripMs > 0 && row.server !== 'bare')) console.log(`${workload}, ${server}: p50 is ${(p50Ms / roundTripMs).toFixed(2)} round trips of ${roundTripMs.toFixed(1)} ms`)
  console.log(Object.entries(machine).map(([name, value]) => `${name} ${value}`).join(', '))
  await writeFile('bench-result.json', JSON.stringify({ machine, rows }, null, 2))
}

try {
  if (only[0] === 'events') await benchEvents({ runs: Number(process.env.BENCH_RUNS ?? 5), slots: Number(process.env.BENCH_SLOTS ?? 20), servers: process.env.BENCH_SERVERS?.split(','), also: process.env.BENCH_ALSO?.split(',') ?? [] })
  else await main()
} finally {
  for (const end of ends.reverse()) await end()
}
